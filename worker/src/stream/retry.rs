//! When a stream is dialed again, and its state until then.
//!
//! | after | the next attempt |
//! |---|---|
//! | a clean end, with events | at once; without: after a pause that grows to 2 s |
//! | the idle limit | at once |
//! | a cut connection | at once the first time, then as below |
//! | what may pass, and a stream that somebody has | after a pause that grows to 30 s, and not before the server's hint |
//! | a refused token | at once the first time, then as above; from the 4th refusal: stopped |
//! | what lasts | stopped |
//!
//! A stopped stream is retried every 10 minutes, because a provider does not announce its
//! repairs. Events that are stored, or a connection that lasted for a minute, end a
//! series of failures. Events of which none can be stored do not count, because reading
//! them again at once would change nothing.

use std::time::Duration;

use super::report::State;
use crate::process::backoff::Backoff;

const LEAST_PAUSE: Duration = Duration::from_millis(200);
const GREATEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause after clean ends without events, which are normal.
const GREATEST_CLEAN_PAUSE: Duration = Duration::from_secs(2);
/// Pause of an immediate retry, so that a server which accepts and ends at once does not
/// cause a busy loop.
const AT_ONCE: Duration = Duration::from_millis(20);
const STOPPED: Duration = Duration::from_secs(600);
/// Number of refusals of a token after which somebody has to act.
const REFUSALS: u32 = 4;
/// A connection that lasted this long counts as good, even if it was quiet.
pub(crate) const GOOD_SESSION: Duration = Duration::from_secs(60);

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server closed the stream cleanly.
    Clean,
    /// No message arrived for too long.
    Idle,
    /// The connection broke.
    Cut,
    /// A transient failure; not to be retried before this time.
    Passing(Option<Duration>),
    /// The token or the client was refused.
    Unauthenticated,
    /// Another client has the stream open.
    Occupied,
    /// A failure that lasts until somebody changes something.
    Lasting,
}

impl Cause {
    /// The name of the cause in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Idle => "idle",
            Self::Cut => "cut",
            Self::Passing(_) => "failed",
            Self::Unauthenticated => "unauthenticated",
            Self::Occupied => "occupied",
            Self::Lasting => "refused",
        }
    }

    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Clean | Self::Idle)
    }
}

/// The state and the pause that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) state: State,
    pub(crate) pause: Duration,
}

