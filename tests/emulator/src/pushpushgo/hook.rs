//! The bodies of the seven kinds, and what leads from one to the next.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::liberal;
use crate::{
    clock::{Clock, later},
    draw::Draw,
    ledger::Entry,
};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscriber<'a> {
    kind: &'a str,
    project_id: &'a str,
    /// Absent, null or a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_id: Option<Option<&'a str>>,
    ppg_id: &'a str,
}

/// The fields in the order of the page's examples; each kind has some.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Transaction<'a> {
    kind: &'a str,
    project_id: &'a str,
    subscriber_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_action: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    message_id: &'a str,
    provider: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<Value>,
}

/// The providers' values are not documented; these are its sibling product's.
const PROVIDERS: &[&str] = &["fcm_v1", "vapid", "apns_token", "hms"];
const REASONS: &[&str] = &["unsubscribed", "expired token", "not found"];
const ERRORS: &[&str] = &["timeout", "bad gateway", "payload too large"];

/// A body and the event it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) body: String,
    pub(super) entry: Entry,
}

/// Draws hooks until there are as many as asked for.
#[derive(Debug)]
pub(super) struct Hooks {
    draw: Draw,
    clock: Clock,
    project: String,
    /// Draws the forms, where they are liberal.
    forms: Option<Draw>,
    left: u32,
    /// What follows from earlier hooks and is still to be sent.
    waiting: Vec<Hook>,
}

impl Hooks {
    pub(super) fn new(
        draw: Draw,
        forms: Option<Draw>,
        from: Timestamp,
        events: u32,
        project: &str,
    ) -> Self {
        Self {
            draw,
            clock: Clock::new(from, events),
            project: project.to_owned(),
            forms,
            left: events,
            waiting: Vec::new(),
        }
    }

    pub(super) fn forms(&mut self) -> Option<&mut Draw> {
        self.forms.as_mut()
    }

    pub(super) fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    /// A subscriber who comes, and perhaps changes and leaves.
    fn subscriber(&mut self) {
        let ppg = self.draw.object_id();
        // "Subscriber's customId if defined."
        let custom = self
            .draw
            .chance(0.9)
            .then(|| format!("customer-{}", self.draw.object_id()));
        let mut kinds = vec!["subscriber:subscribe"];
        if self.draw.chance(0.4) {
            kinds.push("subscriber:update");
        }
        if self.draw.chance(0.3) {
            kinds.push("subscriber:unsubscribe");
        }
        for kind in kinds {
            let mut custom_id = custom.as_deref().map(Some);
            if custom.is_none()
                && let Some(forms) = &mut self.forms
            {
                let undefined = [None, Some(None), Some(Some(""))];
                custom_id = undefined.get(forms.index(3)).copied().flatten();
            }
            let body = Subscriber {
                kind,
                project_id: &self.project,
                custom_id,
                ppg_id: &ppg,
            };
            let key = custom_id
                .flatten()
                .map_or_else(|| kind.to_owned(), |custom| format!("{kind}|{custom}"));
            let timeless = true;
            self.waiting.push(hook(
                &body,
                Entry {
                    timeless,
                    ..Entry::once(key)
                },
            ));
        }
    }

    /// A message and what becomes of it.
    fn message(&mut self) {
        let at = self.clock.tick(&mut self.draw);
        let (subscriber, message) = (self.draw.object_id(), self.draw.object_id());
        let project = self.project.clone();
        let base = Transaction {
            project_id: &project,
            subscriber_id: &subscriber,
            message_id: &message,
            provider: self.draw.word(PROVIDERS),
            ..Transaction::default()
        };
        match self.draw.between(0, 99) {
            0..75 => {
                self.transaction(
                    Transaction {
                        kind: "transaction:message:delivered",
                        ..base.clone()
                    },
                    at,
                );
                for action in 0..=if self.forms.is_some() { 3 } else { 2 } {
                    if self.draw.chance(0.15) {
                        let clicked_at = later(at, self.draw.between(1, 600));
                        let forms = self.forms.as_mut();
                        let action =
                            forms.map_or(json!(action), |draw| liberal::action(action, draw));
                        let clicked = Transaction {
                            kind: "transaction:message:clicked",
                            click_action: Some(action),
                            ..base.clone()
                        };
                        self.transaction(clicked, clicked_at);
                    }
                }
            }
            75..88 => {
                let reason = Some(self.draw.word(REASONS));
                self.transaction(
                    Transaction {
                        kind: "transaction:message:rejected",
                        reason,
                        ..base
                    },
                    at,
                );
            }
            _ => {
                let error = self.draw.word(ERRORS);
                let payload =
                    json!({"status": 502, "attempt": self.draw.between(1, 5), "raw": null});
                let failed = Transaction {
                    kind: "transaction:message:error",
                    error: Some(error),
                    payload: Some(self.forms.as_mut().map_or(payload, liberal::payload)),
                    ..base
                };
                self.transaction(failed, at);
            }
        }
    }

    fn transaction(&mut self, body: Transaction<'_>, at: Timestamp) {
        let ts = match &mut self.forms {
            None => Some(json!(format!("{at:.3}"))),
            Some(draw) => liberal::time(at, draw),
        };
        let body = Transaction { ts, ..body };
        let mut key = format!("{}|{}", body.kind, body.message_id);
        for value in [&body.ts, &body.click_action].into_iter().flatten() {
            key.push('|');
            key.push_str(
                &value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            );
        }
        self.waiting.push(hook(&body, Entry::once(key)));
    }
}

impl Iterator for Hooks {
    type Item = Hook;

    fn next(&mut self) -> Option<Hook> {
        self.left = self.left.checked_sub(1)?;
        while self.waiting.len() < 20 {
            if self.draw.chance(0.2) {
                self.subscriber();
            } else {
                self.message();
            }
        }
        // Clicks may come before what they click on: no order is documented.
        let at = self.draw.index(self.waiting.len());
        Some(self.waiting.swap_remove(at))
    }
}

fn hook(body: &impl Serialize, entry: Entry) -> Hook {
    // Strings and numbers: there is nothing here that cannot be written.
    let body = serde_json::to_string(body).unwrap_or_default();
    Hook { body, entry }
}
