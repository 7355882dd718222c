//! Moving the file away: what was in it, as far as that can be read.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{FILE, Folder, Mode, SpoolFile, folder};
use crate::{
    entry::{claimed_origin, origin},
    error::SpoolError,
};

/// The entries of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub requests: u64,
    pub bytes: u64,
    /// Arrival of the oldest and of the newest entry, in milliseconds since 1970; `None` if
    /// neither can be read.
    pub received: Option<(u64, u64)>,
}

impl Part {
    pub fn add(&mut self, bytes: u64, received: Option<u64>) {
        self.requests += 1;
        self.bytes += bytes;
        let Some(at) = received else { return };
        let (first, last) = self.received.unwrap_or((at, at));
        self.received = Some((first.min(at), last.max(at)));
    }
}

/// The entries of a file by source. A damaged entry may name any source, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub sources: BTreeMap<String, Part>,
    pub nameless: Part,
}

/// A file that was moved away.
#[derive(Debug)]
pub struct Aside {
    /// The present path of the file.
    pub path: PathBuf,
    /// `None` if the file is so damaged that it cannot be read.
    pub content: Option<Content>,
    /// The folder, which is held meanwhile.
    pub folder: Folder,
}

impl SpoolFile {
    /// The entries by source. A damaged entry counts for the source that it names, if that
    /// source is known.
    pub fn content(&self) -> Result<Content, SpoolError> {
        let names = self.names()?;
        let mut content = Content::default();
        self.scan(None, |_, value| {
            let bytes = value.len() as u64;
            let (received, source) = match origin(value) {
                Some((received, source)) => (Some(received), Some(source)),
                None => {
                    let (received, source) = claimed_origin(value).unzip();
                    (received, source.filter(|source| names.contains(*source)))
                }
            };
            let part = match source {
                Some(source) => content.sources.entry(source.to_owned()).or_default(),
                None => &mut content.nameless,
            };
            part.add(bytes, received);
            true
        })?;
        Ok(content)
    }
}

/// Moves the file of a spool that no worker holds to another name in its folder, which ends
/// in `suffix`.
pub fn set_aside(folder: &Path, suffix: &str) -> Result<Aside, SpoolError> {
    let unusable = |error: std::io::Error| SpoolError::unusable(folder, error);
    let path = folder.join(FILE);
    let content = match SpoolFile::open(folder, Mode::Existing) {
        Ok(file) => file.content().ok(),
        Err(error @ (SpoolError::Held(_) | SpoolError::Absent(_))) => return Err(error),
        Err(_) => None,
    };
    let held = Folder::hold(folder)?;
    let aside = folder.join(format!("{FILE}.{suffix}"));
    if aside.try_exists().map_err(unusable)? {
        return Err(SpoolError::unusable(&aside, "there is such a file already"));
    }
    std::fs::rename(&path, &aside).map_err(unusable)?;
    folder::sync(folder).map_err(unusable)?;
    Ok(Aside {
        path: aside,
        content,
        folder: held,
    })
}
