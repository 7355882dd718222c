//! When a stream is dialed again, and its state until then.
//!
//! | after | the next attempt |
//! |---|---|
//! | a clean end, with events | at once; without: after a pause that grows to 2 s |
//! | the idle limit | at once |
//! | a cut connection | at once the first time, then as below |
//! | what may pass, and a stream that somebody has | after a pause that grows to 30 s, and not before the server's hint |
//! | a refused token | with a new one: at once the first time, then as above; after a second refusal without a message in between: stopped |
//! | what lasts | stopped |
//!
//! A stopped stream is retried every 10 minutes, because a provider does not announce its
//! repairs.
//!
//! A series of failures ends when events are stored, or with a connection that was alive (a
//! message came, be it only a sign of life) and outlasted the longest pause. A connection
//! that is merely opened ends no series. Neither does one whose events cannot be stored,
//! because reading them again at once would change nothing.

use std::time::Duration;

use strum::EnumIter;

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
const REFUSALS: u32 = 2;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
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

/// What a connection brought, or an attempt at one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brought {
    /// Number of events that are stored now.
    pub(crate) stored: u64,
    /// Whether there were events, of which none is stored.
    pub(crate) futile: bool,
    /// Whether a message came, be it only a sign of life.
    pub(crate) heard: bool,
    /// How long the stream was open.
    pub(crate) lasted: Duration,
}

impl Brought {
    /// Whether it ends a series of failures.
    fn is_good(&self) -> bool {
        self.stored > 0 || (self.heard && !self.futile && self.lasted >= GREATEST_PAUSE)
    }
}

/// The attempts of one stream.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    clean: Backoff,
    failures: u32,
    /// Number of refused tokens since the last message.
    refusals: u32,
    /// Whether a token was renewed at once in this series of failures.
    hurried: bool,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            backoff: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
            clean: Backoff::between(LEAST_PAUSE, GREATEST_CLEAN_PAUSE),
            failures: 0,
            refusals: 0,
            hurried: false,
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
        self.hurried = false;
    }

    /// Decides what follows a connection or an attempt.
    pub(crate) fn after(&mut self, cause: Cause, brought: Brought) -> Next {
        if brought.heard {
            self.refusals = 0;
        }
        if brought.is_good() {
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
            Cause::Clean if brought.stored == 0 => {
                waiting(self.clean.pause().min(GREATEST_CLEAN_PAUSE))
            }
            Cause::Clean | Cause::Idle => waiting(AT_ONCE),
            Cause::Cut if self.failures == 1 => waiting(AT_ONCE),
            Cause::Unauthenticated if self.refusals < REFUSALS => {
                let hurried = std::mem::replace(&mut self.hurried, true);
                waiting(if hurried { self.growing() } else { AT_ONCE })
            }
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
        retry.after(cause, Brought::default())
    }

    fn stored(events: u64) -> Brought {
        Brought {
            stored: events,
            heard: true,
            ..Brought::default()
        }
    }

    /// A connection that was open for so long.
    fn open(lasted: Duration, heard: bool) -> Brought {
        Brought {
            heard,
            lasted,
            ..Brought::default()
        }
    }

    #[test]
    fn pauses_grow_until_events_come() {
        let mut retry = Retry::new();
        let pauses: Vec<_> = (0..12).map(|_| failed(&mut retry, PASSING)).collect();
        assert!(pauses.iter().all(|next| next.state == State::Waiting));
        assert!(pauses[0].pause <= LEAST_PAUSE * 2);
        assert!(pauses[8..].iter().all(|next| next.pause == GREATEST_PAUSE));
        assert_eq!(retry.failures(), 12);
        let next = retry.after(PASSING, stored(1));
        assert!(next.pause <= LEAST_PAUSE * 2);
        assert_eq!(retry.failures(), 1);
    }

    #[test]
    fn ppoppo_end_of_stream_is_no_failure() {
        let mut retry = Retry::new();
        for _ in 0..50 {
            assert_eq!(retry.after(Cause::Clean, stored(100)).pause, AT_ONCE);
        }
        for _ in 0..50 {
            let next = retry.after(Cause::Clean, Brought::default());
            assert!(next.pause >= LEAST_PAUSE && next.pause <= GREATEST_CLEAN_PAUSE);
            assert_eq!((next.state, retry.failures()), (State::Waiting, 0));
        }
        assert_eq!(
            retry.after(Cause::Idle, open(GREATEST_PAUSE, true)).pause,
            AT_ONCE
        );
    }

    #[test]
    fn a_cut_connection_is_quick_once() {
        let mut retry = Retry::new();
        assert_eq!(failed(&mut retry, Cause::Cut).pause, AT_ONCE);
        assert!(failed(&mut retry, Cause::Cut).pause >= LEAST_PAUSE);
        // A quiet stream that is cut now and then is as good as one with events.
        let quiet = open(GREATEST_PAUSE, true);
        assert_eq!(retry.after(Cause::Cut, quiet).pause, AT_ONCE);
    }

    #[test]
    fn only_a_connection_that_was_alive_and_outlasted_the_pauses_ends_a_series() {
        let moment = Duration::from_millis(1);
        for (brought, ends) in [
            (stored(1), true),
            (open(GREATEST_PAUSE, true), true),
            (open(GREATEST_PAUSE - moment, true), false),
            (open(GREATEST_PAUSE * 100, false), false),
            (open(Duration::ZERO, false), false),
            (
                Brought {
                    futile: true,
                    ..open(GREATEST_PAUSE, true)
                },
                false,
            ),
        ] {
            let mut retry = Retry::new();
            for _ in 0..12 {
                failed(&mut retry, PASSING);
            }
            let next = retry.after(PASSING, brought);
            let expected = if ends { 1 } else { 13 };
            assert_eq!(retry.failures(), expected, "{brought:?}");
            assert_eq!(next.pause < GREATEST_PAUSE, ends, "{brought:?}");
        }
    }

    #[test]
    fn a_refused_token_is_renewed_once_at_once() {
        let mut retry = Retry::new();
        for _ in 0..2 {
            let first = failed(&mut retry, Cause::Unauthenticated);
            assert_eq!((first.state, first.pause), (State::Waiting, AT_ONCE));
            for _ in 0..2 {
                let next = failed(&mut retry, Cause::Unauthenticated);
                assert_eq!((next.state, next.pause), (State::Stopped, STOPPED));
            }
            retry.renewed();
        }
        // What else goes wrong in between is not what the token needs.
        failed(&mut retry, Cause::Unauthenticated);
        failed(&mut retry, PASSING);
        let next = failed(&mut retry, Cause::Unauthenticated);
        assert_eq!(next.state, State::Stopped);
        let expired_in_mid_stream = retry.after(Cause::Unauthenticated, stored(7));
        assert_eq!(expired_in_mid_stream.pause, AT_ONCE);
    }

    #[test]
    fn a_sign_of_life_between_refusals_prevents_the_stop_and_not_the_pauses() {
        let mut retry = Retry::new();
        let alive = open(Duration::from_millis(1), true);
        assert_eq!(retry.after(Cause::Unauthenticated, alive).pause, AT_ONCE);
        for _ in 0..12 {
            let next = retry.after(Cause::Unauthenticated, alive);
            assert_eq!(next.state, State::Waiting);
            assert!(next.pause >= LEAST_PAUSE, "{next:?}");
        }
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
