//! Commits the messages of a stream, one batch after the other.
//!
//! - A gap is committed like a batch, in its place: after the events before it, and before
//!   those after it.
//! - At most one commit is in flight, so that the cursor, which each commit moves, never
//!   passes an event that is not committed.
//! - While a commit is in flight, the next batch gathers, up to its limits. Then nothing
//!   more is read, and HTTP/2 slows the sender down.
//! - If no message arrives for longer than the idle limit, the stream ends, because a
//!   half-open connection looks just like that. Time in which nothing is read, because a
//!   commit is slow, does not count.
//! - When it is stopped, it finishes the commit in flight and drops the rest, which is
//!   read again from the stored cursor.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::OptionFuture};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::gather::{Gathered, Work};

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End<E> {
    /// The server closed the stream cleanly, and all of it is committed.
    Clean,
    /// The server or the connection failed.
    Failed(Status),
    /// No message arrived for longer than the limit.
    Idle,
    /// A batch or a gap was not committed.
    Uncommitted(E),
    Stopped,
}

/// Runs until the stream ends. `decode` adds what is in a message; `commit` returns after the
/// commit.
pub(crate) async fn pump<M, D, C, F, E>(
    mut messages: M,
    mut gathered: Gathered,
    decode: D,
    mut commit: C,
    idle_limit: Option<Duration>,
    stopped: impl Future<Output = ()>,
) -> End<E>
where
    M: Stream<Item = Result<Bytes, Status>> + Unpin,
    D: Fn(Bytes, &mut Gathered),
    C: FnMut(Work) -> F,
    F: Future<Output = Result<(), E>>,
{
    let mut stopped = std::pin::pin!(stopped);
    let mut in_flight = None;
    let mut end = None;
    let mut heard = Instant::now();
    loop {
        if in_flight.is_none() {
            in_flight = gathered.take().map(|work| Box::pin(commit(work)));
        }
        if in_flight.is_none()
            && let Some(end) = end
        {
            return end;
        }
        let listens = end.is_none() && gathered.has_room();
        let limit = idle_limit.filter(|_| listens && in_flight.is_none());
        let silence = limit.map(|limit| sleep_until(heard + limit));
        tokio::select! {
            Some(result) = OptionFuture::from(in_flight.as_mut()) => {
                in_flight = None;
                heard = Instant::now();
                if let Err(reason) = result {
                    return End::Uncommitted(reason);
                }
            }
            message = messages.next(), if listens => match message {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    decode(message, &mut gathered);
                }
                Some(Err(status)) => end = Some(End::Failed(status)),
                None => end = Some(End::Clean),
            },
            Some(()) = OptionFuture::from(silence) => end = Some(End::Idle),
            () = &mut stopped => {
                return match OptionFuture::from(in_flight).await {
                    Some(Err(reason)) => End::Uncommitted(reason),
                    _ => End::Stopped,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use futures_util::stream;
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::stream::gather::StreamLimits;

    const COMMIT: Duration = Duration::from_millis(10);
    const IDLE: Duration = Duration::from_millis(500);

    fn gathered(events: usize) -> Gathered {
        Gathered::new(StreamLimits {
            events,
            bytes: 1_000,
            message: 1_000,
        })
    }

    fn messages(count: usize) -> Vec<Result<Bytes, Status>> {
        (0..count).map(|n| Ok(n.to_string().into())).collect()
    }

    /// Commits that take a while; asserts that they never overlap.
    #[derive(Default)]
    struct Commits {
        arrays: Mutex<Vec<String>>,
        open: AtomicUsize,
        fail_at: Option<usize>,
    }

    impl Commits {
        async fn commit(&self, work: Work) -> Result<(), String> {
            let Work::Events(array, _) = work else {
                panic!("{work:?}");
            };
            assert_eq!(self.open.fetch_add(1, Ordering::SeqCst), 0, "one in flight");
            sleep(COMMIT).await;
            self.open.fetch_sub(1, Ordering::SeqCst);
            let mut arrays = self.arrays.lock().unwrap();
            arrays.push(String::from_utf8(array.to_vec()).unwrap());
            match self.fail_at {
                Some(n) if arrays.len() == n => Err("refused".to_owned()),
                _ => Ok(()),
            }
        }

        fn arrays(&self) -> Vec<String> {
            self.arrays.lock().unwrap().clone()
        }
    }

    async fn run(
        commits: &Commits,
        messages: impl Stream<Item = Result<Bytes, Status>> + Unpin,
        limit: usize,
        stopped: impl Future<Output = ()>,
    ) -> End<String> {
        let commit = |work| commits.commit(work);
        let decode = |message: Bytes, gathered: &mut Gathered| gathered.push(&message);
        pump(
            messages,
            gathered(limit),
            decode,
            commit,
            Some(IDLE),
            stopped,
        )
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_batch_gathers_up_to_its_limit_and_the_rest_follows() {
        let commits = Commits::default();
        let end = run(&commits, stream::iter(messages(9)), 4, pending()).await;
        assert!(matches!(end, End::Clean));
        let arrays = commits.arrays();
        let all: Vec<u32> = arrays
            .iter()
            .flat_map(|array| serde_json::from_str::<Vec<u32>>(array).unwrap())
            .collect();
        assert_eq!(all, (0..9).collect::<Vec<_>>(), "in order, none left out");
        assert_eq!(arrays, ["[0]", "[1,2,3,4]", "[5,6,7,8]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_a_failure_is_committed() {
        let commits = Commits::default();
        let mut messages = messages(2);
        messages.push(Err(Status::unavailable("gone")));
        let end = run(&commits, stream::iter(messages), 4, pending()).await;
        assert!(matches!(end, End::Failed(_)));
        assert_eq!(commits.arrays(), ["[0]", "[1]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_follows_a_batch_that_was_not_committed() {
        let commits = Commits {
            fail_at: Some(2),
            ..Commits::default()
        };
        let end = run(&commits, stream::iter(messages(20)), 4, pending()).await;
        assert!(matches!(end, End::Uncommitted(reason) if reason == "refused"));
        assert_eq!(commits.arrays(), ["[0]", "[1,2,3,4]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn told_to_stop_it_finishes_the_commit_in_flight_only() {
        let commits = Commits::default();
        let endless = stream::iter(messages(3)).chain(stream::pending());
        let end = run(&commits, endless, 4, sleep(COMMIT / 2)).await;
        assert!(matches!(end, End::Stopped));
        assert_eq!(commits.arrays(), ["[0]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_commits_each_event_as_it_comes() {
        let commits = Commits::default();
        let (sender, receiver) = mpsc::unbounded_channel();
        let stream = UnboundedReceiverStream::new(receiver);
        let feed = async {
            for message in messages(3) {
                sender.send(message).unwrap();
                sleep(COMMIT * 3).await;
            }
        };
        let running = timeout(COMMIT * 20, run(&commits, stream, 4, pending()));
        let (_, timed_out) = tokio::join!(feed, running);
        assert!(timed_out.is_err(), "the stream stays open");
        assert_eq!(commits.arrays(), ["[0]", "[1]", "[2]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_beyond_the_limit_ends_the_stream() {
        let commits = Commits::default();
        let silent = stream::iter(messages(2)).chain(stream::pending());
        let started = Instant::now();
        let running = timeout(IDLE * 10, run(&commits, silent, 4, pending()));
        assert!(matches!(running.await, Ok(End::Idle)));
        assert_eq!(commits.arrays(), ["[0]", "[1]"]);
        assert_eq!(started.elapsed(), IDLE + COMMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_commit_is_no_silence() {
        let slow = |_| async {
            sleep(IDLE * 3).await;
            Ok::<_, String>(())
        };
        let decode = |message: Bytes, gathered: &mut Gathered| gathered.push(&message);
        let messages = stream::iter(messages(9));
        let end = pump(messages, gathered(2), decode, slow, Some(IDLE), pending()).await;
        assert!(matches!(end, End::Clean));
    }
}
