//! Flow control of HTTP/2 that acts before any limit of the library.
//!
//! A peer may send as many bytes as its window has, in DATA frames of any size. The library
//! (h2, since 0.4.16) keeps each unread frame as an entry of about 256 bytes, however few
//! bytes the frame carries, and closes the connection with ENHANCE_YOUR_CALM
//! (`too_many_data_frames`) if the entries of a connection exceed a budget. By default that is
//! half the window, which events of 100 bytes use up before the window is full. Frames on
//! calls that nobody reads any more are never taken off the account, so that no finite budget
//! is enough for a connection that lasts.
//!
//! Therefore the task that drives a connection takes every frame off the library as it
//! arrives ([`inlet::Pump`]), and lets the library read only a [ration](ration::RATION) before
//! it does so. What waits for its reader is then plain bytes, at most a window of them, and
//! only the reader gives the peer new capacity ([`Inlet`]). The library's budget is switched
//! off ([`FRAME_BUDGET`]), because it has nothing left to protect.

mod inlet;
mod pings;
mod ration;

use std::task::{Context, Poll};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

pub(crate) use self::{
    inlet::{Inlet, inlet},
    pings::unanswered,
    ration::{Ration, Rationed},
};

/// The library's budget for small DATA frames: none.
pub(crate) const FRAME_BUDGET: usize = usize::MAX;

/// The pumps of a connection, which are polled by the task that drives the connection.
pub(crate) struct Pumps {
    running: FuturesUnordered<BoxFuture<'static, ()>>,
    ration: Ration,
}

impl Pumps {
    pub(crate) fn new(ration: Ration) -> Self {
        Self {
            running: FuturesUnordered::new(),
            ration,
        }
    }

    /// Adds a pump, or a future that becomes one.
    pub(crate) fn push(&mut self, pump: impl Future<Output = ()> + Send + 'static) {
        self.running.push(pump.boxed());
    }

    /// Takes what has arrived off the library, and allows it another ration. Returns whether
    /// the library has used the last one up, so that it has to be polled again.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(context) {}
        self.ration.renew()
    }
}

#[cfg(test)]
mod tests;
