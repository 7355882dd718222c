//! What the keeper does after the disk has failed. Its thread is the test's: nothing
//! happens between two groups.

mod place;

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use futures_util::FutureExt;
use tidings_spool::Mode;

use super::*;
use crate::{
    admission::{
        budget::Payer,
        directory::fake::{snapshot, source},
    },
    gaps::Gaps,
    pipeline::{
        request::{Verdict, fake},
        taking::Taking,
    },
    process::backoff::Backoff,
    spool::{
        FAILING, Spool, drain,
        tests::{ALL, LIMIT, altered, budget, entry, open_file, put_damaged, share},
    },
    testing,
};

pub(super) struct Hook(pub(super) Box<dyn Fn() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

fn keeper(folder: &Path) -> Keeper {
    let file = open_file(folder, Mode::Create).unwrap();
    let losses = Losses::noted(file.folder(), Gaps::default());
    Keeper::new(file, LIMIT, losses, None).unwrap()
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
        self.serve(|reply| Ask::Put(entry(source, body), share(), reply))
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
            true
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
    assert_eq!(keeper.read(None).map(|read| read.entries.len()), Ok(41));
    assert_eq!(keeper.put("s", 1), Ok(()));
}

/// A byte of the body, on the disk, while the file is open.
#[test]
fn what_is_damaged_is_set_aside_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let (mut keeper, path) = filled(folder.path());
    let log = testing::Log::default();
    let _guard = log.listen();
    // So that the oldest is read from the disk.
    keeper.read(Some(0)).unwrap();
    let name = b"the oldest";
    let whole = fs::read(&path).unwrap();
    let copies = whole.windows(name.len()).enumerate();
    let copies = copies.filter(|(_, bytes)| bytes == name);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for (at, _) in copies {
        file.write_all_at(b"?", at as u64 + 10_000).unwrap();
    }
    let damaged = |keeper: &Keeper| {
        let depth = *keeper.depth.borrow();
        (depth.requests, depth.damaged.requests)
    };
    assert_eq!(keeper.put("s", 1), Ok(()));
    let batch = keeper.read(None).unwrap();
    assert_eq!((batch.entries.len(), batch.damaged), (41, vec![0]));
    assert_eq!(damaged(&keeper), (41, 1));
    assert_eq!(keeper.put("s", 1), Ok(()));
    assert_eq!(keeper.delete(1), Ok(()));
    keeper.doubtful = true;
    assert_eq!(keeper.read(None).unwrap().damaged, [0]);
    assert_eq!(damaged(&keeper), (41, 1));
    let (told, counted) = keeper.bytes();
    let of_it = keeper.depth.borrow().damaged;
    assert_eq!(told + of_it.bytes, counted);
    assert_eq!(of_it.oldest, Some(1), "as far as it says");
    let said = log.text();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "once: {said}");
    assert!(
        lines[0].contains("damaged") && lines[0].contains("key=0"),
        "{said}"
    );
}

#[test]
fn a_restart_counts_what_is_damaged_apart_and_the_oldest_is_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    put_damaged(folder.path(), [0, 1], "s");
    let mut keeper = keeper(folder.path());
    let depth = *keeper.depth.borrow();
    assert_eq!((depth.requests, depth.bytes, depth.oldest), (0, 0, None));
    let bytes = altered("s").len() as u64;
    assert_eq!(
        (depth.damaged.requests, depth.damaged.bytes),
        (2, 2 * bytes)
    );
    assert_eq!(keeper.bound.taken(), 2 * bytes, "it takes room");
    keeper.put("s", 100).unwrap();
    let depth = *keeper.depth.borrow();
    assert_eq!(
        (depth.requests, depth.bytes, depth.oldest),
        (1, bytes, Some(1))
    );
    keeper.delete(2).unwrap();
    let depth = *keeper.depth.borrow();
    assert_eq!((depth.requests, depth.bytes, depth.oldest), (0, 0, None));
    keeper.delete(0).unwrap();
    assert_eq!(keeper.depth.borrow().damaged.requests, 1);
    assert_eq!(keeper.bound.taken(), bytes);
}

/// What it says is told where it cannot be a secret.
#[test]
fn the_source_of_a_damaged_one_is_told_if_it_is_a_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(keeper(folder.path()));
    let file = open_file(folder.path(), Mode::Create).unwrap();
    let names = Some(["sms".to_owned()].into());
    file.apply(&Change {
        names,
        ..Change::default()
    })
    .unwrap();
    drop(file);
    put_damaged(folder.path(), [0], "sms");
    put_damaged(folder.path(), [1], "url-token");
    let log = testing::Log::default();
    let _guard = log.listen();
    drop(keeper(folder.path()));
    let said = log.text();
    assert!(said.contains("source=\"sms\""), "{said}");
    assert!(!said.contains("url-token"), "{said}");
}

