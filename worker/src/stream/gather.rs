//! The next batches of a stream, which gather while the batch before them is being
//! committed.

use std::collections::VecDeque;

use bytes::Bytes;

/// Limits of one gathered batch: enough that a commit carries many events, little enough
/// that memory stays small.
const EVENTS: usize = 1000;
const BYTES: usize = 1 << 20;

/// Limits of one gathered batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// Limit on a single message, in bytes.
    pub(crate) message: usize,
}

impl StreamLimits {
    /// The usual limits of a batch, with this limit on a single message.
    pub(crate) fn new(message: usize) -> Self {
        Self {
            events: EVENTS,
            bytes: BYTES,
            message,
        }
    }
}

/// Events as JSON arrays, in order of arrival. If one message carries more events than a
/// batch may have, they become several batches, and no further message is read until the
/// last of them is taken.
#[derive(Debug)]
pub(crate) struct Gathered {
    full: VecDeque<Batch>,
    next: Batch,
    limits: StreamLimits,
}

#[derive(Debug, Default)]
struct Batch {
    array: Vec<u8>,
    events: usize,
}

impl Gathered {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self {
            full: VecDeque::new(),
            next: Batch::default(),
            limits,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.next.events == 0
    }

    /// Whether one more message may be read. A batch may exceed its bytes by the
    /// event that reached the limit.
    pub(crate) fn has_room(&self) -> bool {
        self.full.is_empty()
            && self.next.events < self.limits.events
            && self.next.array.len() < self.limits.bytes
    }

    pub(crate) fn push(&mut self, event: &[u8]) {
        if self.next.events >= self.limits.events || self.next.array.len() >= self.limits.bytes {
            self.full.push_back(std::mem::take(&mut self.next));
        }
        let batch = &mut self.next;
        batch
            .array
            .push(if batch.events == 0 { b'[' } else { b',' });
        batch.array.extend_from_slice(event);
        batch.events += 1;
    }

    /// The oldest batch: its JSON and its number of events.
    pub(crate) fn take(&mut self) -> (Bytes, usize) {
        let oldest = self.full.pop_front();
        let mut batch = oldest.unwrap_or_else(|| std::mem::take(&mut self.next));
        batch.array.push(b']');
        (batch.array.into(), batch.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_an_array_in_order() {
        let mut gathered = Gathered::new(StreamLimits {
            events: 2,
            bytes: 100,
            message: 100,
        });
        assert!(gathered.is_empty() && gathered.has_room());
        gathered.push(b"{\"a\":1}");
        assert!(gathered.has_room());
        gathered.push(b"{}");
        assert!(!gathered.has_room(), "events");
        assert_eq!(gathered.take(), (Bytes::from_static(b"[{\"a\":1},{}]"), 2));
        assert!(gathered.is_empty());
        gathered.push(&[b' '; 100]);
        assert!(!gathered.has_room(), "bytes");
    }

    #[test]
    fn what_one_message_brings_too_many_becomes_several_batches() {
        let mut gathered = Gathered::new(StreamLimits {
            events: 2,
            bytes: 100,
            message: 100,
        });
        for event in ["1", "2", "3", "4", "5"] {
            gathered.push(event.as_bytes());
        }
        let mut batches = Vec::new();
        while !gathered.is_empty() {
            assert_eq!(gathered.has_room(), batches.len() == 2);
            let (array, events) = gathered.take();
            batches.push((String::from_utf8(array.to_vec()).unwrap(), events));
        }
        let expected = [("[1,2]", 2), ("[3,4]", 2), ("[5]", 1)];
        assert_eq!(batches, expected.map(|(array, n)| (array.to_owned(), n)));
    }
}
