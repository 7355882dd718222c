//! What a book says after what happened.

use super::*;

fn book(keys: &[&str], timeless: bool) -> Arc<Book> {
    let book = Book::new("s");
    let entry = |key: &&str| Entry {
        timeless,
        ..Entry::once((*key).to_owned())
    };
    book.open(keys.iter().map(entry).collect());
    book
}

#[test]
fn counts_tell_events_from_emissions() {
    let book = book(&["a", "b", "c"], false);
    book.emit(&[0, 1], Sending::Own);
    book.emit(&[0, 1], Sending::Retry);
    book.acknowledge(&[0, 1]);
    book.emit(&[0], Sending::Own);
    book.acknowledge(&[0]);
    book.refuse(&[0]);
    let counts = Counts {
        emitted: 2,
        sent: 5,
        acknowledged: 2,
        retried: 2,
        refused: 1,
    };
    assert_eq!(book.counts(), counts);
    let lines = book.lines();
    assert_eq!(lines.len(), 2, "what was never sent is not in the ledger");
    assert_eq!((lines[0].emissions, lines[0].acknowledged), (3, 2));
}

#[test]
fn what_never_reached_the_wire_is_taken_back() {
    let book = book(&["a"], false);
    book.emit(&[0], Sending::Own);
    book.withdraw(&[0], Sending::Own);
    book.emit(&[0], Sending::Retry);
    book.withdraw(&[0], Sending::Retry);
    assert_eq!(book.counts(), Counts::default());
    assert_eq!(book.lines(), []);
}

#[test]
fn what_is_absolved_was_sent_and_need_not_be_there() {
    let book = book(&["a", "b"], false);
    book.emit(&[0, 1], Sending::Own);
    book.acknowledge(&[0]);
    book.absolve(&[0, 1]);
    assert_eq!((book.counts().emitted, book.counts().acknowledged), (2, 0));
    let lines = book.lines();
    assert_eq!((lines[0].emissions, lines[0].acknowledged), (1, 0));
    book.acknowledge(&[0]);
    assert_eq!(book.counts().acknowledged, 1);
}

#[test]
fn events_without_identity_share_a_line() {
    let book = book(&["a", "b", "a"], true);
    book.emit(&[0, 1, 2], Sending::Own);
    book.emit(&[2], Sending::Retry);
    book.acknowledge(&[0, 1, 2]);
    let lines = book.lines();
    assert_eq!(lines.len(), 2);
    assert_eq!((lines[0].emissions, lines[0].acknowledged), (3, 2));
    assert_eq!(book.counts().emitted, 3);
}

#[test]
fn the_file_holds_a_json_line_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let book = book(&["a|\"b\""], false);
    book.emit(&[0], Sending::Own);
    write(&path, &[Book::new("empty"), book]).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\"source\":\"s\",\"key\":\"a|\\\"b\\\"\",\"copies\":1,\"emissions\":1,\
         \"acknowledged\":0,\"timeless\":false}\n"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
