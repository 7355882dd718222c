//! Gaps that do not come from a stream: where requests of a source may be lost.
//!
//! - Whoever knows of a loss hands a [`Report`] to [`Gaps`], without waiting: the spool, and
//!   the HTTP server for what a provider gives up.
//! - Reports of the same kind are joined while they wait. The [`reporter`] writes them by
//!   `tidings.report_gap`, keeps them while Postgres is away, and tries again.
//! - Where the worker has a spool, what waits is in its folder too, so that it outlasts the
//!   process.

pub(crate) mod report;
pub(crate) mod reporter;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tidings_spool::{Folder, Note};
use tokio::sync::Notify;
use tracing::warn;

pub(crate) use self::report::{Cause, Extent, Key, Proof, Report};

/// Name of the file in the spool's folder.
const FILE: &str = "gaps.json";
/// Limit on the reports that wait.
const MOST: usize = 1_000;
/// Limit on those of one source that need a proof, because strangers can cause them. The one
/// of the fewest requests makes room: a provider sends again, with the same proof.
const MOST_UNPROVED: usize = 16;

/// The reports that wait; a handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Notified when there is something to write.
    wake: Notify,
    /// The file in the spool's folder, if there is a spool; the lock is held while it is
    /// written.
    saved: Mutex<Option<Saved>>,
}

/// The file, and what was written to it last.
#[derive(Debug)]
struct Saved {
    note: Note,
    waiting: Waiting,
}

type Waiting = BTreeMap<Key, (Extent, String)>;

impl Gaps {
    /// Takes up what an earlier process has left in the folder.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let saved = folder.map(|folder| {
            let mut note = Note::new(folder, FILE);
            let waiting = read(&mut note);
            Saved { note, waiting }
        });
        let waiting = saved.as_ref().map(|saved| saved.waiting.clone());
        Self(Arc::new(Shared {
            waiting: Mutex::new(waiting.unwrap_or_default()),
            wake: Notify::new(),
            saved: Mutex::new(saved),
        }))
    }

    /// Restricts writing from now on: the reports that wait are written only as long as this
    /// process holds the folder that is at the path.
    pub(crate) fn keep_in(&self, folder: Folder) {
        if let Some(saved) = lock(&self.0.saved).as_mut() {
            saved.note.keep_in(folder);
        }
    }

    /// Adds the reports in the folder that is at the path now, as far as they are others', and
    /// writes what waits to it.
    pub(crate) fn move_in(&self) {
        if let Some(saved) = lock(&self.0.saved).as_mut() {
            let found = read(&mut saved.note);
            let mut waiting = lock(&self.0.waiting);
            for (key, report) in found {
                waiting.entry(key).or_insert(report);
            }
            saved.waiting.clear();
        }
        self.save();
        self.0.wake.notify_one();
    }

    /// Adds a report to those that wait.
    pub(crate) fn report(&self, report: Report) {
        let is_kept = add(&mut lock(&self.0.waiting), report);
        if !is_kept {
            warn!("a gap is not reported, because too many wait already");
        }
        self.0.wake.notify_one();
    }

    /// The reports that wait, in the order of their keys.
    fn list(&self) -> Vec<Report> {
        let waiting = lock(&self.0.waiting).clone();
        let report = |(key, (extent, detail))| Report {
            key,
            extent,
            detail,
        };
        waiting.into_iter().map(report).collect()
    }

    /// Removes a report that needs no more work. What was added to it meanwhile stays.
    fn settle(&self, report: &Report) {
        let mut waiting = lock(&self.0.waiting);
        let Some((extent, _)) = waiting.get_mut(&report.key) else {
            return;
        };
        if *extent == report.extent {
            waiting.remove(&report.key);
            return;
        }
        extent.requests = extent.requests.saturating_sub(report.extent.requests);
        let bytes = extent.bytes.zip(report.extent.bytes);
        extent.bytes = bytes.map(|(sum, settled)| sum.saturating_sub(settled));
    }

    /// How many reports wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.0.waiting).len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what waits to the folder, if there is one.
    pub(crate) fn save(&self) {
        let mut saved = lock(&self.0.saved);
        let Some(saved) = saved.as_mut() else {
            return;
        };
        let waiting = lock(&self.0.waiting).clone();
        // Somebody may have removed or replaced the file.
        let is_there = waiting.is_empty() || saved.note.is_in_place();
        if saved.waiting == waiting && is_there {
            return;
        }
        let rows: Vec<_> = waiting.iter().collect();
        let written = serde_json::to_vec(&rows)
            .map_err(std::io::Error::from)
            .and_then(|bytes| saved.note.write(&bytes));
        match written {
            Ok(()) => saved.waiting = waiting,
            Err(reason) => {
                warn!(%reason, "gaps that could not be written to Postgres cannot be kept on the disk either");
            }
        }
    }
}

