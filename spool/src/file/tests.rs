use redb::ReadableDatabase;

use super::{
    format::{FORMAT, META, REQUESTS, begin},
    *,
};
use crate::entry::{Entry, first_form};

const ALL: ReadLimits = ReadLimits {
    requests: usize::MAX,
    bytes: usize::MAX,
};

fn entry(body: &'static str) -> Entry {
    Entry {
        received: 1_767_225_600_000,
        source: "sms".into(),
        headers: "{}".to_owned(),
        body: body.into(),
    }
}

fn put(key: u64, value: Vec<u8>) -> Change {
    Change {
        puts: vec![(key, value)],
        ..Change::default()
    }
}

/// Says of itself what it is told, as another version would; with one entry.
fn file_of_format(folder: &Path, format: u64, value: &[u8]) {
    let file = SpoolFile::open(folder, Mode::Create).unwrap();
    let transaction = begin(file.database().unwrap()).unwrap();
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert(FORMAT.0, format).unwrap();
    let mut requests = transaction.open_table(REQUESTS).unwrap();
    requests.insert(0, value).unwrap();
    drop((meta, requests));
    transaction.commit().unwrap();
}

fn format(file: &SpoolFile) -> u64 {
    let transaction = file.database().unwrap().begin_read().unwrap();
    let meta = transaction.open_table(META).unwrap();
    meta.get(FORMAT.0).unwrap().unwrap().value()
}

#[test]
fn a_file_of_the_first_format_is_read_and_becomes_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (entry("old"), entry("new"));
    file_of_format(folder.path(), 1, &first_form(&old));
    let file = SpoolFile::open(folder.path(), Mode::Existing).unwrap();
    let batch = file.read(None, u64::MAX, ALL).unwrap();
    assert_eq!(batch.entries, [(0, old.clone())]);
    assert_eq!(format(&file), 1, "an older one may have it back untouched");
    file.apply(&put(1, new.encode())).unwrap();
    assert_eq!(format(&file), 2);
    drop(file);
    let file = SpoolFile::open(folder.path(), Mode::Existing).unwrap();
    let batch = file.read(None, u64::MAX, ALL).unwrap();
    assert_eq!(batch.entries, [(0, old), (1, new)]);
    let deletes = vec![0, 1];
    let change = Change {
        deletes,
        ..Change::default()
    };
    let sources: Vec<_> = file.apply(&change).unwrap();
    let sources: Vec<_> = sources.into_iter().map(|(source, _)| source).collect();
    assert_eq!(sources, [Some("sms".to_owned()), Some("sms".to_owned())]);
}

#[test]
fn a_file_of_a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    file_of_format(folder.path(), 3, b"");
    let error = SpoolFile::open(folder.path(), Mode::Create).unwrap_err();
    assert!(
        error.to_string().contains("its format is 3, and"),
        "{error}"
    );
}

#[test]
fn what_is_damaged_is_stepped_over_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = SpoolFile::open(folder.path(), Mode::Create).unwrap();
    let mut altered = entry("altered").encode();
    *altered.last_mut().unwrap() ^= 1;
    let bytes = altered.len() as u64;
    for (key, value) in [(0, altered.clone()), (1, entry("whole").encode())] {
        file.apply(&put(key, value)).unwrap();
    }
    file.apply(&put(2, altered)).unwrap();
    let batch = file.read(None, u64::MAX, ALL).unwrap();
    assert_eq!(batch.entries, [(1, entry("whole"))]);
    assert_eq!((batch.damaged, batch.last), (vec![0, 2], Some(2)));
    let one = ReadLimits { requests: 1, ..ALL };
    let batch = file.read(None, u64::MAX, one).unwrap();
    assert_eq!((batch.entries.len(), batch.last), (0, Some(0)));
    assert_eq!(file.read(Some(2), u64::MAX, ALL).unwrap(), Batch::default());
    assert_eq!(file.oldest(0).unwrap(), Some((1, 1_767_225_600_000)));
    assert_eq!(file.oldest(2).unwrap(), None);
    let deletes = Change {
        deletes: vec![0],
        ..Change::default()
    };
    assert_eq!(file.apply(&deletes).unwrap(), [(None, bytes)]);
}
