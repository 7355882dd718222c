//! What the spool can no longer bring to Postgres, reported as gaps.
//!
//! - A damaged entry, which stays in the file.
//! - A file that is missing at the start although it held entries: somebody moved it away, or
//!   it was lost. Which sources had entries is therefore noted beside the file.
//! - A file that `tidings-worker spool set-aside` moves away.
//!
//! A file that is moved away while it is open is no loss: it is put back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tidings_spool::{Content, Folder, Note, Part, file};
use tracing::warn;

use crate::gaps::{Cause, Extent, Gaps, Key, Report, report::now};

/// Name of the note in the spool's folder.
const FILE: &str = "waiting.json";

/// The sources that have entries in the file, each with the arrival of the first one since
/// the file was empty, in milliseconds since 1970.
type Waiting = BTreeMap<String, u64>;

/// Knows what is in the file, as far as that is needed to report its loss.
#[derive(Debug)]
pub(crate) struct Losses {
    /// The path of the file.
    file: PathBuf,
    note: Note,
    waiting: Waiting,
    gaps: Gaps,
}

impl Losses {
    /// The gaps wait in the same folder.
    pub(crate) fn noted(folder: &Folder, gaps: Gaps) -> Self {
        let mut note = Note::new(folder.path(), FILE);
        note.keep_in(folder.clone());
        gaps.keep_in(folder.clone());
        let waiting = match read(&mut note) {
            Ok(waiting) => waiting,
            Err(reason) => {
                warn!(%reason, "{FILE} in the spool's folder cannot be read");
                Waiting::new()
            }
        };
        Self {
            file: folder.path().join(file::FILE),
            note,
            waiting,
            gaps,
        }
    }

    /// The file is missing. The gaps are on the disk before the sources are forgotten.
    pub(crate) fn file_is_missing(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let what = "the spool's file is missing";
        let detail = format!(
            "{} held requests that were answered 200 when it was moved away or deleted; how many \
             is not known",
            self.file.display()
        );
        for (source, from) in &self.waiting {
            let part = Part {
                received: Some((*from, now())),
                ..Part::default()
            };
            self.report(source.clone(), what, part, detail.clone());
        }
        self.gaps.save();
        self.set(Waiting::new());
    }

    /// The file was moved to `aside`. Without its content, the note says whose it was.
    pub(crate) fn file_is_set_aside(&mut self, aside: &Path, content: Option<Content>) {
        let what = "the spool was set aside";
        let detail = format!("they are in {}", aside.display());
        match content {
            Some(content) => self.content(what, &detail, content),
            None => {
                let detail = format!(
                    "its file is damaged, so that the number of requests is not known; it is {}",
                    aside.display()
                );
                let nameless = Part {
                    received: self.waiting.values().min().map(|from| (*from, now())),
                    ..Part::default()
                };
                self.nameless(what, &detail, nameless);
            }
        }
        self.gaps.save();
        self.set(Waiting::new());
    }

    /// Entries are damaged, and stay where they are.
    pub(crate) fn are_damaged(&self, content: Content) {
        let detail = format!("they stay in {}", self.file.display());
        self.content("damaged in the spool", &detail, content);
    }

    fn content(&self, what: &str, detail: &str, content: Content) {
        for (source, part) in content.sources {
            self.report(source, what, part, detail.to_owned());
        }
        if content.nameless.requests > 0 {
            self.nameless(what, detail, content.nameless);
        }
    }

    /// Entries whose source cannot be read are those of any source in the file.
    fn nameless(&self, what: &str, detail: &str, part: Part) {
        let what = format!("{what}, of a source that cannot be read");
        for source in self.waiting.keys() {
            self.report(source.clone(), &what, part, detail.to_owned());
        }
    }

    fn report(&self, source: String, what: &str, part: Part, detail: String) {
        let (from, to) = part.received.unzip();
        self.gaps.report(Report {
            key: Key {
                source,
                cause: Cause::SpoolDiscarded,
                what: what.to_owned(),
                proof: None,
            },
            extent: Extent {
                from,
                to: to.unwrap_or_else(now),
                requests: part.requests,
                bytes: Some(part.bytes),
            },
            detail,
        });
    }

    /// These entries are about to be in the file.
    pub(crate) fn put<'a>(&mut self, entries: impl Iterator<Item = (u64, &'a str)>) {
        let mut waiting = None;
        for (received, source) in entries {
            if !self.waiting.contains_key(source) {
                let waiting = waiting.get_or_insert_with(|| self.waiting.clone());
                let first = waiting.entry(source.to_owned()).or_insert(received);
                *first = received.min(*first);
            }
        }
        if let Some(waiting) = waiting {
            self.set(waiting);
        }
    }

    /// The file was read: these sources have entries in it. If the source of some cannot be
    /// read, those that are noted may have some too.
    pub(crate) fn counted(&mut self, counted: Waiting, some_are_nameless: bool) {
        let noted = self.waiting.iter().filter(|_| some_are_nameless);
        let noted = noted.map(|(source, from)| (source.clone(), *from));
        let mut waiting: Waiting = noted.collect();
        waiting.extend(counted);
        self.set(waiting);
    }

    /// Entries were deleted.
    pub(crate) fn deleted(&mut self, has_some: impl Fn(&str) -> bool) {
        if self.waiting.keys().all(|source| has_some(source)) {
            return;
        }
        let mut waiting = self.waiting.clone();
        waiting.retain(|source, _| has_some(source));
        self.set(waiting);
    }

    /// A note that cannot be written is no reason to refuse a request: the note serves only
    /// to report that the file is gone.
    fn set(&mut self, waiting: Waiting) {
        if self.waiting == waiting {
            return;
        }
        self.waiting = waiting;
        self.write();
    }

    fn write(&mut self) {
        let written = serde_json::to_vec(&self.waiting)
            .map_err(std::io::Error::from)
            .and_then(|bytes| self.note.write(&bytes));
        if let Err(reason) = written {
            warn!(%reason, "which sources have requests in the spool cannot be noted");
        }
    }

    /// Writes the note again if somebody has removed or replaced it.
    pub(crate) fn look_after(&mut self) {
        if !self.waiting.is_empty() && !self.note.is_in_place() {
            self.write();
        }
    }

    /// The file was put back, perhaps into another folder.
    pub(crate) fn moved(&mut self, is_other_folder: bool) {
        self.look_after();
        if is_other_folder {
            self.gaps.move_in();
        }
    }
}

fn read(note: &mut Note) -> std::io::Result<Waiting> {
    match note.read()? {
        Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
        None => Ok(Waiting::new()),
    }
}
