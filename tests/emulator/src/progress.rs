//! The lines that tell a harness how far the run is.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Map, Value, json};

use crate::ledger::Book;

/// Where the Ppoppo server listens.
pub(crate) fn listening(ppoppo: SocketAddr) -> String {
    json!({"listening": {"ppoppo": ppoppo.to_string()}}).to_string()
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
            r#"{"progress":{"arpoone":{"acknowledged":0,"emitted":1,"retried":0,"sent":1}}}"#
        );
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert_eq!(
            listening(address),
            r#"{"listening":{"ppoppo":"127.0.0.1:9"}}"#
        );
        assert_eq!(done(), r#"{"done":true}"#);
    }
}
