//! An event: what SQL's columns, indexes and partitions can hold, and an id that is
//! what it should be.

use tidings_core::{Event, event::MAX_KEY, time::Micros};

/// 9999-12-31T23:59:59.999999Z
const END: i64 = 253_402_300_799_999_999;

pub fn check(event: &Event<'_>) {
    let keys = [&event.request_id, &event.message_id, &event.recipient];
    let texts = [
        &event.channel,
        &event.campaign,
        &event.error_code,
        &event.reason,
    ];
    for key in keys.into_iter().flatten() {
        assert!(key.len() <= MAX_KEY, "a key of {} bytes", key.len());
    }
    let texts = keys.into_iter().chain(texts).flatten();
    for text in texts.chain([&event.provider_kind]) {
        assert!(!text.is_empty() && !text.contains('\0'), "{text:?}");
    }
    if let Some(at) = event.occurred_at {
        assert!((0..=END).contains(&at.get()), "{at:?}");
    }
    assert!(
        event.event_id.is_some() || event.occurred_at.is_none(),
        "an event with a time has an identity: {event:?}"
    );
}

/// `own`: the id is the provider's. Otherwise it was derived, and begins with the
/// event's time, or with nothing.
pub fn check_identity(event: &Event<'_>, own: bool, text: &str) {
    let Some(id) = event.event_id else { return };
    if own {
        let written = text.to_ascii_uppercase().contains(&id.to_string());
        assert!(written || text.contains('\\'), "{id} is not in {text}");
        let timed = event.occurred_at.is_some() || Micros::from_ms(id.ms()).is_none();
        assert!(timed, "the time of {id} is the event's");
    } else {
        assert_eq!(id.ms(), event.occurred_at.map_or(0, Micros::ms));
    }
}
