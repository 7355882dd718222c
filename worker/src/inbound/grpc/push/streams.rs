//! The places of open push streams: so many in all, and a share of them for each source.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{admission::budget::Spent, process::metric};

type Counts = HashMap<Arc<str>, usize>;

/// The places of the process.
#[derive(Clone, Debug)]
pub(crate) struct PushStreams {
    free: Arc<Semaphore>,
    /// Limit on the streams of one source.
    most: usize,
    /// The open streams of each source that has one.
    open: Arc<Mutex<Counts>>,
}

impl PushStreams {
    /// `all` places, of which one source may have this share, in percent, and at least one.
    pub(crate) fn new(all: usize, share: u8) -> Self {
        Self {
            free: Arc::new(Semaphore::new(all)),
            most: (all * usize::from(share) / 100).max(1),
            open: Arc::default(),
        }
    }

    /// A place for a stream of this source, or the limit that is reached.
    pub(super) fn enter(&self, source: &Arc<str>) -> Result<Place, Spent> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(source).copied().unwrap_or_default();
        if count >= self.most {
            return Err(Spent::Share);
        }
        let permit = self.free.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Spent::Budget)?;
        open.insert(source.clone(), count + 1);
        gauge!(metric::PUSH_STREAMS).increment(1.0);
        Ok(Place {
            source: source.clone(),
            open: self.open.clone(),
            _permit: permit,
        })
    }
}

/// The place of a stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    source: Arc<str>,
    open: Arc<Mutex<Counts>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        gauge!(metric::PUSH_STREAMS).decrement(1.0);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                open.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_the_others_the_rest() {
        let streams = PushStreams::new(4, 50);
        let source = |name: &str| Arc::<str>::from(name);
        let enter = |name: &str| streams.enter(&source(name));
        let mut held: Vec<_> = (0..2).map(|_| enter("a").unwrap()).collect();
        assert_eq!(enter("a").err(), Some(Spent::Share));
        held.extend((0..2).map(|_| enter("b").unwrap()));
        assert_eq!(enter("c").err(), Some(Spent::Budget));
        held.remove(0);
        drop(enter("c").unwrap());
        held.push(enter("a").unwrap());
        drop(held);
        assert!(streams.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_share_is_at_least_one_stream() {
        let streams = PushStreams::new(1, 50);
        let place = streams.enter(&"a".into()).unwrap();
        assert_eq!(streams.enter(&"b".into()).err(), Some(Spent::Budget));
        drop(place);
        assert!(streams.enter(&"b".into()).is_ok());
    }
}
