//! The body of a call as it arrives. Its bytes are charged to the budget before more is
//! read, so that incomplete messages have the same bound as complete ones.
//!
//! - Without a share of the budget nothing is read, and HTTP/2 slows the sender down. If
//!   a message gets no share in time, the call ends with RESOURCE_EXHAUSTED.
//! - A message that is too large ends the call with RESOURCE_EXHAUSTED too, as gRPC
//!   specifies. (tonic would send OUT_OF_RANGE, which means "do not send this again".)
//! - If a message is not complete in time, the call ends with DEADLINE_EXCEEDED.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Status, body::Body};

use crate::admission::budget::{Budget, Payer, Share};

/// Length of the prefix of each message: a flag and a length.
pub(crate) const PREFIX: usize = 5;
/// If the deadline was missed by more than this, the reader was busy.
const LATE: Duration = Duration::from_secs(1);

/// Limits on the messages of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Limit on the bytes of a message.
    pub(crate) message: usize,
    /// Time limit from the first byte of a message to its last.
    pub(crate) time: Duration,
}

/// The share of the budget that the body of a call holds.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    budget: Budget,
    /// The payer, once it is known: nothing is read before.
    payer: Arc<OnceLock<Payer>>,
    held: Arc<Mutex<Option<Share>>>,
}

impl Meter {
    pub(crate) fn new(budget: Budget) -> Self {
        Self {
            budget,
            payer: Arc::default(),
            held: Arc::default(),
        }
    }

    /// Sets who pays for what is read from now on.
    pub(crate) fn assign(&self, payer: Payer) {
        // The first one remains.
        let _ = self.payer.set(payer);
    }

    fn payer(&self) -> Payer {
        self.payer.get().cloned().unwrap_or(Payer::Strangers)
    }

    fn hold(&self, more: Share) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) => held.join(more),
            None => *held = Some(more),
        }
    }

    /// Hands over the share of a message of `bytes`.
    pub(crate) fn release(&self, bytes: usize) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_mut()?.cut(PREFIX + bytes)
    }
}

/// A message that begins here.
#[derive(Debug)]
struct TooLarge {
    at: usize,
    length: usize,
}

/// Position of a body within its messages.
#[derive(Debug, Default)]
struct Framing {
    /// Bytes of the prefix that have arrived.
    prefix: usize,
    length: usize,
    /// Bytes of the message that are missing.
    missing: usize,
}

impl Framing {
    fn is_between(&self) -> bool {
        self.prefix == 0 && self.missing == 0
    }

    /// Advances over new data, and returns whether an incomplete message began in it.
    fn advance(&mut self, mut data: &[u8], most: usize) -> Result<bool, TooLarge> {
        let (all, mut begun, mut at) = (data.len(), false, 0);
        while let Some((byte, rest)) = data.split_first() {
            if self.missing > 0 {
                let step = self.missing.min(data.len());
                self.missing -= step;
                data = data.get(step..).unwrap_or_default();
                continue;
            }
            if self.prefix == 0 {
                begun = true;
                at = all - data.len();
            }
            // The first byte is a flag and is not part of the length.
            self.length = if self.prefix == 0 {
                0
            } else {
                self.length << 8 | usize::from(*byte)
            };
            self.prefix += 1;
            data = rest;
            if self.prefix == PREFIX {
                if self.length > most {
                    let length = self.length;
                    return Err(TooLarge { at, length });
                }
                (self.prefix, self.missing) = (0, self.length);
            }
        }
        Ok(begun && !self.is_between())
    }
}

type Taking = BoxFuture<'static, Option<Share>>;

/// A body that is metered.
pub(super) struct Metered {
    body: Body,
    meter: Meter,
    bounds: Bounds,
    framing: Framing,
    deadline: Pin<Box<Sleep>>,
    /// Data that arrived and has no share of the budget yet.
    waiting: Option<(Bytes, Taking)>,
    /// Why nothing more is read.
    refused: Option<Status>,
}

impl Metered {
    pub(super) fn new(body: Body, meter: Meter, bounds: Bounds) -> Self {
        Self {
            body,
            meter,
            bounds,
            framing: Framing::default(),
            deadline: Box::pin(sleep(bounds.time)),
            waiting: None,
            refused: None,
        }
    }

    fn restart(&mut self) {
        let deadline = Instant::now() + self.bounds.time;
        self.deadline.as_mut().reset(deadline);
    }

    /// Whether the deadline has passed.
    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let late = self.deadline.as_mut().poll(context).is_ready();
        if late && Instant::now() > self.deadline.deadline() + LATE {
            self.restart();
            // Asks to be woken at the new deadline.
            return self.deadline.as_mut().poll(context).is_ready();
        }
        late
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let has_waited = this.waiting.is_some();
        let (data, mut taking) = match this.waiting.take() {
            Some(waiting) => waiting,
            None if this.refused.is_some() => {
                return Poll::Ready(this.refused.take().map(Err));
            }
            None => match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(mut data) => {
                        match this.framing.advance(&data, this.bounds.message) {
                            Ok(true) => this.restart(),
                            Ok(false) => {}
                            Err(TooLarge { at, length }) => {
                                // The messages before it are answered.
                                data.truncate(at);
                                this.refused = Some(Status::resource_exhausted(format!(
                                    "a message of {length} bytes is too large: it has at most {}",
                                    this.bounds.message
                                )));
                            }
                        }
                        let (budget, size) = (this.meter.budget.clone(), data.len());
                        let payer = this.meter.payer();
                        let taking = async move { budget.take(payer, 0, size).await }.boxed();
                        (data, taking)
                    }
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Poll::Pending if !this.framing.is_between() && this.is_late(context) => {
                    return Poll::Ready(Some(Err(Status::deadline_exceeded(
                        "a message did not come in time",
                    ))));
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(end) => return Poll::Ready(end),
            },
        };
        match taking.poll_unpin(context) {
            Poll::Ready(share) => {
                if let Some(share) = share {
                    this.meter.hold(share);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Pending => {
                if !has_waited && this.framing.is_between() {
                    this.restart();
                }
                this.waiting = Some((data, taking));
                if this.is_late(context) {
                    let status = Status::resource_exhausted("too much is pending: send again");
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
