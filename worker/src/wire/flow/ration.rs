//! A connection that is read in rations.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Limit on the bytes that the library reads before its frames are taken off it. The
/// shortest frames with a byte of data have 10 bytes, so that it never holds more than some
/// 800 of them.
pub(crate) const RATION: usize = 8 << 10;

/// The bytes that may still be read, shared with the task that drives the connection.
#[derive(Clone, Debug)]
pub(crate) struct Ration(Arc<AtomicUsize>);

impl Ration {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(RATION)))
    }

    /// Allows a whole ration, and returns whether the last one was used up.
    pub(super) fn renew(&self) -> bool {
        self.0.swap(RATION, Ordering::Relaxed) == 0
    }
}

/// A connection that can be read as far as its ration goes. Beyond it a read is pending and
/// wakes nobody: the driver of the connection polls it again after it has renewed the ration.
#[derive(Debug)]
pub(crate) struct Rationed<C> {
    connection: C,
    ration: Ration,
}

impl<C> Rationed<C> {
    pub(crate) fn new(connection: C, ration: Ration) -> Self {
        Self { connection, ration }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Rationed<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.ration.0.load(Ordering::Relaxed);
        let most = left.min(buffer.remaining());
        if left == 0 {
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let read = Pin::new(&mut self.connection).poll_read(context, &mut part);
        let bytes = part.filled().len();
        buffer.advance(bytes);
        self.ration.0.fetch_sub(bytes, Ordering::Relaxed);
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Rationed<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
