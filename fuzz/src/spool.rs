//! The file of a spool, damaged: it is refused with a reason, or read; and what is read
//! is what was put there, to the byte; an entry that is not is known as damaged. The
//! library below may panic at what contradicts itself: that must not get out.
//!
//! An input is a list of damages, done to one of several moments of a real file:
//! bytes overwritten, a page of another moment or place, a page of zeros, an end cut off
//! or added. Whoever writes whole consistent pages can also take back what was committed
//! last; so how much is read is not judged here.

use std::{
    collections::BTreeMap,
    fs, io, panic,
    sync::{Arc, Once, OnceLock},
};

use tempfile::TempDir;
use tidings_spool::{Change, Entry, Mode, SpoolFile, file::FILE};

const PAGE: usize = 4096;
const COMMITS: u64 = 4;
const ENTRIES: u64 = 12;

/// What is damaged, and what may be read from it.
struct Real {
    /// The file after each commit, as a crash would leave it, and after it was closed.
    moments: Vec<Vec<u8>>,
    put: BTreeMap<u64, Vec<u8>>,
}

#[expect(
    clippy::expect_used,
    reason = "without a folder nothing can be checked"
)]
pub fn check(data: &[u8]) {
    static HOOK: Once = Once::new();
    static REAL: OnceLock<Real> = OnceLock::new();
    // libFuzzer's ends the process at every panic, also at one that is caught; without
    // it, one that gets out still does.
    if cfg!(fuzzing) {
        HOOK.call_once(|| panic::set_hook(Box::new(|info| eprintln!("{info}"))));
    }
    let real = REAL.get_or_init(|| {
        let real = real().expect("a spool is made");
        real.check();
        real
    });
    match read(&damaged(&real.moments, data)) {
        Ok(entries) => {
            for (key, bytes) in entries {
                assert_eq!(
                    real.put.get(&key),
                    Some(&bytes),
                    "what was put at {key} is read"
                );
            }
        }
        Err(reason) => crate::readable(&reason),
    }
}

impl Real {
    /// Each moment is read as it was.
    fn check(&self) {
        for (moment, bytes) in (1..).zip(&self.moments) {
            let all = if moment > COMMITS { ENTRIES } else { 0 }..moment.min(COMMITS) * ENTRIES;
            let read = read(bytes).map(|entries| entries.into_iter().map(|(key, _)| key).collect());
            assert_eq!(read, Ok(all.collect::<Vec<_>>()), "moment {moment}");
        }
    }
}

/// In memory where that can be: each input is a file.
fn folder() -> io::Result<TempDir> {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())
}

type Entries = Vec<(u64, Vec<u8>)>;

#[expect(
    clippy::expect_used,
    reason = "without a folder nothing can be checked"
)]
fn read(bytes: &[u8]) -> Result<Entries, String> {
    let told = |error: tidings_spool::SpoolError| error.to_string();
    let folder = folder().expect("a folder is made");
    fs::write(folder.path().join(FILE), bytes).expect("a file is written");
    let file = SpoolFile::open(folder.path(), Mode::Existing).map_err(told)?;
    let mut entries = Vec::new();
    let scanned = file.scan(None, |key, bytes| {
        if Entry::decode(bytes).is_some() {
            entries.push((key, bytes.to_vec()));
        }
        true
    });
    scanned.map_err(told)?;
    let oldest = file.oldest(0).map_err(told)?;
    let first = entries.first().map(|(key, _)| *key);
    assert_eq!(oldest.map(|(key, _)| key), first, "the oldest whole one");
    let names = file.names().map_err(told)?;
    assert!(
        names.iter().all(|name| name == "sms" || name == "push"),
        "{names:?}"
    );
    Ok(entries)
}

fn real() -> Result<Real, Box<dyn std::error::Error>> {
    let folder = folder()?;
    let path = folder.path().join("real");
    let (mut moments, mut put) = (Vec::new(), BTreeMap::new());
    let file = SpoolFile::open(&path, Mode::Create)?;
    for commit in 0..COMMITS {
        let mut change = Change::default();
        for number in 0..ENTRIES {
            let key = commit * ENTRIES + number;
            let entry = Entry {
                received: 1_767_225_600_000 + key,
                source: Arc::from(if key.is_multiple_of(2) { "sms" } else { "push" }),
                headers: format!("{{\"url-token\": \"t{key}\"}}"),
                body: vec![b'a' + u8::try_from(key % 26)?; 40 + 97 * usize::try_from(key)?].into(),
            };
            put.insert(key, entry.encode());
            change.puts.push((key, entry.encode()));
        }
        change.names = Some(["sms", "push"].map(str::to_owned).into());
        file.apply(&change)?;
        moments.push(fs::read(path.join(FILE))?);
    }
    let deletes = (0..ENTRIES).collect();
    file.apply(&Change {
        deletes,
        ..Change::default()
    })?;
    moments.push(fs::read(path.join(FILE))?);
    drop(file);
    moments.push(fs::read(path.join(FILE))?);
    Ok(Real { moments, put })
}

/// The moment by the first byte; then damages, each a kind, a place and what it needs.
fn damaged(moments: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut rest = Parts(data);
    let moment = |index: u8| moments.get(usize::from(index) % moments.len()).cloned();
    let mut bytes = rest.byte().and_then(moment).unwrap_or_default();
    while let (Some(kind), Some(at)) = (rest.byte(), rest.place()) {
        match kind % 6 {
            0 | 1 => {
                let length = rest.byte().unwrap_or(0).into();
                let new = rest.take(length);
                // The pages that say where everything is are few, and worth half of it.
                let at = if kind % 6 == 0 { at % 512 } else { at };
                overwrite(&mut bytes, at, new);
            }
            2 => bytes.truncate(at),
            3 => {
                let other = rest.byte().and_then(moment).unwrap_or_default();
                let from = rest.place().unwrap_or(at) / PAGE * PAGE;
                let page = other.get(from..).unwrap_or_default();
                let page = page.get(..PAGE).unwrap_or(page).to_vec();
                overwrite(&mut bytes, at / PAGE * PAGE, &page);
            }
            4 => overwrite(&mut bytes, at / PAGE * PAGE, &[0; PAGE]),
            _ => bytes.resize(bytes.len() + at % (64 * PAGE), 0xa5),
        }
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (old, new) in bytes.iter_mut().skip(at).zip(new) {
        *old = *new;
    }
}

struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).first().copied()
    }

    /// Three bytes: sixteen MiB.
    fn place(&mut self) -> Option<usize> {
        let bytes = self.take(3).try_into().ok()?;
        let [a, b, c]: [u8; 3] = bytes;
        Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }
}
