//! The body of a webhook: read within its limits, and inflated where it came compressed.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    http::{StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tidings_core::encoding::{Coding, Inflate};
use tokio::time::timeout;

use super::{
    answer::{Answer, busy, slow},
    kept::MOST_BYTES,
    turn::Turn,
};
use crate::admission::budget::Share;

/// Limit on what a body may expand to, as a multiple of the bytes as sent. JSON that
/// compresses better than this was made to.
const EXPANSION: usize = 100;
/// Bytes that any body may expand to.
const EXPANDED: usize = 64 << 10;
/// Bytes that are inflated before others have their turn.
const STEP: usize = 32 << 10;

/// Time limit for the beginning of a body that is announced as too large.
const HEAD_TIME: Duration = Duration::from_secs(1);

/// Limits on a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
    /// Whether its provider gives up after any 4xx.
    pub(super) needs_5xx: bool,
}

impl BodyLimits {
    /// Reads the whole body into `body`, which has what came also if it did not all come.
    pub(super) async fn read(
        self,
        request: &HttpRequest,
        payload: web::Payload,
        share: &mut Share,
        body: &mut Bytes,
    ) -> Result<(), Answer> {
        let turn = request.conn_data::<Turn>();
        let _reading = turn.map(Turn::read);
        let mut collected = BytesMut::new();
        if announced(request).is_some_and(|bytes| bytes > self.bytes as u64) {
            // The beginning is kept, and whoever does not send it is answered soon.
            let head = Self {
                bytes: self.bytes.min(MOST_BYTES),
                ..self
            };
            let _ = timeout(HEAD_TIME, head.collect(payload, share, &mut collected)).await;
            *body = collected.freeze();
            return Err(self.too_large());
        }
        let reading = timeout(self.time, self.collect(payload, share, &mut collected));
        let read = reading.await;
        *body = collected.freeze();
        read.map_err(|_| slow(self.time, self.needs_5xx))??;
        if let Some(turn) = turn {
            turn.finish();
        }
        Ok(())
    }

    /// Takes from the budget as the bytes come: an announcement is only a promise.
    async fn collect(
        self,
        mut payload: web::Payload,
        share: &mut Share,
        body: &mut BytesMut,
    ) -> Result<(), Answer> {
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| malformed(error.to_string()))?;
            let room = self.bytes.saturating_sub(body.len());
            if chunk.len() > room {
                body.extend_from_slice(chunk.get(..room).unwrap_or_default());
                return Err(self.too_large());
            }
            share.try_grow(chunk.len()).map_err(busy)?;
            body.extend_from_slice(&chunk);
        }
        Ok(())
    }

    /// The body that was sent in this coding. It is measured first, so that one that is too
    /// large is never in memory, and then charged to the budget as a whole.
    pub(super) async fn inflate(
        self,
        coding: Coding,
        sent: &Bytes,
        share: &mut Share,
    ) -> Result<Bytes, Answer> {
        // Some senders name a coding of nothing.
        if sent.is_empty() {
            return Ok(Bytes::new());
        }
        let most = sent.len().saturating_mul(EXPANSION).max(EXPANDED);
        let mut length = 0_usize;
        each_step(coding, sent, |bytes| {
            length += bytes.len();
            if length > self.bytes {
                return Err(self.too_large());
            }
            if length > most {
                let detail = format!("a body expands to at most {EXPANSION} times what was sent");
                return Err(too_large(detail));
            }
            Ok(())
        })
        .await?;
        share.try_grow(length).map_err(busy)?;
        let mut body = BytesMut::with_capacity(length);
        each_step(coding, sent, |bytes| {
            body.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(body.freeze())
    }

    fn too_large(self) -> Answer {
        too_large(format!("a body has at most {} bytes", self.bytes)).closing()
    }
}

/// Inflates a body step by step; other requests have their turn in between.
async fn each_step(
    coding: Coding,
    sent: &[u8],
    mut taken: impl FnMut(&[u8]) -> Result<(), Answer>,
) -> Result<(), Answer> {
    let (mut inflate, mut step) = (Inflate::new(coding, sent), vec![0; STEP]);
    loop {
        let read = inflate.read(&mut step);
        let read = read.map_err(|error| malformed(error.to_string()))?;
        match step.get(..read) {
            Some(bytes) if !bytes.is_empty() => taken(bytes)?,
            _ => return Ok(()),
        }
        tokio::task::yield_now().await;
    }
}

fn too_large(detail: String) -> Answer {
    Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

fn malformed(detail: String) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "malformed", detail)
}

/// The length that the sender announces, if it does.
pub(super) fn announced(request: &HttpRequest) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// The coding in which the body is sent; `None` if it is sent as it is.
pub(super) fn coding(request: &HttpRequest) -> Result<Option<Coding>, Answer> {
    let named = request.headers().get_all(header::CONTENT_ENCODING);
    // What is no text is no coding that is known.
    let named = named.map(|value| value.to_str().unwrap_or("?"));
    Coding::named(named).map_err(|unsupported| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Answer::error(status, "unsupported_encoding", unsupported.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documents::{MANUAL, states};

    #[test]
    fn the_manual_states_what_a_body_may_expand_to() {
        states(MANUAL, &format!("to at most {EXPANSION} times"));
        states("docs/security.md", &format!("at most {EXPANSION} times"));
    }
}
