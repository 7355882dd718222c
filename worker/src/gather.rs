//! A stream's next batch while the one before it is being committed.

use bytes::Bytes;

/// Limits of one gathered batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// The largest single message.
    pub(crate) message: usize,
}

/// Events as a JSON array, in order of arrival.
#[derive(Debug)]
pub(crate) struct Gathered {
    array: Vec<u8>,
    events: usize,
    limits: StreamLimits,
}

impl Gathered {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self {
            array: Vec::new(),
            events: 0,
            limits,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Whether one more event may be read. A batch may exceed its bytes by the
    /// event that reached the limit.
    pub(crate) fn has_room(&self) -> bool {
        self.events < self.limits.events && self.array.len() < self.limits.bytes
    }

    pub(crate) fn push(&mut self, event: &[u8]) {
        self.array.push(if self.is_empty() { b'[' } else { b',' });
        self.array.extend_from_slice(event);
        self.events += 1;
    }

    /// The batch so far: its JSON and its number of events. What follows starts anew.
    pub(crate) fn take(&mut self) -> (Bytes, usize) {
        let mut array = std::mem::take(&mut self.array);
        array.push(b']');
        (array.into(), std::mem::take(&mut self.events))
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
}
