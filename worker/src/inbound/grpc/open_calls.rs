//! The calls that anybody may make: health and reflection.
//!
//! Such calls need no authorization, so that they are bounded apart from pushes: a further call
//! ends the oldest one, and each ends after a time. Some watches of the health may last as
//! long as their connection, because load balancers keep them open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::{Semaphore, oneshot},
    time::sleep,
};
use tonic::Status;

use crate::process::drain::Drain;

/// The method that reports the health for as long as its caller wants.
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Limit on the watches without a time limit.
pub(super) const WATCHES: usize = 16;

/// Limits on the calls without authorization.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLimits {
    pub(crate) calls: usize,
    pub(crate) time: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct OpenCalls {
    limits: OpenLimits,
    watches: Arc<Semaphore>,
    open: Arc<Mutex<Open>>,
}

/// The open calls by their number, which grows with time.
#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, oneshot::Sender<()>>,
}

impl OpenCalls {
    pub(super) fn new(limits: OpenLimits) -> Self {
        Self {
            limits,
            watches: Arc::new(Semaphore::new(WATCHES)),
            open: Arc::default(),
        }
    }

    /// Counts a call of the method at `path` as open until the result is dropped, which
    /// resolves when the call has to end, with the status that ends it.
    pub(super) fn begin(&self, path: &str, drain: &Drain) -> BoxFuture<'static, Status> {
        let drained = drain.begun();
        let watch = match path {
            WATCH => self.watches.clone().try_acquire_owned().ok(),
            _ => None,
        };
        if let Some(watch) = watch {
            return async move {
                let _watch = watch;
                drained.await;
                stopping()
            }
            .boxed();
        }
        let mut place = self.place();
        let time = self.limits.time;
        async move {
            tokio::select! {
                biased;
                () = drained => stopping(),
                _ = &mut place.displaced => {
                    Status::unavailable("too many calls without authorization: call again")
                }
                () = sleep(time) => Status::unavailable(format!(
                    "a call without authorization may last {} s: call again",
                    time.as_secs_f64()
                )),
            }
        }
        .boxed()
    }

    fn place(&self) -> Place {
        let (displace, displaced) = oneshot::channel();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.by_number.len() >= self.limits.calls {
            // Dropping the sender is the message.
            open.by_number.pop_first();
        }
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, displace);
        Place {
            number,
            displaced,
            open: self.open.clone(),
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the worker is stopping")
}

struct Place {
    number: u64,
    /// Resolves when the sender is gone.
    displaced: oneshot::Receiver<()>,
    open: Arc<Mutex<Open>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    const TIME: Duration = Duration::from_secs(30);

    fn calls(calls: usize) -> OpenCalls {
        OpenCalls::new(OpenLimits { calls, time: TIME })
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_after_its_time_and_some_watches_never_do() {
        let (calls, drain) = (calls(1_000), Drain::new());
        let begun = Instant::now();
        let status = calls.begin(REFLECTION, &drain).await;
        assert_eq!(begun.elapsed(), TIME);
        assert!(status.message().contains("30 s"), "{status}");

        let mut watches: Vec<_> = (0..=WATCHES).map(|_| calls.begin(WATCH, &drain)).collect();
        let further = watches.pop().unwrap();
        further.await;
        assert_eq!(begun.elapsed(), TIME * 2);
        for watch in &mut watches {
            let ended = timeout(TIME, watch).await;
            assert!(ended.is_err());
        }
        drain.begin();
        for watch in watches {
            watch.await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_call_ends_the_oldest() {
        let (calls, drain) = (calls(2), Drain::new());
        let first = calls.begin(REFLECTION, &drain);
        let second = calls.begin(REFLECTION, &drain);
        drop(second);
        let mut third = calls.begin(REFLECTION, &drain);
        let mut fourth = calls.begin(REFLECTION, &drain);
        let status = first.now_or_never().unwrap();
        assert!(status.message().contains("too many"), "{status}");
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
    }
}
