//! The needs of readers of the log beside the events: wake-ups after commits, and ticks.
//!
//! - A wake-up is a notification on the channel `tidings`, for those who listen rather than
//!   poll. Ingest does not notify by itself, because all commits that notify wait for one
//!   another; the worker notifies when it has committed, over its control connection.
//!   Nothing waits for a wake-up, and nothing is lost if one is: readers see the events when
//!   they look again.
//! - A tick raises the horizon of an idle log, for those who follow several databases as one
//!   log. There is none unless the worker is told to tick, and none within a second of
//!   events or of another worker's tick.

use std::{convert::Infallible, time::Duration};

use actix::prelude::*;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::queries::{Queries, Unheld};
use crate::pipeline::stored::Stored;

/// Time between two wake-ups. Commits in that time have one wake-up together, at its end.
const PAUSE: Duration = Duration::from_millis(2);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Time without events after which there is a tick.
const IDLE: Duration = Duration::from_secs(1);

/// A task of the control connection for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), Unheld>")]
pub(crate) enum ForReaders {
    Wake,
    Tick,
}

impl ForReaders {
    fn what(self) -> &'static str {
        match self {
            Self::Wake => "readers are not woken up, and see new events when they poll",
            Self::Tick => "the horizon of an idle log is not raised",
        }
    }
}

/// Wakes the readers up after each commit that stored events, or once for those that follow
/// one another closely; and ticks while there are none, if it `ticks`.
pub(crate) async fn serve<F>(
    stored: Stored,
    ticks: bool,
    ask: impl Fn(ForReaders) -> F,
) -> Infallible
where
    F: Future<Output = Result<(), Unheld>>,
{
    let mut is_refused = false;
    loop {
        let due = match ticks {
            false => {
                stored.taken().await;
                Ok(())
            }
            true => timeout(IDLE, stored.taken()).await,
        };
        let what = due.map_or(ForReaders::Tick, |()| ForReaders::Wake);
        let next = Instant::now() + PAUSE;
        match ask(what).await {
            Ok(()) => {
                is_refused = false;
                sleep_until(next).await;
                continue;
            }
            Err(Unheld::Refused(reason)) if !is_refused => {
                is_refused = true;
                warn!(reason, "{}", what.what());
            }
            Err(failure) => debug!(?failure, "{}", what.what()),
        }
        if what == ForReaders::Wake {
            stored.tell();
        }
        sleep(RETRY).await;
    }
}

/// Asks the control connection.
pub(crate) fn by(
    control: Recipient<ForReaders>,
) -> impl Fn(ForReaders) -> BoxFuture<'static, Result<(), Unheld>> {
    move |what| {
        let done = control.send(what);
        // Without its control connection the process ends.
        let done = done.map(|done| done.unwrap_or_else(|e| Err(Unheld::Lost(e.to_string()))));
        done.boxed()
    }
}

