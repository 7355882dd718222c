//! Reports as receivers in the field have met them, or may: names in any case, times in
//! any form or absent, and the sibling webhooks (e-mail, inbound SMS) of the same sender.
//!
//! What tells two reports apart is kept in every form: without a time they differ in
//! status or description.

use jiff::{Timestamp, tz::Offset};
use serde_json::json;

use super::moment;
use crate::{
    clock::later,
    draw::Draw,
    forms::{Object, nothing, number, quoted},
};

/// A report as JSON, its key in the ledger, and whether it may be sent again by itself.
pub(super) type Told = (String, String, bool);

const EMAIL_EVENTS: &[&str] = &[
    "bounced",
    "clicked",
    "opened",
    "spam",
    "unsubscribed",
    "blocked",
];

const DETAILS: &[&str] = &[
    "{}",
    "null",
    r#"{"Reason":"mailbox full","Code":"5.2.2"}"#,
    r#"{"url":"https://example.com/?q=1","UserAgent":"x"}"#,
];

const PAYLOADS: &[&str] = &[
    r#""{\"abc\": \"123\"}""#,
    r#""{\"abc\": \"123\"""#,
    r#""order 4711, größer""#,
    r#""""#,
    "null",
];

/// How a story's names are written.
#[derive(Clone, Copy)]
enum Case {
    Pascal,
    Camel,
    Lower,
}

struct Writer {
    case: Case,
    object: Object,
}

impl Writer {
    fn new(case: Case) -> Self {
        Self {
            case,
            object: Object::default(),
        }
    }

    /// `name` is PascalCase, `value` JSON.
    fn member(&mut self, name: &str, value: &str) {
        let name = match (self.case, name.split_at_checked(1)) {
            (Case::Camel, Some((first, rest))) => first.to_ascii_lowercase() + rest,
            (Case::Lower, _) => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        };
        self.object.member(&name, value);
    }
}

fn case(draw: &mut Draw) -> Case {
    match draw.between(0, 2) {
        0 => Case::Pascal,
        1 => Case::Camel,
        _ => Case::Lower,
    }
}

/// What one sender's message becomes: reports of an SMS, events of an e-mail, or an SMS
/// that came in.
pub(super) fn story(organization: &str, at: Timestamp, draw: &mut Draw) -> Vec<Told> {
    match draw.between(0, 9) {
        0..7 => sms(organization, at, draw),
        7..9 => email(at, draw),
        _ => vec![inbound(organization, at, draw)],
    }
}

/// What the reports of an SMS carry.
#[derive(Clone, Copy, PartialEq)]
enum Fields {
    All,
    /// No `ReportDateTime`.
    Untimed,
    /// The four that a receiver in the field demands.
    Required,
}

fn sms(organization: &str, mut at: Timestamp, draw: &mut Draw) -> Vec<Told> {
    let message = draw.uuid().to_string();
    let msisdn = format!("3519{:08}", draw.between(0, 99_999_999));
    let fields = match draw.between(0, 9) {
        0..6 => Fields::All,
        6..8 => Fields::Untimed,
        _ => Fields::Required,
    };
    let case = case(draw);
    let mut story = vec![("PENDING", "Accepted by operator".to_owned())];
    // Only time or description tells these apart.
    while fields != Fields::Required && draw.chance(0.2) && story.len() < 4 {
        let attempt = story.len();
        story.push((
            "PENDING",
            format!("Waiting for the handset, attempt {attempt}"),
        ));
    }
    story.push(if draw.chance(0.9) {
        ("DELIVERED", "Delivered".to_owned())
    } else {
        ("NOT_DELIVERED", "Absent subscriber".to_owned())
    });
    let mut told = Vec::with_capacity(story.len());
    for (status, description) in story {
        let mut report = Writer::new(case);
        report.member("Msisdn", &number(&msisdn, draw));
        report.member("Status", &quoted(status));
        report.member("MessageId", &quoted(&message));
        report.member("OrganizationId", &quoted(organization));
        let mut key = format!("{message}|{status}");
        if fields != Fields::Required {
            report.member("ReportDescription", &quoted(&description));
            let segments = draw.between(1, 4).to_string();
            report.member("TotalSegments", &number(&segments, draw));
            if draw.chance(0.7) {
                report.member("CustomPayload", draw.word(PAYLOADS));
            }
        }
        match fields {
            Fields::All => {
                let (json, text) = time(at, draw);
                report.member("ReportDateTime", &json);
                key = format!("{key}|{text}");
            }
            Fields::Untimed => {
                if let Some(null) = nothing(draw) {
                    report.member("ReportDateTime", &null);
                }
                key = format!("{key}|{description}");
            }
            Fields::Required => {}
        }
        told.push((report.object.write(), key, status == "PENDING"));
        at = later(at, draw.between(2, 40));
    }
    told
}

fn email(mut at: Timestamp, draw: &mut Draw) -> Vec<Told> {
    let message = draw.uuid().to_string();
    let address = format!("someone{}@example.com", draw.between(0, 99_999));
    let case = case(draw);
    let mut told = Vec::new();
    while told.is_empty() || (draw.chance(0.4) && told.len() < 3) {
        let kind = draw.word(EMAIL_EVENTS);
        let time = match draw.between(0, 1) {
            0 => at.as_second().to_string(),
            _ => at.as_millisecond().to_string(),
        };
        let mut event = Writer::new(case);
        event.member("EventType", &quoted(kind));
        event.member("Email", &quoted(&address));
        event.member("MessageId", &quoted(&message));
        event.member("Time", &number(&time, draw));
        if draw.chance(0.8) {
            event.member("EventDetails", draw.word(DETAILS));
        }
        let key = format!("{message}|{kind}|{time}");
        told.push((event.object.write(), key, false));
        at = later(at, draw.between(2, 600));
    }
    told
}

fn inbound(organization: &str, at: Timestamp, draw: &mut Draw) -> Told {
    let id = draw.uuid().to_string();
    let (json, text) = time(at, draw);
    let mut sms = Writer::new(case(draw));
    sms.member("Id", &quoted(&id));
    sms.member("OrganizationId", &quoted(organization));
    sms.member("ReceiveDateTime", &json);
    sms.member(
        "From",
        &number(&format!("3519{:08}", draw.between(0, 99_999_999)), draw),
    );
    sms.member("To", &quoted("4711"));
    if draw.chance(0.7) {
        sms.member("Keyword", &quoted("STOP"));
    }
    sms.member("Text", &quoted("STOP 👋 à demain"));
    sms.member("Encoding", &draw.between(0, 2).to_string());
    sms.member("Mcc", &json!(268).to_string());
    sms.member("Mnc", &json!("06").to_string());
    sms.member("TotalSegments", "1");
    (sms.object.write(), format!("{id}|{text}"), false)
}

/// A time as JSON and as the text that SQL makes of it.
fn time(at: Timestamp, draw: &mut Draw) -> (String, String) {
    let text = match draw.between(0, 9) {
        // With a blank, as databases write it.
        0 => format!("{:.3}", Offset::UTC.to_datetime(at)).replace('T', " "),
        1 => at.as_second().to_string(),
        2 => at.as_millisecond().to_string(),
        _ => {
            let text = moment::write(at, draw);
            return (quoted(&text), text);
        }
    };
    let bare = text.bytes().all(|byte| byte.is_ascii_digit()) && draw.chance(0.5);
    (if bare { text.clone() } else { quoted(&text) }, text)
}
