//! What is in the file, counted and published.

use std::collections::BTreeMap;

use tidings_spool::{
    Content, SpoolError,
    entry::{claimed_origin, origin},
};
use tracing::{error, warn};

use super::Keeper;
use crate::spool::{Damaged, Depth, bound::Bound};

impl Keeper {
    /// Counts what is in the file.
    pub(super) fn count(&mut self) -> Result<(), SpoolError> {
        let mut bound = Bound::new(self.bound.limit());
        let mut damaged = Damaged::default();
        let (mut requests, mut next, mut head) = (0, self.next, None);
        let mut waiting = BTreeMap::<String, u64>::new();
        let (mut is_nameless, mut found) = (false, Content::default());
        let (told, names) = (&mut self.told, self.names.borrow());
        self.file.scan(None, |key, value| {
            let bytes = value.len() as u64;
            next = next.max(key + 1);
            if let Some((received, source)) = origin(value) {
                note(&mut waiting, source, received);
                bound.hold(source, bytes);
                requests += 1;
                head = head.or(Some(key));
                return true;
            }
            let (received, source) = claimed_origin(value).unzip();
            bound.hold_unowned(bytes);
            damaged.add(bytes, received);
            // A damaged name may be anything, such as a secret, so only known names count.
            let source = source.filter(|source| names.contains(*source));
            match source {
                Some(source) => note(&mut waiting, source, received.unwrap_or_default()),
                None => is_nameless = true,
            }
            if told.insert(key) {
                let part = match source {
                    Some(source) => found.sources.entry(source.to_owned()).or_default(),
                    None => &mut found.nameless,
                };
                part.add(bytes, received);
                error!(key, bytes, received, source, "a spooled request is damaged; it stays in the spool and is not sent to Postgres");
            }
            true
        })?;
        drop(names);
        (self.bound, self.requests, self.next) = (bound, requests, next);
        (self.damaged, self.head) = (damaged, head.unwrap_or(next));
        self.losses.counted(waiting, is_nameless);
        self.losses.are_damaged(found);
        Ok(())
    }

    pub(super) fn count_anew(&mut self) {
        if let Err(reason) = self.count() {
            warn!(%reason, "the requests in the spool cannot be counted");
            self.doubtful = true;
        }
        self.tell();
    }

    /// Publishes the depth of the spool. A failure to read it does not affect a commit.
    pub(super) fn tell(&mut self) {
        let oldest = match self.file.oldest(self.head) {
            Ok(oldest) => {
                self.head = oldest.map_or(self.next, |(key, _)| key);
                oldest.map(|(_, received)| received)
            }
            Err(reason) => {
                warn!(%reason, "the spool's oldest request cannot be read");
                self.doubtful = true;
                self.depth.borrow().oldest
            }
        };
        let depth = Depth {
            requests: self.requests,
            bytes: self.bound.taken().saturating_sub(self.damaged.bytes),
            oldest,
            damaged: self.damaged,
            failed: self.failed(),
            next: self.next,
        };
        self.depth.send_replace(depth);
    }
}

fn note(waiting: &mut BTreeMap<String, u64>, source: &str, received: u64) {
    match waiting.get_mut(source) {
        Some(first) => *first = received.min(*first),
        None => drop(waiting.insert(source.to_owned(), received)),
    }
}
