//! The messages of a call, cut out of its body.
//!
//! tonic's own decoder keeps a buffer as large as the largest message for as long as the call
//! is open: 8 MiB for each quiet stream, which no budget knows. This one keeps what has
//! arrived of the next message.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::Stream;
use http_body::Body;
use tonic::Status;

use super::{
    meter::{Meter, Metered, PREFIX},
    push::Received,
};

/// A message that is longer than this leaves its buffer alone behind it.
const LONG: usize = 64 << 10;

pub(super) struct Messages {
    body: Metered,
    meter: Meter,
    data: BytesMut,
    is_over: bool,
}

impl Messages {
    pub(super) fn new(body: Metered, meter: Meter) -> Self {
        Self {
            body,
            meter,
            data: BytesMut::new(),
            is_over: false,
        }
    }

    /// The first message, if all of it has arrived.
    fn cut(&mut self) -> Result<Option<Bytes>, Status> {
        let Some([flag, length @ ..]) = self.data.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        match flag {
            0 => {}
            1 => return Err(Status::unimplemented("compressed messages are not taken")),
            _ => return Err(Status::internal("a message has an invalid flag")),
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let whole = length.saturating_add(PREFIX);
        let Some(missing) = whole
            .checked_sub(self.data.len())
            .filter(|missing| *missing > 0)
        else {
            self.data.advance(PREFIX);
            let message = self.data.split_to(length).freeze();
            if self.data.is_empty() || length > LONG {
                // Otherwise what remains would keep the memory of the whole message.
                self.data = BytesMut::from(&self.data[..]);
            }
            return Ok(Some(message));
        };
        // The body has refused a message beyond the limit before it comes here.
        // What is announced is not there yet, and nobody has paid for it.
        self.data.reserve(missing.min(LONG));
        Ok(None)
    }
}

impl Stream for Messages {
    type Item = Result<Received, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            match this.cut() {
                Ok(Some(bytes)) => {
                    let held = this.meter.release(bytes.len());
                    return Poll::Ready(Some(Ok(Received { bytes, held })));
                }
                Ok(None) => {}
                Err(status) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.data.extend_from_slice(&data);
                    }
                }
                Some(Err(status)) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(status)));
                }
                None => {
                    this.is_over = true;
                    let cut_off = || Err(Status::internal("the stream ended within a message"));
                    return Poll::Ready((!this.data.is_empty()).then(cut_off));
                }
            }
        }
    }
}