fn read(note: &mut Note) -> Waiting {
    let bytes = match note.read() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Waiting::new(),
        Err(reason) => {
            warn!(%reason, "{FILE} in the spool's folder cannot be read, so that gaps may remain unreported");
            return Waiting::new();
        }
    };
    match serde_json::from_slice::<Vec<(Key, (Extent, String))>>(&bytes) {
        Ok(rows) => rows.into_iter().take(MOST).collect(),
        Err(reason) => {
            warn!(%reason, "{FILE} in the spool's folder cannot be read, so that gaps may remain unreported");
            Waiting::new()
        }
    }
}

/// Whether there was room for it.
fn add(waiting: &mut Waiting, report: Report) -> bool {
    let Report {
        key,
        extent,
        detail,
    } = report;
    if let Some((sum, newest)) = waiting.get_mut(&key) {
        sum.join(extent);
        *newest = detail;
        return true;
    }
    if key.proof.is_some() {
        let alike = waiting
            .iter()
            .filter(|(other, _)| other.source == key.source && other.proof.is_some());
        if alike.clone().count() >= MOST_UNPROVED {
            let least = alike.min_by_key(|(_, (extent, _))| extent.requests);
            if let Some(least) = least.map(|(key, _)| key.clone()) {
                waiting.remove(&least);
            }
        }
    }
    // Reports without a proof are the spool's, of sources that Postgres has listed.
    if waiting.len() >= MOST && key.proof.is_some() {
        return false;
    }
    waiting.insert(key, (extent, detail));
    true
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn report(source: &str, what: &str, token: Option<&str>) -> Report {
        Report {
            key: Key {
                source: source.to_owned(),
                cause: Cause::ProviderGaveUp,
                what: what.to_owned(),
                proof: token.map(|token| Proof {
                    provider: "arpoone".to_owned(),
                    headers: format!(r#"{{"url-token":"{token}"}}"#),
                }),
            },
            extent: Extent {
                from: Some(1),
                to: 2,
                requests: 1,
                bytes: Some(10),
            },
            detail: "newest".to_owned(),
        }
    }

    impl Gaps {
        /// What waits, in the order of its keys.
        pub(crate) fn waiting(&self) -> Vec<Report> {
            self.list()
        }
    }

    #[test]
    fn reports_of_one_kind_are_joined() {
        let gaps = Gaps::default();
        for source in ["a", "a", "b"] {
            gaps.report(report(source, "x", Some("t")));
        }
        gaps.report(report("a", "y", Some("t")));
        let requests: Vec<_> = gaps.list().iter().map(|r| r.extent.requests).collect();
        assert_eq!(requests, [2, 1, 1]);
    }

    #[test]
    fn strangers_push_out_neither_the_provider_nor_the_spool() {
        let gaps = Gaps::default();
        for _ in 0..2 {
            gaps.report(report("a", "x", Some("the provider")));
        }
        for number in 0..1_000 {
            gaps.report(report("a", "x", Some(&number.to_string())));
        }
        let waiting = gaps.waiting();
        assert_eq!(waiting.len(), MOST_UNPROVED);
        assert!(waiting.iter().any(|report| report.extent.requests == 2));
        // Names that strangers make up.
        for number in 0..MOST * 2 {
            gaps.report(report(&number.to_string(), "x", Some("t")));
        }
        assert_eq!(gaps.waiting().len(), MOST);
        gaps.report(report("spooled", "x", None));
        assert_eq!(gaps.waiting().len(), MOST + 1);
    }

    #[test]
    fn what_waits_outlasts_the_process_where_there_is_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let gaps = Gaps::open(Some(folder.path()));
        gaps.report(report("a", "x", Some("t")));
        gaps.save();
        let later = Gaps::open(Some(folder.path()));
        assert_eq!(later.waiting(), gaps.waiting());
        assert_eq!(later.waiting().len(), 1);
        later.settle(&later.list()[0]);
        later.save();
        assert!(Gaps::open(Some(folder.path())).is_empty());
        std::fs::write(folder.path().join(FILE), "garbage").unwrap();
        assert!(Gaps::open(Some(folder.path())).is_empty());
    }

    #[test]
    fn what_somebody_removes_from_the_folder_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let gaps = Gaps::open(Some(folder.path()));
        gaps.report(report("a", "x", Some("t")));
        let path = folder.path().join(FILE);
        for _ in 0..2 {
            gaps.save();
            let later = Gaps::open(Some(folder.path()));
            assert_eq!(later.waiting(), gaps.waiting());
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_reports_in_another_folder_are_added() {
        let parent = tempfile::tempdir().unwrap();
        let [folder, other] = ["spool", "other"].map(|name| parent.path().join(name));
        for (folder, sources) in [(&folder, ["a", "b"]), (&other, ["b", "c"])] {
            std::fs::create_dir(folder).unwrap();
            let gaps = Gaps::open(Some(folder));
            for source in sources {
                gaps.report(report(source, "x", None));
            }
            gaps.save();
        }
        let gaps = Gaps::open(Some(&folder));
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::rename(&other, &folder).unwrap();
        gaps.move_in();
        let waiting = Gaps::open(Some(&folder)).waiting();
        let sources: Vec<_> = waiting
            .iter()
            .map(|report| (report.key.source.as_str(), report.extent.requests))
            .collect();
        assert_eq!(sources, [("a", 1), ("b", 1), ("c", 1)]);
    }
}
