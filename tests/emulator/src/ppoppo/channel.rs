//! The messages in the app's channels, written by people, the app or the provider.

use tidings_proto::ppoppo::{ChannelMessageEvent, Message, MessageType as Type};

use super::{log::Content, story::time};
use crate::{clock::Time, draw::Draw, ulid::Ulids};

const CHANNELS: usize = 8;

/// The ppnum of the app itself.
const APP: &str = "50001234567";

const TEXTS: &[&str] = &[
    "ok",
    "When will my parcel arrive?",
    "Danke! 👍",
    "네, 확인했습니다",
    "two\nlines and a \"quote\"",
    "",
];

impl Content for ChannelMessageEvent {
    fn id(&self) -> &str {
        self.message.as_ref().map_or("", |message| &message.id)
    }

    /// Uses types of a later version, and leaves out what the contract does not promise.
    fn disguise(&mut self, draw: &mut Draw) {
        let Some(message) = &mut self.message else {
            return;
        };
        match draw.between(0, 19) {
            0 => message.r#type = 42,
            1 => message.r#type = 5,
            2 => message.sender_ppnum.clear(),
            3 => message.created_at = None,
            4 => message.id.make_ascii_lowercase(),
            _ => {}
        }
    }
}

/// Draws messages until there are as many as asked for.
#[derive(Debug)]
pub(crate) struct Chats {
    draw: Draw,
    time: Time,
    ids: Ulids,
    left: u32,
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Channel {
    id: String,
    person: String,
    last: Option<String>,
}

impl Chats {
    pub(crate) fn new(mut draw: Draw, mut time: Time, messages: u32) -> Self {
        let mut ids = Ulids::default();
        let opened = time.tick();
        let channels = (0..CHANNELS).map(|_| Channel {
            id: ids.next(opened.as_millisecond(), &mut draw),
            person: format!("123{:08}", draw.between(0, 99_999_999)),
            last: None,
        });
        Self {
            channels: channels.collect(),
            draw,
            time,
            ids: Ulids::default(),
            left: messages,
        }
    }
}

impl Iterator for Chats {
    type Item = ChannelMessageEvent;

    fn next(&mut self) -> Option<ChannelMessageEvent> {
        self.left = self.left.checked_sub(1)?;
        let draw = &mut self.draw;
        let now = self.time.tick();
        let at = draw.index(self.channels.len());
        let channel = self.channels.get_mut(at)?;
        let id = self.ids.next(now.as_millisecond(), draw);
        let kind = match draw.between(0, 19) {
            0 => Type::System,
            1 => Type::RichCard,
            2 => Type::Carousel,
            3 => Type::Unspecified,
            _ => Type::Text,
        };
        let from_app = draw.chance(0.3);
        let parent = channel.last.replace(id.clone());
        let sender = if from_app { APP } else { &channel.person };
        Some(ChannelMessageEvent {
            channel_id: channel.id.clone(),
            message: Some(Message {
                id,
                sender_ppnum: sender.to_owned(),
                content: draw.word(TEXTS).to_owned(),
                r#type: kind.into(),
                parent_message_id: parent.filter(|_| draw.chance(0.2)),
                created_at: Some(time(now)),
            }),
            from_app,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{clock::Clock, draw::Purpose, ulid::decode};

    #[test]
    fn messages_are_drawn_again_and_every_type_happens() {
        let drawn = || {
            let clock = Clock::new("2026-11-01T21:00:00Z".parse().unwrap(), 1000);
            let draw = Draw::new(1, Purpose::PpoppoChannels);
            let time = Time::Drawn(clock, Box::new(draw.clone()));
            Chats::new(draw, time, 1000).collect::<Vec<_>>()
        };
        let events = drawn();
        assert_eq!(events, drawn());
        assert!(events.is_sorted_by(|a, b| a.id() < b.id()));
        assert!(events.iter().all(|event| decode(event.id()).is_some()));
        let messages = events.iter().filter_map(|event| event.message.as_ref());
        let types: HashSet<i32> = messages.clone().map(|message| message.r#type).collect();
        assert_eq!(types.len(), 5);
        let known: HashSet<&str> = events.iter().map(Content::id).collect();
        let mut parents = messages.filter_map(|message| message.parent_message_id.as_deref());
        assert!(parents.all(|parent| known.contains(parent)));
        let ours = events.iter().filter(|event| event.from_app).count();
        assert!((200..400).contains(&ours), "{ours}");
    }
}
