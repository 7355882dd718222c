//! The bytes that arrive on a stream of HTTP/2: taken off the library at once, and read at
//! leisure.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, Reason, RecvStream};
use http::HeaderMap;
use http_body::Frame;

/// Limit on the bytes that are read at a time, as in the largest frame of most peers.
const READ: usize = 16 << 10;

/// The two ends of what arrives on a stream: one for the task that drives the connection,
/// and one for the reader.
pub(crate) fn inlet(mut stream: RecvStream) -> (Pump, Inlet) {
    let flow = stream.flow_control().clone();
    let shared = Shared::default();
    if stream.is_end_stream() {
        shared.lock().end = Some(End::Trailers(None));
    }
    let pump = Pump {
        stream,
        shared: shared.clone(),
        is_behind_data: false,
    };
    (pump, Inlet { flow, shared })
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Bytes that have arrived and are not read: at most the stream's window.
    data: BytesMut,
    /// The end that follows the data, once it is known.
    end: Option<End>,
    /// True if the reader has had the end.
    is_over: bool,
    /// True if nobody reads any more.
    is_closed: bool,
    reader: Option<Waker>,
    pump: Option<Waker>,
}

#[derive(Debug)]
enum End {
    Trailers(Option<HeaderMap>),
    Failed(h2::Error),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, end: End) {
        if self.end.is_none() && !self.is_over {
            self.end = Some(end);
        }
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Takes the frames of a stream off the library, until the stream ends or nobody reads it.
#[derive(Debug)]
pub(crate) struct Pump {
    stream: RecvStream,
    shared: Shared,
    /// True if only trailers can follow.
    is_behind_data: bool,
}

impl Pump {
    /// The next thing that arrives: data, or the end.
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        if !self.is_behind_data {
            match ready!(self.stream.poll_data(context)) {
                Some(data) => return Poll::Ready(data.map_err(End::Failed)),
                None => self.is_behind_data = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(Err(trailers.map_or_else(End::Failed, End::Trailers)))
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let next = this.next(context);
            let mut state = this.shared.lock();
            match next {
                _ if state.is_closed => return Poll::Ready(()),
                Poll::Ready(Ok(data)) => {
                    // A copy, because a frame keeps the whole buffer that it was read into.
                    state.data.extend_from_slice(&data);
                    state.wake_reader();
                }
                Poll::Ready(Err(end)) => {
                    state.end(end);
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    state.pump = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }
}

/// The end of the connection's task without an end of the stream.
impl Drop for Pump {
    fn drop(&mut self) {
        let lost = End::Failed(Reason::CANCEL.into());
        self.shared.lock().end(lost);
    }
}

/// The reader's end. Only reading gives the peer new capacity.
#[derive(Debug)]
pub(crate) struct Inlet {
    flow: FlowControl,
    shared: Shared,
}

impl Inlet {
    /// Gives the peer new capacity, unless the stream is gone.
    fn release(&mut self, bytes: usize) {
        let _ = self.flow.release_capacity(bytes);
    }
}

impl http_body::Body for Inlet {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if !state.data.is_empty() {
            let length = state.data.len().min(READ);
            let data = state.data.split_to(length).freeze();
            if state.data.is_empty() {
                // A quiet stream keeps no memory.
                state.data = BytesMut::new();
            }
            drop(state);
            this.release(length);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if state.is_over {
            return Poll::Ready(None);
        }
        let Some(end) = state.end.take() else {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.is_over = true;
        Poll::Ready(match end {
            End::Trailers(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            End::Failed(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.lock();
        let is_last = state.is_over || matches!(state.end, Some(End::Trailers(None)));
        state.data.is_empty() && is_last
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        let unread = std::mem::take(&mut state.data).len();
        let pump = state.pump.take();
        drop(state);
        self.release(unread);
        if let Some(pump) = pump {
            pump.wake();
        }
    }
}