#[test]
fn what_was_refused_without_an_attempt_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.refuse(Some(SpoolError::unusable(folder.path(), "as told")));
    // Now and not a second later.
    keeper.refusing.as_mut().unwrap().0 += Duration::from_secs(3600);
    keeper.doubtful = true;
    assert!(keeper.put("s", 100).is_err());
    assert!(keeper.doubtful, "it was not opened anew");
    keeper.read(None).unwrap();
    assert!(!keeper.doubtful);
}

#[test]
fn a_spool_that_fails_says_so_until_one_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = folder.path().join("reserve");
    fs::create_dir(&reserve).unwrap();
    let mut keeper = keeper(folder.path());
    let (spool, _asked) = Spool::way_to(&keeper, LIMIT);
    assert!(spool.is_taking());
    assert!(keeper.put("s", 100).is_err());
    assert!(!spool.is_taking());
    fs::remove_dir(&reserve).unwrap();
    keeper.refusing.as_mut().unwrap().0 -= PAUSE;
    keeper.put("s", 100).unwrap();
    assert!(spool.is_taking());

    // So does one that cannot be opened.
    keeper.doubtful = true;
    let path = folder.path().join(tidings_spool::file::FILE);
    fs::write(&path, "").unwrap();
    let log = testing::Log::default();
    let guard = log.listen();
    assert!(keeper.read(None).is_err());
    drop(guard);
    assert!(!spool.is_taking());
    assert!(
        !log.text().contains("does not take requests"),
        "{}",
        log.text()
    );
    // Nobody comes while it says so: after a time it lets one try.
    keeper.depth.send_modify(|depth| {
        let failed = depth.failed.as_mut().unwrap();
        *failed = failed.checked_sub(FAILING).unwrap();
    });
    assert!(spool.is_taking());
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

/// Its key is given to what comes next, and who had read it would delete that.
#[test]
fn what_a_failed_commit_has_left_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    let left = Change {
        puts: vec![(keeper.next, entry("refused", 100).encode())],
        ..Change::default()
    };
    keeper.file.apply(&left).unwrap();
    let sources = |read: Read| {
        let entries = read.unwrap().entries.into_iter();
        let sources = entries.map(|(_, entry)| entry.source.to_string());
        sources.collect::<Vec<_>>()
    };
    assert_eq!(sources(keeper.read(None)), ["s"]);
    keeper.doubtful = true;
    keeper.put("next", 100).unwrap();
    assert_eq!(sources(keeper.read(None)), ["s", "next"]);
}

#[test]
fn of_two_lists_of_names_the_last_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    let mut group = Group::default();
    for names in [["sms".to_owned()].into(), BTreeSet::new()] {
        keeper.take(Ask::Names(names), &mut group);
    }
    keeper.settle(group);
    assert!(keeper.names.borrow().is_empty());
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
    let now = Instant::now() + Duration::from_secs(3600);
    keeper.refusing = Some((now, why.clone()));
    assert_eq!(keeper.put("s", 100), Err(Unspooled::Failed(why.clone())));
    assert_eq!(keeper.depth.borrow().requests, 1);
    keeper.delete(0).unwrap();
    assert_eq!(keeper.put("s", 100), Ok(()));
    keeper.refusing = Some((Instant::now().checked_sub(PAUSE).unwrap(), why));
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
    let (spool, asked) = Spool::way_to(&keeper, LIMIT);
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

/// The request arrives between a read that saw nothing and the next wait.
#[actix::test]
async fn what_comes_while_the_drain_sees_nothing_is_not_stepped_over() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let mut keeper = keeper(folder.path());
    keeper.put("s", 100).unwrap();
    keeper.put("s", 100).unwrap();
    keeper.delete(1).unwrap();
    let (spool, mut asked) = Spool::way_to(&keeper, LIMIT);
    let disabled = |_: &_| Ok(fake::receipt(Verdict::Disabled));
    let (pipeline, _) = testing::pipeline(disabled, Duration::from_secs(5));
    let (_sender, snapshot) = watch::channel(snapshot(&[source("s", "arpoone")]));
    let rest = Duration::from_secs(3600);
    let rests = Backoff::between(rest, rest);
    let postgres = (snapshot, Taking::trusting());
    let rounds = drain::rounds(spool, pipeline, postgres, ALL, rests);
    let mut rounds = std::pin::pin!(rounds);
    for expected in [None, Some(0), Some(1)] {
        let ask = tokio::select! {
            () = &mut rounds => panic!("it has ended"),
            ask = asked.recv() => ask.unwrap(),
            () = tokio::time::sleep(rest / 2) => panic!("nothing was read after {expected:?}"),
        };
        assert!(
            matches!(&ask, Ask::Read(after, ..) if *after == expected),
            "{ask:?}"
        );
        let mut group = Group::default();
        keeper.take(ask, &mut group);
        keeper.settle(group);
        if expected == Some(0) {
            keeper.put("s", 100).unwrap();
        }
    }
}
