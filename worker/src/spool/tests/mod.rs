mod damage;
mod drained;
mod killed;
mod losses;
mod size;

use std::path::Path;

use tidings_spool::Change;

use super::*;
use crate::{
    admission::budget::{Budget, Limits, Payer},
    pipeline::request::fake,
};

pub(super) const LIMIT: u64 = 1 << 30;
pub(super) const ALL: ReadLimits = ReadLimits {
    requests: usize::MAX,
    bytes: usize::MAX,
};

/// Opens it once nobody holds it: a keeper lets go some time after its spool was dropped,
/// and a process that another test starts has its files until it runs its own program.
fn once_free<T>(open: impl Fn() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
    loop {
        match open() {
            Err(SpoolError::Held(_)) => std::thread::yield_now(),
            other => return other,
        }
    }
}

pub(crate) fn open(folder: &Path, limit: u64) -> Result<Spool, SpoolError> {
    once_free(|| Spool::open(folder, Mode::Create, limit, Gaps::default(), None))
}

pub(super) fn open_file(folder: &Path, mode: Mode) -> Result<SpoolFile, SpoolError> {
    once_free(|| SpoolFile::open(folder, mode))
}

/// A budget for one request.
pub(super) fn budget() -> Budget {
    Budget::new(Limits {
        requests: 1,
        bytes: 1 << 10,
        share: 100,
        wire: 1 << 10,
        message: 0,
    })
}

pub(super) fn share() -> Share {
    budget().try_take(Payer::Strangers, 0).unwrap()
}

impl Spool {
    /// As [`Spool::put`], of a budget that nobody else takes from.
    async fn keep(&self, request: Request) -> Result<(), Unspooled> {
        self.put(request, share()).await
    }
}

pub(super) fn entry(source: &str, body: usize) -> Entry {
    Entry {
        received: 1,
        source: source.into(),
        headers: String::new(),
        body: vec![b'x'; body].into(),
    }
}

/// Its bytes, and one of them altered.
pub(super) fn altered(source: &str) -> Vec<u8> {
    let mut bytes = entry(source, 100).encode();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

/// Puts entries that are damaged before they are written, as by faulty memory.
pub(super) fn put_damaged(folder: &Path, keys: impl IntoIterator<Item = u64>, source: &str) {
    let file = open_file(folder, Mode::Create).unwrap();
    let puts = keys.into_iter().map(|key| (key, altered(source)));
    let change = Change {
        puts: puts.collect(),
        ..Change::default()
    };
    file.apply(&change).unwrap();
}

/// Its keeper has ended: it takes no request, and gives none of those that it counts.
pub(crate) fn broken(requests: u64) -> Spool {
    let depth = Depth {
        requests,
        next: requests,
        ..Depth::default()
    };
    Spool {
        asks: mpsc::unbounded_channel().0,
        depth: watch::channel(depth).1,
        names: watch::channel(Names::default()).1,
        failure: watch::channel(None).1,
        limit: LIMIT,
        stalled: Arc::default(),
    }
}

/// Waits until it remembers the sources.
pub(crate) async fn learn(spool: &Spool, sources: &Snapshot) {
    let (_, receiver) = watch::channel(sources.clone());
    spool.clone().remember(receiver).await;
    let mut names = spool.names.clone();
    names.wait_for(|names| !names.is_empty()).await.unwrap();
}

fn reopen(folder: &Path) -> Spool {
    open(folder, LIMIT).unwrap()
}

async fn bodies(spool: &Spool) -> Vec<String> {
    let entries = spool.read(None, ALL).await.unwrap();
    let bodies = entries.entries.iter().map(|(_, entry)| &entry.body);
    bodies
        .map(|body| String::from_utf8(body.to_vec()).unwrap())
        .collect()
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    let puts = (0..100).map(|number| spool.keep(fake::request("s", &format!("{number:03}"))));
    for put in futures_util::future::join_all(puts).await {
        put.unwrap();
    }
    let depth = spool.depth();
    drop(spool);
    let spool = reopen(folder.path());
    assert_eq!(spool.depth(), depth);
    assert_eq!(depth.requests, 100);
    let expected: Vec<_> = (0..100).map(|number| format!("{number:03}")).collect();
    assert_eq!(bodies(&spool).await, expected);
}

#[tokio::test]
async fn a_folder_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let _held = open(folder.path(), LIMIT).unwrap();
    for mode in [Mode::Create, Mode::Existing] {
        let error = Spool::open(folder.path(), mode, 0, Gaps::default(), None).unwrap_err();
        assert!(matches!(error, SpoolError::Held(_)), "{error}");
        assert!(error.to_string().contains("folder of its own"));
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Spool::open(folder.path(), Mode::Existing, 0, Gaps::default(), None).unwrap_err();
    assert!(matches!(error, SpoolError::Absent(_)), "{error}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file, folder.path().join("a/b")] {
        let error = open(&path, LIMIT).unwrap_err();
        assert!(matches!(error, SpoolError::Unusable { .. }), "{error}");
    }
}

/// Such as a copy that keeps no holes' room.
#[test]
fn a_reserve_that_takes_no_room_is_filled() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reserve");
    drop(open(folder.path(), LIMIT).unwrap());
    let taken = || std::fs::metadata(&path).unwrap().blocks() * 512;
    let whole = taken();
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(4 << 20).unwrap();
    assert!(taken() < whole, "it has no holes");
    drop(open(folder.path(), LIMIT).unwrap());
    assert_eq!(taken(), whole);
}

