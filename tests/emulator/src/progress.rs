//! The lines that tell a harness how far the run is.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde_json::{Map, Value, json};

use crate::ledger::Book;

/// Where the Ppoppo server listens, and its token endpoint if there is one.
pub(crate) fn listening(ppoppo: SocketAddr, oauth: Option<SocketAddr>) -> String {
    let mut addresses = Map::new();
    addresses.insert("ppoppo".to_owned(), json!(ppoppo.to_string()));
    if let Some(oauth) = oauth {
        addresses.insert("oauth".to_owned(), json!(oauth.to_string()));
    }
    json!({"listening": addresses}).to_string()
}

/// How often each fault happened.
pub(crate) fn faults(counts: &BTreeMap<String, u64>) -> String {
    json!({"faults": counts}).to_string()
}

/// The totals of each source that is played.
pub(crate) fn progress(books: &[Arc<Book>]) -> String {
    let mut sources = Map::new();
    for book in books {
        sources.insert(book.source().to_owned(), json!(book.counts()));
    }
    json!({"progress": Value::Object(sources)}).to_string()
}

/// Everything was answered, and the ledger says so.
pub(crate) fn done() -> String {
    json!({"done": true}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Entry, Sending};

    #[test]
    fn lines_are_as_harnesses_read_them() {
        let book = Book::new("arpoone");
        book.open(vec![Entry::once("k".to_owned())]);
        book.emit(&[0], Sending::Own);
        assert_eq!(
            progress(&[book]),
            r#"{"progress":{"arpoone":{"acknowledged":0,"emitted":1,"refused":0,"retried":0,"sent":1}}}"#
        );
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(
            listening(address, None),
            r#"{"listening":{"ppoppo":"127.0.0.1:9"}}"#
        );
        assert_eq!(
            listening(address, Some(address)),
            r#"{"listening":{"oauth":"127.0.0.1:9","ppoppo":"127.0.0.1:9"}}"#
        );
        let counts = BTreeMap::from([("goaway".to_owned(), 2)]);
        assert_eq!(faults(&counts), r#"{"faults":{"goaway":2}}"#);
        assert_eq!(done(), r#"{"done":true}"#);
    }
}