/// The attempts of one stream.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    clean: Backoff,
    failures: u32,
    refusals: u32,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            backoff: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
            clean: Backoff::between(LEAST_PAUSE, GREATEST_CLEAN_PAUSE),
            failures: 0,
            refusals: 0,
        }
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Records that the credential or the cursor has changed.
    pub(crate) fn renewed(&mut self) {
        self.backoff.reset();
        self.refusals = 0;
    }

    /// Decides what follows a connection or an attempt. `stored` is the number of stored
    /// events (without rejected ones), and `good` tells whether the connection lasted for
    /// [`GOOD_SESSION`].
    pub(crate) fn after(&mut self, cause: Cause, stored: u64, good: bool) -> Next {
        if stored > 0 || good {
            self.renewed();
            self.clean.reset();
            self.failures = 0;
        }
        if cause.is_failure() {
            self.failures = self.failures.saturating_add(1);
        } else {
            self.failures = 0;
        }
        if cause == Cause::Unauthenticated {
            self.refusals = self.refusals.saturating_add(1);
        }
        let waiting = |pause| Next {
            state: State::Waiting,
            pause,
        };
        match cause {
            Cause::Clean if stored == 0 => waiting(self.clean.pause().min(GREATEST_CLEAN_PAUSE)),
            Cause::Clean | Cause::Idle => waiting(AT_ONCE),
            Cause::Cut if self.failures == 1 => waiting(AT_ONCE),
            Cause::Unauthenticated if self.refusals == 1 => waiting(AT_ONCE),
            Cause::Unauthenticated if self.refusals < REFUSALS => waiting(self.growing()),
            Cause::Unauthenticated | Cause::Lasting => Next {
                state: State::Stopped,
                pause: STOPPED,
            },
            Cause::Cut | Cause::Occupied => waiting(self.growing()),
            Cause::Passing(hint) => waiting(self.growing().max(hint.unwrap_or_default())),
        }
    }

    /// The jitter of earlier pauses keeps streams out of step at the greatest pause too.
    fn growing(&mut self) -> Duration {
        self.backoff.pause().min(GREATEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSING: Cause = Cause::Passing(None);

    fn failed(retry: &mut Retry, cause: Cause) -> Next {
        retry.after(cause, 0, false)
    }

    #[test]
    fn pauses_grow_until_events_come() {
        let mut retry = Retry::new();
        let pauses: Vec<_> = (0..12).map(|_| failed(&mut retry, PASSING)).collect();
        assert!(pauses.iter().all(|next| next.state == State::Waiting));
        assert!(pauses[0].pause <= LEAST_PAUSE * 2);
        assert!(pauses[8..].iter().all(|next| next.pause == GREATEST_PAUSE));
        assert_eq!(retry.failures(), 12);
        let next = retry.after(PASSING, 1, false);
        assert!(next.pause <= LEAST_PAUSE * 2);
        assert_eq!(retry.failures(), 1);
    }

    #[test]
    fn ppoppo_end_of_stream_is_no_failure() {
        let mut retry = Retry::new();
        for _ in 0..50 {
            assert_eq!(retry.after(Cause::Clean, 100, false).pause, AT_ONCE);
        }
        for _ in 0..50 {
            let next = retry.after(Cause::Clean, 0, false);
            assert!(next.pause >= LEAST_PAUSE && next.pause <= GREATEST_CLEAN_PAUSE);
            assert_eq!((next.state, retry.failures()), (State::Waiting, 0));
        }
        assert_eq!(retry.after(Cause::Idle, 0, true).pause, AT_ONCE);
    }

    #[test]
    fn a_cut_connection_is_quick_once() {
        let mut retry = Retry::new();
        assert_eq!(failed(&mut retry, Cause::Cut).pause, AT_ONCE);
        assert!(failed(&mut retry, Cause::Cut).pause >= LEAST_PAUSE);
        // A quiet stream that is cut now and then is as good as one with events.
        assert_eq!(retry.after(Cause::Cut, 0, true).pause, AT_ONCE);
    }

    #[test]
    fn a_refused_token_is_renewed_at_once_then_slowly_then_by_hand() {
        let mut retry = Retry::new();
        let series = |retry: &mut Retry| {
            let next: Vec<_> = (0..5)
                .map(|_| failed(retry, Cause::Unauthenticated))
                .collect();
            assert_eq!(next[0].pause, AT_ONCE);
            assert!(next[1].pause >= LEAST_PAUSE && next[1].pause < STOPPED);
            let states: Vec<_> = next.iter().map(|next| next.state).collect();
            assert_eq!(states[..3], [State::Waiting; 3]);
            assert_eq!(states[3..], [State::Stopped; 2]);
            assert_eq!(next[4].pause, STOPPED);
        };
        series(&mut retry);
        retry.renewed();
        series(&mut retry);
        let expired_in_mid_stream = retry.after(Cause::Unauthenticated, 7, false);
        assert_eq!(expired_in_mid_stream.pause, AT_ONCE);
    }

    #[test]
    fn what_lasts_is_tried_now_and_then() {
        let next = failed(&mut Retry::new(), Cause::Lasting);
        assert_eq!((next.state, next.pause), (State::Stopped, STOPPED));
    }

    #[test]
    fn a_hint_is_the_least() {
        let hint = Duration::from_secs(120);
        let mut retry = Retry::new();
        assert_eq!(failed(&mut retry, Cause::Passing(Some(hint))).pause, hint);
        let short = Cause::Passing(Some(Duration::from_millis(1)));
        assert!(failed(&mut retry, short).pause >= LEAST_PAUSE);
    }
}
