//! Events in every form that the contract leaves open: types of a later version, reserved
//! numbers, absent parts, and ids that are ULIDs in lower case, behind a prefix, or none.

use tidings_proto::ppoppo::SendRequestEvent;

use super::log::Content;
use crate::draw::Draw;

/// Zero, a number of a later version, and those that the contract reserves.
const UNKNOWN_TYPES: [i32; 5] = [0, 42, 4, 5, 7];

impl Content for SendRequestEvent {
    fn id(&self) -> &str {
        &self.event_id
    }

    fn disguise(&mut self, draw: &mut Draw) {
        match draw.between(0, 9) {
            0 => self.event_id.make_ascii_lowercase(),
            1 => self.event_id = format!("evt_{}", self.event_id),
            2 => self.event_id = draw.uuid().to_string(),
            // An id alone must then tell the time.
            3 => self.occurred_at = None,
            _ => {}
        }
        match draw.between(0, 19) {
            0 | 1 => {
                let known = UNKNOWN_TYPES.get(draw.index(UNKNOWN_TYPES.len()));
                self.event_type = known.copied().unwrap_or_default();
            }
            2 => self.recipient = None,
            3 => self.summary = None,
            4 => {
                if let Some(recipient) = &mut self.recipient {
                    recipient.ppnum.clear();
                }
            }
            5 => self.send_request_id = format!("req_{}", self.send_request_id),
            6 => {
                if let Some(at) = &mut self.occurred_at {
                    // Finer than any clock of ours.
                    at.nanos += 7;
                }
            }
            _ => {}
        }
    }
}
