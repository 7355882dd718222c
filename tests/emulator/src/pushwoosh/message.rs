//! What happens to a message: sent, delivered, opened, on one of the platforms.

use jiff::Timestamp;
use tidings_proto::pushwoosh::Event;

use crate::{clock::Clock, draw::Draw};

/// The platforms and the steps seen there, by the names on the page where it has them
/// ("the list of events is managed by the backend and may change over time").
const PLATFORMS: &[(&str, &[&str])] = &[
    (
        "Email",
        &[
            "Email Sent",
            "Email Delivered",
            "Email Opened",
            "Email Clicked",
        ],
    ),
    ("Email", &["Email Sent", "Email Bounced"]),
    ("iOS", &["Push Sent", "Push Delivered", "Push Opened"]),
    ("Android", &["Push Sent", "Push Delivered"]),
    ("Chrome", &["Push Sent", "Push Opened"]),
    ("SMS", &["SMS Sent", "SMS Delivered"]),
    ("WhatsApp", &["WhatsApp Sent", "WhatsApp Delivered"]),
];

const TEXTS: &[&str] = &[
    "Welcome to Headway! 👋",
    "Your order is on its way",
    "{\"title\":\"Sale\",\"discount\":20}",
    "Grüße aus Köln, \"bis bald\"\n",
    "",
];

const JOURNEYS: &[&str] = &["", "", "Onboarding", "Win back"];

/// How many messages are under way at once.
const OPEN: usize = 200;

/// Where user ids begin; each event has one of its own, which is its key in the ledger.
const FIRST_USER: u64 = 1_000_000;

#[derive(Debug)]
struct Message {
    event: Event,
    steps: &'static [&'static str],
}

/// Draws events until there are as many as asked for.
#[derive(Debug)]
pub(super) struct Events {
    draw: Draw,
    clock: Clock,
    left: u32,
    user: u64,
    open: Vec<Message>,
}

impl Events {
    pub(super) fn new(draw: Draw, from: Timestamp, events: u32) -> Self {
        Self {
            draw,
            clock: Clock::new(from, events),
            left: events,
            user: FIRST_USER,
            open: Vec::new(),
        }
    }

    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// For what depends on the transport.
    pub(super) fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    fn message(&mut self) -> Message {
        let draw = &mut self.draw;
        let at = draw.index(PLATFORMS.len());
        let (platform, steps) = PLATFORMS
            .get(at)
            .copied()
            .unwrap_or(("iOS", &["Push Sent"]));
        let code = draw.bits();
        let device = draw.bits();
        let event = Event {
            // Above 2^53: no number that a float can hold.
            message_id: draw.chance(0.3).then(|| draw.bits() | 1 << 60),
            message_code: format!(
                "{:04X}-{:08X}-{:08X}",
                code & 0xFFFF,
                code >> 16 & 0xFFFF_FFFF,
                device & 0xFFFF_FFFF
            ),
            campaign_id: draw
                .chance(0.8)
                .then(|| draw.between(900_000, 999_999).into()),
            platform: platform.to_owned(),
            payload: draw.word(TEXTS).to_owned(),
            application_code: "32E5A-9B411".to_owned(),
            hwid: match platform {
                "Email" => format!("someone{}@example.com", device % 1_000_000),
                "SMS" | "WhatsApp" => format!("49151{:08}", device % 100_000_000),
                _ => format!("{device:016x}"),
            },
            journey_title: draw.word(JOURNEYS).to_owned(),
            journey_point_title: "5_Welcome_ID_new".to_owned(),
            ..Event::default()
        };
        Message { event, steps }
    }

    /// "Contain only metadata including live_activity_id."
    fn live_activity(&mut self) -> Event {
        Event {
            event_name: "Live Activity Updated".to_owned(),
            platform: "iOS".to_owned(),
            application_code: "32E5A-9B411".to_owned(),
            live_activity_id: Some(self.draw.object_id()),
            ..Event::default()
        }
    }

    /// The next step of a message under way, whichever; the messages' steps interleave.
    fn step(&mut self) -> Event {
        while self.open.len() < OPEN {
            let message = self.message();
            self.open.push(message);
        }
        let at = self.draw.index(self.open.len());
        let Some(message) = self.open.get_mut(at) else {
            return Event::default();
        };
        let mut event = message.event.clone();
        if let Some((step, rest)) = message.steps.split_first() {
            event.event_name = (*step).to_owned();
            message.steps = rest;
        }
        if message.steps.is_empty() {
            self.open.swap_remove(at);
        }
        event
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.left = self.left.checked_sub(1)?;
        let mut event = if self.draw.chance(0.01) {
            self.live_activity()
        } else {
            self.step()
        };
        event.uuid = self.draw.uuid().to_string();
        event.user_id = self.user.to_string();
        self.user += 1;
        event.timestamp = self.clock.tick(&mut self.draw).as_second();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::draw::Purpose;

    fn events(seed: u64) -> Vec<Event> {
        let from = "2026-11-01T21:00:00Z".parse().unwrap();
        Events::new(Draw::new(seed, Purpose::Pushwoosh), from, 3000).collect()
    }

    #[test]
    fn a_seed_gives_the_same_events() {
        assert_eq!(events(1), events(1));
        assert_ne!(events(1), events(2));
        assert_eq!(events(1).len(), 3000);
    }

    #[test]
    fn keys_are_unique_and_messages_go_on() {
        let events = events(3);
        let distinct =
            |key: fn(&Event) -> &str| events.iter().map(key).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|event| &event.uuid), events.len());
        assert_eq!(distinct(|event| &event.user_id), events.len());
        assert!(distinct(|event| &event.hwid) < events.len());
        assert!(events.iter().any(|event| event.live_activity_id.is_some()));
    }
}
