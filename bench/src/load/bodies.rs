//! Bodies as the providers send them, drawn from a seed. Ids are random, as they are in
//! life, so that an index on them is touched everywhere.

use super::super::lab::PROJECT;
use anyhow::Result;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{Timestamp, ToSpan as _};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sha1::Sha1;
use std::fmt::Write as _;
use uuid::Uuid;

/// Items in an array of Arpoone's, as its page allows.
pub(crate) const ITEMS: u64 = 1000;

/// A status that becomes `other`, and thereby has no state.
pub(crate) const STATELESS: &str = "BUFFERED";

/// The id of a message, and who gets it.
pub(crate) type Message = (String, u64);

/// Draws bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    random: ChaCha8Rng,
    now: Timestamp,
}

impl Bodies {
    /// Ids of messages that are numbers: 36 characters, as a UUID has.
    pub(crate) const FIRST_NUMBER: u64 = 100_000_000_000_000_000;
    pub(crate) const NUMBERS: u64 = 900_000_000_000_000_000;
    pub(crate) const SUFFIX: &str = "-0000-4000-8000-00";
    /// Everybody to whom messages are sent.
    pub(crate) const FIRST_RECIPIENT: u64 = 351_900_000_000;
    pub(crate) const RECIPIENTS: u64 = 10_000_000;

    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Timestamp::now(),
        }
    }

    pub(crate) fn id(&mut self) -> Uuid {
        Uuid::from_u128(self.random.random())
    }

    /// A time within the last minute.
    fn time(&mut self) -> String {
        let ago = self.random.random_range(0..60_000_i64).milliseconds();
        let at = self.now.checked_sub(ago).unwrap_or(self.now);
        format!("{at:.3}")
    }

    fn recipient(&mut self) -> u64 {
        Self::FIRST_RECIPIENT + self.random.random_range(0..Self::RECIPIENTS)
    }

    /// An array of so many SMS states of this status, each of another message.
    pub(crate) fn sms(&mut self, items: u64, status: &str) -> Vec<u8> {
        let messages: Vec<_> = (0..items)
            .map(|_| (self.id().to_string(), self.recipient()))
            .collect();
        self.sms_of(&messages, status)
    }

    /// Bodies like those of [`Bodies::sms`], with numbers as ids of the messages.
    pub(crate) fn numbered(&mut self, items: u64, status: &str) -> Vec<u8> {
        let messages = self.messages(items);
        self.sms_of(&messages, status)
    }

    /// Messages whose ids are numbers, and who gets them.
    pub(crate) fn messages(&mut self, count: u64) -> Vec<Message> {
        (0..count)
            .map(|_| {
                let number = Self::FIRST_NUMBER + self.random.random_range(0..Self::NUMBERS);
                (format!("{number}{}", Self::SUFFIX), self.recipient())
            })
            .collect()
    }

    /// An array with the SMS state of each of these messages.
    pub(crate) fn sms_of(&mut self, messages: &[Message], status: &str) -> Vec<u8> {
        let mut body = String::from("[");
        for (at, message) in messages.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let time = self.time();
            body += comma;
            body += &sms_item(message, status, &time);
        }
        body.push(']');
        body.into_bytes()
    }

    /// An array in which messages are pending, and others are delivered.
    pub(crate) fn sms_pairs(&mut self, pending: &[Message], delivered: &[Message]) -> Vec<u8> {
        let mut body = self.sms_of(pending, "PENDING");
        // The two arrays become one.
        body.pop();
        body.push(b',');
        body.extend(self.sms_of(delivered, "DELIVERED").split_off(1));
        body
    }

    /// An array with an SMS state at each of these times, each of another message.
    pub(crate) fn sms_at(&mut self, times: &[Timestamp], status: &str) -> Vec<u8> {
        let items: Vec<String> = times
            .iter()
            .map(|at| {
                let message = (self.id().to_string(), self.recipient());
                sms_item(&message, status, &format!("{at:.3}"))
            })
            .collect();
        format!("[{}]", items.join(",")).into_bytes()
    }

    /// An array of so many SMS states without their time.
    pub(crate) fn undated(&mut self, items: u64) -> Vec<u8> {
        let mut body = String::from("[");
        for at in 0..items {
            let comma = if at > 0 { "," } else { "" };
            let (message, recipient) = (self.id(), self.recipient());
            let _ = write!(
                body,
                r#"{comma}{{"Msisdn":"{recipient}","Status":"DELIVERED","MessageId":"{message}","OrganizationId":"0c4e2c1a-52b4-4b0f-8d53-6d1f7f0b7b1a","ReportDescription":"As the operator reported it","TotalSegments":1}}"#
            );
        }
        body.push(']');
        body.into_bytes()
    }

    /// A webhook of PushPushGo's, and its signature.
    pub(crate) fn webhook(&mut self) -> Result<(Vec<u8>, String)> {
        let id = |random: &mut ChaCha8Rng| format!("{:024x}", random.random::<u128>() >> 32);
        let (message, subscriber) = (id(&mut self.random), id(&mut self.random));
        let time = self.time();
        let body = format!(
            r#"{{"kind":"transaction:message:delivered","projectId":"{PROJECT}","subscriberId":"{subscriber}","messageId":"{message}","provider":"fcm_v1","ts":"{time}"}}"#
        )
        .into_bytes();
        let mut signer = Hmac::<Sha1>::new_from_slice(PROJECT.as_bytes())?;
        signer.update(&body);
        Ok((body, hex::encode(signer.finalize().into_bytes())))
    }
}

fn sms_item((message, recipient): &Message, status: &str, time: &str) -> String {
    format!(
        r#"{{"Msisdn":"{recipient}","Status":"{status}","MessageId":"{message}","OrganizationId":"0c4e2c1a-52b4-4b0f-8d53-6d1f7f0b7b1a","ReportDescription":"As the operator reported it","ReportDateTime":"{time}","TotalSegments":1}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn an_array_has_as_many_items_as_asked_for_and_all_differ() {
        let body = Bodies::new(1).sms(3, "DELIVERED");
        let items: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(items.len(), 3);
        assert_ne!(items[0]["MessageId"], items[1]["MessageId"]);
        assert_eq!(items[2]["Status"], "DELIVERED");
    }

    #[test]
    fn two_arrays_become_one() {
        let mut bodies = Bodies::new(1);
        let (new, old) = (bodies.messages(2), bodies.messages(3));
        let body = bodies.sms_pairs(&new, &old);
        let items: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let statuses: Vec<_> = items
            .iter()
            .filter_map(|item| item["Status"].as_str())
            .collect();
        assert_eq!(
            statuses,
            ["PENDING", "PENDING", "DELIVERED", "DELIVERED", "DELIVERED"]
        );
        assert_eq!(items[0]["MessageId"].as_str().map(str::len), Some(36));
    }

    #[test]
    fn an_undated_item_has_no_time() {
        let body = Bodies::new(1).undated(2);
        let items: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert!(
            items
                .iter()
                .all(|item| item.get("ReportDateTime").is_none())
        );
    }

    #[test]
    fn a_webhook_is_signed() {
        let (body, signature) = Bodies::new(1).webhook().unwrap();
        assert!(serde_json::from_slice::<Value>(&body).is_ok());
        assert_eq!(signature.len(), 40);
    }
}