/// A folder that cannot be looked into may hold one.
#[test]
fn a_spool_is_absent_only_where_that_is_known() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Spool::open(file.path(), Mode::Existing, 0, Gaps::default(), None).unwrap_err();
    assert!(matches!(error, SpoolError::Unusable { .. }), "{error}");
}

#[tokio::test]
async fn the_bound_refuses_and_keeps_what_was_taken() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), 1_000).unwrap();
    let put = |source: &'static str| spool.keep(fake::request(source, &"x".repeat(200)));
    assert_eq!(put("a").await, Ok(()));
    assert_eq!(put("a").await, Ok(()));
    assert_eq!(put("a").await, Err(Unspooled::Full), "half of it");
    assert_eq!(put("b").await, Ok(()));
    assert_eq!(put("b").await, Ok(()));
    assert_eq!(put("c").await, Err(Unspooled::Full), "all of it");
    assert_eq!(spool.depth().requests, 4);
    spool.delete(vec![0]).await.unwrap();
    assert_eq!(put("a").await, Ok(()));
    drop(spool);
    assert_eq!(reopen(folder.path()).depth().requests, 4);
}

#[tokio::test]
async fn names_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    assert!(!spool.knows_any());
    let mut off = crate::admission::directory::fake::source("off", "arpoone");
    off.enabled = false;
    let sources = [
        crate::admission::directory::fake::source("sms", "arpoone"),
        crate::admission::directory::fake::source("chat", "ppoppo"),
        off,
    ];
    let (sender, receiver) = watch::channel(Snapshot::default());
    let remember = tokio::spawn(spool.clone().remember(receiver));
    sender.send_replace(crate::admission::directory::fake::snapshot(&sources));
    let mut names = spool.names.clone();
    names.wait_for(|names| !names.is_empty()).await.unwrap();
    // As a database that is being restored.
    sender.send_replace(crate::admission::directory::fake::snapshot(&[]));
    drop(sender);
    remember.await.unwrap();
    drop((spool, names));
    let spool = reopen(folder.path());
    assert_eq!(spool.knows("sms").as_deref(), Some("sms"));
    assert_eq!(spool.knows("chat"), None);
    assert_eq!(spool.knows("off"), None);
}

/// It holds URL tokens and Authorization values.
#[tokio::test]
async fn nobody_but_its_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("spool");
    let spool = open(&folder, LIMIT).unwrap();
    spool.keep(fake::request("s", "body")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files = std::fs::read_dir(&folder).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn the_manual_states_the_times_of_the_spool() {
    use crate::testing::documents::{MANUAL, states};

    // Jitter adds up to one more.
    let (least, greatest) = (
        drain::LEAST_REST.as_secs(),
        2 * drain::GREATEST_REST.as_secs(),
    );
    states(MANUAL, &format!("retried every {least} to {greatest} s"));
    let grace = drain::GRACE.as_secs() / 3600;
    states(MANUAL, &format!("has not existed for {grace} hours"));
    states(
        "docs/outages.md",
        &format!("has not existed for {grace} hours"),
    );
    let failing = FAILING.as_secs();
    states(MANUAL, &format!("counts as unusable for {failing} s"));
}
