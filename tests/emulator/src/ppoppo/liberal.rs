//! Events as the page's silence allows them: kinds of a later version, parts left out,
//! ids that are not quite, or not at all, the ULIDs that are announced.

use tidings_proto::ppoppo::SendRequestEvent;

use crate::draw::Draw;

/// Writes the event in some other form. Whatever it becomes, its id stays unique.
pub(super) fn disguise(mut event: SendRequestEvent, draw: &mut Draw) -> SendRequestEvent {
    match draw.between(0, 9) {
        0 => event.event_id.make_ascii_lowercase(),
        1 => event.event_id = format!("evt_{}", event.event_id),
        2 => event.event_id = draw.uuid().to_string(),
        // An id alone must then tell the time.
        3 => event.occurred_at.clear(),
        _ => {}
    }
    match draw.between(0, 19) {
        0 => event.event_type = 42,
        1 => event.event_type = 0,
        2 => event.recipient = None,
        3 => event.summary = None,
        4 => {
            if let Some(recipient) = &mut event.recipient {
                recipient.ppnum.clear();
            }
        }
        5 => event.send_request_id = format!("req_{}", event.send_request_id),
        6 => event.occurred_at = event.occurred_at.replace('Z', "+00:00"),
        _ => {}
    }
    event
}
