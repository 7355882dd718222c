//! What the keeper does after the disk has failed. Its thread is the test's: nothing
//! happens between two groups.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use futures_util::FutureExt;
use tidings_spool::Mode;
use tokio::sync::mpsc;

use super::*;
use crate::{
    budget::Payer,
    request::fake,
    spool::{
        Spool,
        tests::{budget, share},
    },
};

const LIMIT: u64 = 1 << 30;
const ALL: ReadLimits = ReadLimits {
    requests: usize::MAX,
    bytes: usize::MAX,
};

fn keeper(folder: &Path) -> Keeper {
    Keeper::new(SpoolFile::open(folder, Mode::Create).unwrap(), LIMIT, None).unwrap()
}

impl Keeper {
    /// One group of one ask.
    fn serve<T>(&mut self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> T {
        let (reply, mut answer) = oneshot::channel();
        let mut group = Group::default();
        self.take(ask(reply), &mut group);
        self.settle(group);
        answer.try_recv().unwrap()
    }

    fn put(&mut self, source: &str, body: usize) -> Result<(), Unspooled> {
        let entry = Entry {
            received: 1,
            source: source.into(),
            headers: String::new(),
            body: vec![b'x'; body].into(),
        };
        self.serve(|reply| Ask::Put(entry, share(), reply))
    }

    fn read(&mut self, after: Option<u64>) -> Read {
        self.serve(|reply| Ask::Read(after, ALL, reply))
    }

    fn delete(&mut self, key: u64) -> Result<(), SpoolError> {
        self.serve(|reply| Ask::Delete(vec![key], reply))
    }

    /// What it says, and what a count of the file says.
    fn bytes(&self) -> (u64, u64) {
        let mut bytes = 0;
        let scanned = self.file.scan(None, |_, value| {
            bytes += value.len() as u64;
            Some(true)
        });
        scanned.unwrap();
        (self.depth.borrow().bytes, bytes)
    }
}

/// More than the library keeps in memory.
fn filled(folder: &Path) -> (Keeper, PathBuf) {
    let mut keeper = keeper(folder);
    keeper.put("the oldest", 1 << 20).unwrap();
    for _ in 0..40 {
        keeper.put("s", 1 << 20).unwrap();
    }
    (keeper, folder.join(tidings_spool::file::FILE))
}

#[test]
fn a_read_that_failed_is_recovered_from() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, path) = filled(folder.path());
    let whole = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(whole.len() as u64 / 2).unwrap();
    let failed = keeper.read(None).unwrap_err();
    assert!(matches!(failed, SpoolError::Unusable { .. }), "{failed}");
    file.write_all_at(&whole, 0).unwrap();
    assert_eq!(keeper.read(None).map(|read| read.len()), Ok(41));
    assert_eq!(keeper.put("s", 1), Ok(()));
}

#[test]
fn what_is_committed_is_acknowledged_though_the_oldest_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, path) = filled(folder.path());
    // So that the oldest is read from the disk.
    keeper.read(Some(0)).unwrap();
    let name = b"the oldest";
    let whole = fs::read(&path).unwrap();
    let copies = whole.windows(name.len()).enumerate();
    let copies = copies.filter(|(_, bytes)| bytes == name);
    let copies: Vec<u64> = copies.map(|(at, _)| at as u64).collect();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for at in &copies {
        // The length before it.
        file.write_all_at(&[0xff; 8], at - 8).unwrap();
    }
    assert_eq!(keeper.put("s", 1), Ok(()));
    assert!(keeper.doubtful, "the oldest was read");
    for at in &copies {
        let length = (name.len() as u64).to_be_bytes();
        file.write_all_at(&length, at - 8).unwrap();
    }
    assert_eq!(keeper.read(None).map(|read| read.len()), Ok(42));
    assert!(!keeper.doubtful);
}

/// A folder where the reserve should be: there is no room for it.
#[test]
fn what_is_refused_for_want_of_the_reserve_takes_nothing_of_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = folder.path().join("reserve");
    fs::create_dir(&reserve).unwrap();
    let mut keeper = keeper(folder.path());
    for _ in 0..3 {
        assert!(matches!(keeper.put("s", 100), Err(Unspooled::Failed(_))));
        keeper.refusing = None;
    }
    assert_eq!(keeper.bound.taken(), 0);
    fs::remove_dir(&reserve).unwrap();
    assert_eq!(keeper.put("s", 100), Ok(()));
    let (told, counted) = keeper.bytes();
    assert_eq!(told, counted);
}

#[test]
fn a_recovery_forgets_nothing_that_is_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    keeper.doubtful = true;
    keeper.put("s", 300).unwrap();
    let (told, counted) = keeper.bytes();
    assert_eq!(told, counted);
}

#[test]
fn after_a_failure_puts_are_refused_without_an_attempt_until_there_may_be_room() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    let why = SpoolError::unusable(folder.path(), "as told");
    let until = Instant::now() + Duration::from_secs(3600);
    keeper.refusing = Some((until, why.clone()));
    assert_eq!(keeper.put("s", 100), Err(Unspooled::Failed(why.clone())));
    assert_eq!(keeper.depth.borrow().requests, 1);
    keeper.delete(0).unwrap();
    assert_eq!(keeper.put("s", 100), Ok(()));
    keeper.refusing = Some((Instant::now(), why));
    assert_eq!(keeper.put("s", 100), Ok(()), "its time has passed");

    let reserve = folder.path().join("reserve");
    keeper.file.release_reserve();
    fs::create_dir(&reserve).unwrap();
    assert!(keeper.put("s", 100).is_err());
    assert!(keeper.refusing.is_some());
}

/// Else who closes his connections at once takes memory without a bound.
#[test]
fn what_waits_for_the_keeper_keeps_its_share_though_its_caller_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(folder.path());
    let (asks, asked) = mpsc::unbounded_channel();
    let spool = Spool {
        asks,
        depth: keeper.depth(),
        names: keeper.names(),
        limit: LIMIT,
        stalled: Arc::default(),
    };
    let budget = budget();
    let share = budget.try_take(Payer::Strangers, 9).unwrap();
    let put = spool.put(fake::request("s", "body"), share);
    assert_eq!(put.now_or_never(), None, "its caller has gone");
    assert_eq!(budget.taken(), (1, 9));
    let depth = keeper.depth();
    drop(spool);
    keeper.run(asked);
    assert_eq!(budget.taken(), (0, 0));
    assert_eq!(depth.borrow().requests, 0);
}
