//! What a stream has read, which gathers while the batch before it is being committed.

use std::collections::VecDeque;

use bytes::Bytes;

use super::gap::Gap;

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

/// What is to be committed next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// A JSON array with this number of events.
    Events(Bytes, usize),
    /// Before the events that follow it, there is a gap.
    Gap(Gap),
}

/// Events as JSON arrays, and gaps, in order of arrival. If one message carries more events
/// than a batch may have, they become several batches. Until the last full batch and the
/// last gap are taken, no further message is read.
#[derive(Debug)]
pub(crate) struct Gathered {
    full: VecDeque<Full>,
    next: Batch,
    limits: StreamLimits,
}

#[derive(Debug)]
enum Full {
    Batch(Batch),
    Gap(Gap),
}

#[derive(Debug, Default)]
struct Batch {
    array: Vec<u8>,
    events: usize,
}

impl Batch {
    fn into_work(mut self) -> Work {
        self.array.push(b']');
        Work::Events(self.array.into(), self.events)
    }
}

impl Gathered {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self {
            full: VecDeque::new(),
            next: Batch::default(),
            limits,
        }
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
            self.close();
        }
        let batch = &mut self.next;
        batch
            .array
            .push(if batch.events == 0 { b'[' } else { b',' });
        batch.array.extend_from_slice(event);
        batch.events += 1;
    }

    /// Adds a gap behind the events so far.
    pub(crate) fn push_gap(&mut self, gap: Gap) {
        if self.next.events > 0 {
            self.close();
        }
        self.full.push_back(Full::Gap(gap));
    }

    fn close(&mut self) {
        self.full
            .push_back(Full::Batch(std::mem::take(&mut self.next)));
    }

    /// The oldest work, if there is any.
    pub(crate) fn take(&mut self) -> Option<Work> {
        match self.full.pop_front() {
            Some(Full::Batch(batch)) => Some(batch.into_work()),
            Some(Full::Gap(gap)) => Some(Work::Gap(gap)),
            None if self.next.events > 0 => Some(std::mem::take(&mut self.next).into_work()),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::gap::Cause;

    fn gathered() -> Gathered {
        Gathered::new(StreamLimits {
            events: 2,
            bytes: 100,
            message: 100,
        })
    }

    fn events(array: &str, events: usize) -> Option<Work> {
        Some(Work::Events(
            Bytes::copy_from_slice(array.as_bytes()),
            events,
        ))
    }

    #[test]
    fn events_become_an_array_in_order() {
        let mut gathered = gathered();
        assert!(gathered.has_room());
        gathered.push(b"{\"a\":1}");
        assert!(gathered.has_room());
        gathered.push(b"{}");
        assert!(!gathered.has_room(), "events");
        assert_eq!(gathered.take(), events("[{\"a\":1},{}]", 2));
        assert_eq!(gathered.take(), None);
        gathered.push(&[b' '; 100]);
        assert!(!gathered.has_room(), "bytes");
    }

    #[test]
    fn what_one_message_brings_too_many_becomes_several_batches() {
        let mut gathered = gathered();
        for event in ["1", "2", "3", "4", "5"] {
            gathered.push(event.as_bytes());
        }
        for (array, count) in [("[1,2]", 2), ("[3,4]", 2)] {
            assert!(!gathered.has_room());
            assert_eq!(gathered.take(), events(array, count));
        }
        assert!(gathered.has_room());
        assert_eq!(gathered.take(), events("[5]", 1));
        assert_eq!(gathered.take(), None);
    }

    #[test]
    fn a_gap_is_between_the_events_before_it_and_those_after_it() {
        let mut gathered = gathered();
        let gap = Gap {
            cause: Cause::CursorExpired,
            detail: None,
            resume_after: None,
        };
        gathered.push(b"1");
        gathered.push_gap(gap.clone());
        gathered.push(b"2");
        assert!(!gathered.has_room());
        assert_eq!(gathered.take(), events("[1]", 1));
        assert!(!gathered.has_room());
        assert_eq!(gathered.take(), Some(Work::Gap(gap.clone())));
        assert!(gathered.has_room());
        gathered.push_gap(gap.clone());
        assert_eq!(gathered.take(), events("[2]", 1));
        assert_eq!(gathered.take(), Some(Work::Gap(gap)));
        assert_eq!(gathered.take(), None);
    }
}
