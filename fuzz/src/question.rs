//! The answer to a question about a send request: whatever it holds, it becomes items that
//! normalization reads one by one, or a reason why it cannot be decoded.
//!
//! An input is the id that was asked for, 0xFF, the answer.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Map, Value};
use tidings_core::{
    Settings,
    provider::{self, Provider},
    wire::{Bytes, Question},
};

use crate::readable;

/// The providers that can be asked.
static KNOWN: LazyLock<Vec<(&'static Provider, Question)>> = LazyLock::new(|| {
    let providers = provider::ALL.into_iter();
    let calls =
        providers.flat_map(|provider| provider.calls.iter().map(move |call| (provider, call)));
    let inquiries = calls.filter_map(|(provider, call)| Some((provider, call.inquiry.as_ref()?)));
    let questions = inquiries.map(|(provider, inquiry)| {
        let Ok(question) = Question::of(inquiry) else {
            unreachable!("the question to {} can be asked", provider.name)
        };
        (provider, question)
    });
    questions.collect()
});

pub(crate) fn check(data: &[u8]) {
    let [id, answer] = crate::parts(data);
    let id = String::from_utf8_lossy(id);
    for (provider, question) in KNOWN.iter() {
        match question.request(&id) {
            Ok(asked) => assert!(
                id.is_empty() || asked.windows(id.len()).any(|part| part == id.as_bytes()),
                "the request names what it asks for"
            ),
            Err(error) => readable(&error),
        }
        let answer = Bytes::copy_from_slice(answer);
        let items = question.items(&id, answer.clone());
        assert_eq!(items, question.items(&id, answer));
        match items {
            Ok(items) => self::items(provider, &id, &items),
            Err(error) => readable(&error),
        }
    }
}

fn items(provider: &'static Provider, id: &str, items: &[String]) {
    let mut summaries = 0;
    for (at, item) in items.iter().enumerate() {
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(item) else {
            unreachable!("{item} is no object")
        };
        assert_eq!(fields.get("send_request_id"), Some(&Value::from(id)));
        let is_summary = part(&fields) == "summary";
        assert!(!is_summary || at == 0, "the request comes first");
        summaries += u32::from(is_summary);
    }
    assert!(summaries <= 1, "{summaries} requests in one answer");
    let body = format!("[{}]", items.join(","));
    let read = provider.normalize("s", &Settings::default(), body.as_bytes());
    let Ok(read) = read else {
        unreachable!("an answer is a body of {}", provider.name)
    };
    assert_eq!(read.len(), items.len());
    for (read, item) in read.iter().zip(items) {
        assert_eq!(read.text(), item);
        match &read.event {
            Ok(event) => {
                crate::event::check(event);
                assert!(
                    event.provider_kind.starts_with("GetSendRequestStatus/"),
                    "an answer is told from an event: {event:?}"
                );
            }
            Err(error) => crate::message(&error.to_string()),
        }
    }
    // Asked again, the same answers are duplicates.
    let again = provider.normalize("s", &Settings::default(), body.as_bytes());
    let ids = |items: &[tidings_core::event::Item<'_>]| -> Vec<_> {
        let events = items.iter().flat_map(|item| &item.event);
        events.map(|event| event.event_id).collect()
    };
    assert_eq!(again.as_deref().map(ids).ok(), Some(ids(&read)));
}

/// Which part of the answer an item is: the request or a recipient.
fn part(fields: &Map<String, Value>) -> &str {
    let names: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    let own = ["reconciled", "send_request_id"];
    let mut rest = names.iter().filter(|name| !own.contains(name));
    match (rest.next(), rest.next()) {
        (Some(&part @ ("summary" | "recipient")), None) => part,
        other => unreachable!("{other:?} in an answer"),
    }
}
