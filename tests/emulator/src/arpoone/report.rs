//! What happens to an SMS, as reports.

use jiff::Timestamp;
use serde::Serialize;

use super::{liberal, moment};
use crate::{
    clock::{Clock, later},
    draw::Draw,
    ledger::Entry,
};

/// A report as the page has it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wire<'a> {
    msisdn: &'a str,
    status: &'a str,
    message_id: &'a str,
    organization_id: &'a str,
    report_description: &'a str,
    report_date_time: &'a str,
    total_segments: u32,
    /// Absent, null or a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_payload: Option<Option<&'a str>>,
}

/// What senders passed as `customPayload`: a string, and not always JSON. The page's own
/// example is not.
const PAYLOADS: &[Option<Option<&str>>] = &[
    Some(Some("{\"abc\": \"123\"}")),
    Some(Some("{\"abc\": \"123\"")),
    Some(Some("{\\\"abc\\\": \"123\"}")),
    Some(Some("order 4711, größer")),
    Some(Some("")),
    Some(None),
    None,
];

const FAILURES: &[&str] = &[
    "Undelivered",
    "Expired",
    "Absent subscriber",
    "Unknown subscriber",
];

/// One report, ready to stand in any number of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) number: u32,
    pub(super) json: String,
    /// The same report may be sent again by itself: it is PENDING.
    pub(super) may_repeat: bool,
}

/// Draws reports until there are as many as asked for.
#[derive(Debug)]
pub(super) struct Reports {
    draw: Draw,
    /// Draws the forms, where they are liberal.
    forms: Option<Draw>,
    clock: Clock,
    organization: String,
    events: u32,
    number: u32,
    opened: Vec<Entry>,
}

impl Reports {
    pub(super) fn new(mut draw: Draw, forms: Option<Draw>, from: Timestamp, events: u32) -> Self {
        Self {
            organization: draw.uuid().to_string(),
            clock: Clock::new(from, events),
            draw,
            forms,
            events,
            number: 0,
            opened: Vec::new(),
        }
    }

    pub(super) fn draw(&mut self) -> &mut Draw {
        &mut self.draw
    }

    pub(super) fn over(&self) -> bool {
        self.number >= self.events
    }

    /// Whether the next report that stands alone does so without an array around it.
    pub(super) fn bare(&mut self) -> bool {
        self.forms.as_mut().is_some_and(|draw| draw.chance(0.5))
    }

    /// The events opened since this was last asked.
    pub(super) fn opened(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.opened)
    }

    /// PENDING once or more, then mostly a final one. Whole seconds lie between two of
    /// the same status, so that no shape of their times makes them one event.
    pub(super) fn of_one_sms(&mut self) -> Vec<Report> {
        let mut at = self.clock.tick(&mut self.draw);
        if let Some(draw) = &mut self.forms {
            let left = self.events.saturating_sub(self.number) as usize;
            let told = liberal::story(&self.organization, at, draw);
            return told
                .into_iter()
                .take(left)
                .map(|told| self.enter(told))
                .collect();
        }
        let message = self.draw.uuid().to_string();
        let msisdn = format!("3519{:08}", self.draw.between(0, 99_999_999));
        let segments = self.draw.between(1, 4);
        let payload = PAYLOADS.get(self.draw.index(PAYLOADS.len())).copied();
        let mut story = vec![("PENDING", "Accepted by operator")];
        while self.draw.chance(0.15) && story.len() < 4 {
            story.push(("PENDING", "Waiting for the handset"));
        }
        match self.draw.between(0, 99) {
            0..5 => {}
            5..15 => story.push(("NOT_DELIVERED", self.draw.word(FAILURES))),
            _ => story.push(("DELIVERED", "Delivered")),
        }
        let mut reports = Vec::with_capacity(story.len());
        for (status, description) in story {
            if self.over() {
                break;
            }
            let moment = moment::write(at, &mut self.draw);
            let wire = Wire {
                msisdn: &msisdn,
                status,
                message_id: &message,
                organization_id: &self.organization,
                report_description: description,
                report_date_time: &moment,
                total_segments: segments,
                custom_payload: payload.flatten(),
            };
            // Strings and numbers: there is nothing here that cannot be written.
            let json = serde_json::to_string(&wire).unwrap_or_default();
            let key = format!("{message}|{status}|{moment}");
            reports.push(self.enter((json, key, status == "PENDING")));
            at = later(at, self.draw.between(2, 40));
        }
        reports
    }

    fn enter(&mut self, (json, key, may_repeat): liberal::Told) -> Report {
        self.opened.push(Entry::once(key));
        let number = self.number;
        self.number += 1;
        Report {
            number,
            json,
            may_repeat,
        }
    }
}
