//! Connections that are read only when their gate admits it; writes always pass.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Decides when a connection may be read.
pub(crate) trait Gate {
    /// Whether the connection may be read now. An error ends the connection.
    fn admit(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Records that so many bytes were read, at least one.
    fn note(&mut self, bytes: usize);
}

/// A connection behind its gate.
#[derive(Debug)]
pub(crate) struct Gated<C, G> {
    connection: C,
    gate: G,
}

impl<C, G> Gated<C, G> {
    pub(crate) fn new(connection: C, gate: G) -> Self {
        Self { connection, gate }
    }

    pub(crate) fn gate(&self) -> &G {
        &self.gate
    }
}

impl<C: AsyncRead + Unpin, G: Gate + Unpin> AsyncRead for Gated<C, G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.gate.admit(context))?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        if bytes > 0 {
            self.gate.note(bytes);
        }
        read
    }
}

impl<C: AsyncWrite + Unpin, G: Unpin> AsyncWrite for Gated<C, G> {
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
