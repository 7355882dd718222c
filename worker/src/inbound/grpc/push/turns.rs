//! Turns to ask Postgres whose authorization a call has.
//!
//! Anybody can call, so that few may ask at a time and few may wait. Callers whose
//! authorization was accepted before have turns of their own: however many others call, a
//! sender that is known does not wait for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Target;

/// Limit on the calls of unknown callers that wait for a turn.
const WAITING: usize = 256;
/// Limit on the authorizations that are remembered; the oldest is forgotten first.
const REMEMBERED: usize = 1_024;

#[derive(Clone, Debug)]
pub(crate) struct Turns {
    strangers: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    known: Arc<Semaphore>,
    accepted: Arc<Mutex<VecDeque<Caller>>>,
}

/// A digest of what a call shows, because the authorization itself must not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller([u8; 32]);

impl Caller {
    pub(super) fn new(target: &Target, authorization: Option<&[u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in [
            target.source.as_deref().unwrap_or_default().as_bytes(),
            target.method.as_bytes(),
            authorization.unwrap_or_default(),
        ] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl Turns {
    /// `most` turns at a time for strangers, and as many for callers that are known.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            strangers: Arc::new(Semaphore::new(most)),
            waiting: Arc::new(Semaphore::new(WAITING)),
            known: Arc::new(Semaphore::new(most)),
            accepted: Arc::default(),
        }
    }

    /// Waits for a turn. `None` if too many strangers wait.
    pub(super) async fn turn(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        if self.knows(caller) {
            return self.known.clone().acquire_owned().await.ok();
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        self.strangers.clone().acquire_owned().await.ok()
    }

    fn knows(&self, caller: &Caller) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.contains(caller)
    }

    /// Remembers, or forgets, whether the authorization of a caller was accepted.
    pub(super) fn note(&self, caller: Caller, is_accepted: bool) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        let place = accepted.iter().position(|known| *known == caller);
        match (place, is_accepted) {
            (Some(place), false) => {
                accepted.remove(place);
            }
            (None, true) => {
                accepted.push_back(caller);
                if accepted.len() > REMEMBERED {
                    accepted.pop_front();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn caller(source: &str, authorization: &str) -> Caller {
        let target = Target {
            source: Some(source.to_owned()),
            method: "/a.B/C".to_owned(),
        };
        Caller::new(&target, Some(authorization.as_bytes()))
    }

    #[tokio::test]
    async fn a_known_caller_does_not_wait_for_strangers() {
        let turns = Turns::new(1);
        let (known, stranger) = (caller("a", "good"), caller("a", "bad"));
        turns.note(known, true);
        let _held = turns.turn(&stranger).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|_| Box::pin(turns.turn(&stranger)))
            .collect();
        assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert!(turns.turn(&stranger).await.is_none(), "one too many");
        assert!(turns.turn(&known).await.is_some());
        turns.note(known, false);
        assert!(turns.turn(&known).await.is_none(), "known no more");
    }

    #[test]
    fn so_many_callers_are_remembered() {
        let turns = Turns::new(1);
        let callers: Vec<_> = (0..=REMEMBERED)
            .map(|number| caller("a", &number.to_string()))
            .collect();
        for caller in &callers {
            turns.note(*caller, true);
            turns.note(*caller, true);
        }
        assert!(!turns.knows(&callers[0]));
        assert!(callers[1..].iter().all(|caller| turns.knows(caller)));
    }

    #[test]
    fn a_caller_is_who_shows_the_same_to_the_same() {
        assert_eq!(caller("a", "b"), caller("a", "b"));
        assert_ne!(caller("a", "b"), caller("a", "c"));
        assert_ne!(caller("a", "b"), caller("b", "b"));
    }
}