/// Does this work to its end, and wakes the readers up meanwhile.
pub(crate) async fn wake_during<T>(
    stored: Stored,
    queries: &Queries,
    work: impl Future<Output = T>,
) -> T {
    let done = tokio::select! {
        done = work => done,
        never = serve(stored.clone(), false, |_| queries.wake()) => match never {},
    };
    if stored.taken().now_or_never().is_some() {
        // As in `serve`, readers do without.
        let _ = queries.wake().await;
    }
    done
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::testing::Log;

    const TICK: Duration = Duration::from_millis(1);
    const TAKES: Duration = Duration::from_millis(1);

    /// Times at which something was done for readers, if events were stored at these times, and the
    /// first attempts failed like this.
    async fn done(stored_at: &[Duration], failures: &[Unheld], ticks: bool) -> Done {
        done_in(TAKES, stored_at, failures, ticks).await
    }

    /// The same, if each takes this time.
    async fn done_in(
        takes: Duration,
        stored_at: &[Duration],
        failures: &[Unheld],
        ticks: bool,
    ) -> Done {
        let start = Instant::now();
        let (done, stored) = (RefCell::new(Done::default()), Stored::default());
        let count = Cell::new(0);
        let serving = serve(stored.clone(), ticks, |what| {
            let failure = failures.get(count.replace(count.get() + 1));
            let mut done = done.borrow_mut();
            match what {
                ForReaders::Wake => done.woken.push(start.elapsed()),
                ForReaders::Tick => done.ticked.push(start.elapsed()),
            }
            async move {
                if !takes.is_zero() {
                    sleep(takes).await;
                }
                failure.map_or(Ok(()), |failure| Err(failure.clone()))
            }
        });
        let storing = async {
            for at in stored_at {
                sleep_until(start + *at).await;
                stored.tell();
            }
            sleep(RETRY * 7 / 2).await;
        };
        tokio::select! {
            never = serving => match never {},
            () = storing => {}
        }
        done.into_inner()
    }

    #[derive(Debug, Default)]
    struct Done {
        woken: Vec<Duration>,
        ticked: Vec<Duration>,
    }

    /// These are the times between, but for the millisecond by which each timer may be late.
    fn assert_apart(done: &[Duration], apart: &[Duration]) {
        let between: Vec<_> = done.windows(2).map(|w| w[1] - w[0]).collect();
        assert_eq!(between.len(), apart.len(), "{done:?}");
        for (between, least) in between.iter().zip(apart) {
            let (least, most) = (*least - TICK, *least + TICK * 2);
            assert!((least..=most).contains(between), "{done:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_after_a_while_wakes_readers_up_at_once() {
        let stored = [Duration::ZERO, TICK * 50];
        let Done { woken, ticked } = done(&stored, &[], false).await;
        assert!(woken[0] <= TICK);
        assert_apart(&woken, &[TICK * 50]);
        assert!(ticked.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn commits_that_follow_closely_have_one_wake_up_at_the_end_of_the_pause() {
        let close = TICK + TAKES / 2;
        let stored = [TICK, close, close, close];
        assert_apart(&done(&stored, &[], false).await.woken, &[PAUSE]);
        assert!(done(&[], &[], false).await.woken.is_empty());
    }

    /// Timers may be late by a millisecond, so that there are bounds.
    #[tokio::test(start_paused = true)]
    async fn the_pause_runs_while_readers_are_woken_up() {
        let stored: Vec<_> = (0..100).map(|n| TICK * n).collect();
        let quick = done_in(Duration::ZERO, &stored, &[], false).await.woken;
        assert!((30..=52).contains(&quick.len()), "{quick:?}");
        let slow = done_in(PAUSE * 2, &stored, &[], false).await.woken;
        assert!((19..=27).contains(&slow.len()), "{slow:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn readers_that_were_not_woken_up_are_woken_up_later() {
        let failures = [Unheld::Lost("x".into()), Unheld::Refused("y".into())];
        let Done { woken, .. } = done(&[TICK], &failures, false).await;
        assert_apart(&woken, &[TAKES + RETRY, TAKES + RETRY]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_ticks_does_so_a_second_after_the_last_event_and_each_second() {
        let Done { woken, ticked } = done(&[IDLE / 2], &[], true).await;
        let apart = PAUSE + IDLE;
        assert_apart(&[woken, ticked].concat(), &[apart; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_once_until_it_has_passed() {
        let log = Log::default();
        let _listening = log.listen();
        let count = Cell::new(0);
        let serving = serve(Stored::default(), true, |_| {
            let refused = matches!(count.replace(count.get() + 1), 0 | 1 | 3 | 4);
            async move {
                let reason = || Unheld::Refused("no right".into());
                (!refused).then_some(()).ok_or_else(reason)
            }
        });
        let _ = timeout(IDLE * 20, serving).await;
        assert!(count.get() > 5);
        let text = log.text();
        assert_eq!(text.matches("WARN").count(), 2, "{text}");
        assert!(text.contains("no right"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_failed_is_no_event() {
        let failures = [Unheld::Lost("x".into())];
        let Done { woken, ticked } = done(&[], &failures, true).await;
        assert_apart(&ticked, &[RETRY + IDLE]);
        assert!(woken.is_empty());
    }
}
