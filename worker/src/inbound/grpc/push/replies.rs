//! The replies to the events of a chunk, which are made as they are read.
//!
//! Until then a reply is the key of its event and the reason of its refusal, and holds as
//! much of its message's share of the budget. So what waits for a reader is bounded with
//! what is pending.

use std::{fmt, iter::Peekable, sync::Arc, vec};

use bytes::Bytes;
use tidings_core::wire::{Key, Reply, Schema};
use tonic::Status;
use uuid::Uuid;

use super::chunk::Held;
use crate::admission::budget::Share;

/// Limit on what a reply repeats of the key of its event, in bytes. The uuids of providers
/// have 36.
pub(crate) const KEY: usize = 256;
/// Limit on the reason in a reply, in characters.
const REASON: usize = 512;
/// Memory of a reply besides its key and reason, in bytes.
const BESIDES: usize = 128;

/// The reason why an event is to be sent again.
#[derive(Debug)]
pub(super) struct Why {
    pub(super) cause: &'static str,
    pub(super) detail: Option<Arc<str>>,
    /// Whether the sender is told the details too, or only the log.
    pub(super) is_told: bool,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) if self.is_told => write!(f, "{}: {detail}", self.cause),
            _ => f.write_str(self.cause),
        }
    }
}

/// The reply to an event.
#[derive(Debug)]
pub(super) struct Answer {
    /// The number of the event's message.
    message: u64,
    key: Key,
    /// The reason why the event is to be sent again, and the receipt id of its refusal.
    refused: Option<(Why, Uuid)>,
    _held: Option<Share>,
}

impl Answer {
    /// The answer to an event of a message that holds this share. `refused` is why the event
    /// is to be sent again, with the receipt id of its refusal.
    pub(super) fn new(
        message: u64,
        mut key: Key,
        refused: Option<(Why, Uuid)>,
        held: &Held,
    ) -> Self {
        key.clip(KEY);
        let reason = refused.as_ref().map_or(0, |_| REASON);
        Self {
            message,
            _held: held.part(key.as_bytes().len() + reason + BESIDES),
            key,
            refused,
        }
    }
}

/// The replies to a chunk, and perhaps the status that ends the stream after them.
pub(super) struct Replies {
    /// `None` if the chunk could not be settled.
    schema: Option<Arc<Schema>>,
    answers: Peekable<vec::IntoIter<Answer>>,
    /// Replies that are made and not read.
    made: vec::IntoIter<Bytes>,
    end: Option<Status>,
}

impl Replies {
    pub(super) fn new(schema: Arc<Schema>, answers: Vec<Answer>, end: Option<Status>) -> Self {
        Self {
            schema: Some(schema),
            answers: answers.into_iter().peekable(),
            made: Vec::new().into_iter(),
            end,
        }
    }

    /// The end of a stream whose chunk could not be settled.
    pub(super) fn failed() -> Self {
        Self {
            schema: None,
            answers: Vec::new().into_iter().peekable(),
            made: Vec::new().into_iter(),
            end: Some(Status::internal("a part of the worker failed")),
        }
    }

    /// Makes the replies to the events of one message, which are joined if the schema allows
    /// several in one reply message.
    fn make(&mut self, schema: &Schema) -> Option<Vec<Bytes>> {
        let first = self.answers.next()?;
        let message = first.message;
        let mut answers = vec![first];
        while let Some(next) = self.answers.next_if(|next| next.message == message) {
            answers.push(next);
        }
        let reason = |(why, receipt): &(Why, Uuid)| {
            let why: String = why.to_string().chars().take(REASON).collect();
            format!("{why} (receipt {receipt})")
        };
        let reasons: Vec<Option<String>> = answers
            .iter()
            .map(|answer| answer.refused.as_ref().map(reason))
            .collect();
        let replies: Vec<Reply<'_>> = answers
            .iter()
            .zip(&reasons)
            .map(|(answer, reason)| Reply {
                key: &answer.key,
                refused: reason.as_deref(),
            })
            .collect();
        Some(schema.replies(&replies))
    }
}

impl Iterator for Replies {
    type Item = Result<Bytes, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let schema = self.schema.clone();
        loop {
            if let Some(reply) = self.made.next() {
                return Some(Ok(reply));
            }
            match schema.as_ref().and_then(|schema| self.make(schema)) {
                Some(made) => self.made = made.into_iter(),
                None => return self.end.take().map(Err),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tidings_proto::pushwoosh::{Event, EventStatus};

    use super::*;
    use crate::{
        admission::budget::{Budget, Limits, Payer},
        testing,
    };

    fn key(schema: &Schema, uuid: &str) -> Key {
        let event = Event {
            uuid: uuid.to_owned(),
            ..Event::default()
        };
        let piece = schema.pieces(event.encode_to_vec().into()).next();
        schema.decode(piece.unwrap()).key.unwrap()
    }

    #[tokio::test]
    async fn an_event_holds_the_share_of_its_reply_until_that_is_read() {
        let budget = Budget::new(Limits {
            requests: 1,
            bytes: 10_000,
            share: 100,
            wire: 10_000,
            message: 0,
        });
        let schema = testing::schema("pushwoosh");
        let mut answers = Vec::new();
        let long = "x".repeat(2_000);
        for (message, (uuid, bytes)) in [("x", 50), (long.as_str(), 3_000)].into_iter().enumerate()
        {
            let share = budget.take(Payer::Wire("a".into()), 0, bytes).await;
            let (message, held) = (message as u64, Held::new(share));
            answers.push(Answer::new(message, key(&schema, uuid), None, &held));
        }
        let end = Some(Status::unavailable("over"));
        let mut replies = Replies::new(schema, answers, end);
        // No more than the message had, and no more than the reply needs.
        assert_eq!(budget.taken().1, 50 + KEY + BESIDES);
        for (uuid, left) in [("x", KEY + BESIDES), (&long[..KEY], 0)] {
            let reply = EventStatus::decode(replies.next().unwrap().unwrap()).unwrap();
            assert_eq!(
                (reply.uuid.as_str(), reply.status.as_str()),
                (uuid, "Success")
            );
            assert_eq!(budget.taken().1, left);
        }
        assert_eq!(replies.next().unwrap().unwrap_err().message(), "over");
        assert!(replies.next().is_none());
    }
}
