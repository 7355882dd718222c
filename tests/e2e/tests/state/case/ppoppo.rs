//! What Ppoppo says of send requests: events by its page and by its contract, and answers to
//! questions.

use super::{Draw, TIMES, iso};
use rand::Rng as _;
use serde_json::{Map, Value, json};

impl Draw<'_> {
    pub(super) fn ppoppo(&mut self) -> Option<Value> {
        let event_type = self.one(&[
            "RECIPIENT_DELIVERED",
            "RECIPIENT_DELIVERED",
            "RECIPIENT_FAILED",
            "SEND_REQUEST_EVENT_TYPE_RECIPIENT_FAILED",
            "SEND_REQUEST_EVENT_TYPE_RECIPIENT_PENDING_CONSENT",
            "RECIPIENT_PENDING_CONSENT",
            "CONSENT_GRANTED",
            "CONSENT_DENIED",
            "REQUEST_COMPLETED",
            "SEND_REQUEST_EVENT_TYPE_REQUEST_FAILED",
            "POLL_RESPONSE_RECEIVED",
            "RECIPIENT_READ",
        ]);
        let (event_id, at_first) = self.ulid(100);
        // Where it is absent, it is that of the id.
        let occurred_at = self.chance(0.8).then(|| self.time());
        let request = self.request();
        let mut recipient = Map::new();
        self.set(&mut recipient, 0.9, "ppnum", Self::recipient);
        self.set(&mut recipient, 0.4, "message_id", Self::message);
        if event_type.ends_with("RECIPIENT_FAILED") {
            self.set(&mut recipient, 0.8, "error_code", Self::error_code);
        }
        let created_at = self.created_at(&request, recipient.get("ppnum"));
        self.set(&mut recipient, 0.7, "created_at", |_| created_at.into());
        let mut item = Map::new();
        item.insert("event_id".into(), (&*event_id).into());
        item.insert("event_type".into(), event_type.into());
        self.set(&mut item, 0.9, "send_request_id", |_| {
            request.clone().into()
        });
        if let Some(at) = occurred_at {
            item.insert("occurred_at".into(), iso(at).into());
        }
        if !recipient.is_empty() && self.chance(0.9) {
            item.insert("recipient".into(), recipient.into());
        }
        if event_type.contains("REQUEST_COMPLETED") || event_type.contains("REQUEST_FAILED") {
            self.set(&mut item, 0.8, "summary", |draw| {
                let few = |draw: &mut Self| draw.random.random_range(0..3);
                match draw.random.random_range(0..8) {
                    0 => Value::Null,
                    1 => "none".into(),
                    2 => json!({"delivered": few(draw).to_string(), "failed": "?"}),
                    3 | 4 => draw.counts().into(),
                    _ => json!({"failed": few(draw), "delivered": few(draw)}),
                }
            });
        }
        let at = occurred_at.unwrap_or(at_first);
        self.unless_known(format!("ppoppo {event_id} {at}"), item)
    }

    /// An answer of the provider to a question about a request, as the worker passes it on:
    /// about one recipient, or about the request as a whole.
    pub(super) fn answer(&mut self, headers: &mut Map<String, Value>) -> Option<Value> {
        let request = self.request();
        if self.chance(0.7) {
            let mut recipient = Map::new();
            recipient.insert("ppnum".into(), self.recipient());
            let status = self.one(&["PENDING", "PENDING_CONSENT", "DELIVERED", "FAILED"]);
            let status = format!("RECIPIENT_DELIVERY_STATUS_{status}");
            if status.ends_with("FAILED") {
                self.set(&mut recipient, 0.8, "error_code", Self::error_code);
            }
            recipient.insert("status".into(), status.into());
            self.set(&mut recipient, 0.3, "message_id", Self::message);
            let created_at = self.created_at(&request, recipient.get("ppnum"));
            recipient.insert("created_at".into(), created_at.into());
            return Some(
                json!({"reconciled": true, "send_request_id": request, "recipient": recipient}),
            );
        }
        let status = self.one(&["COMPLETED", "COMPLETED", "FAILED"]);
        let mut summary = self.counts();
        let identity = format!("answer {request} {status} {summary:?}");
        let status = format!("SEND_REQUEST_STATUS_{status}");
        summary.insert("status".into(), status.into());
        // Without a time of its own: the receipt has it.
        headers.insert("receipt-id".into(), self.ulid(10).0.into());
        let mut item = Map::new();
        item.insert("reconciled".into(), true.into());
        item.insert("send_request_id".into(), request.into());
        item.insert("summary".into(), summary.into());
        self.unless_known(identity, item)
    }

    /// The counts of a request's summary, of which those that are 0 are left out.
    fn counts(&mut self) -> Map<String, Value> {
        let mut counts = Map::new();
        counts.insert("total_recipients".into(), 4.into());
        for name in ["delivered", "pending_consent", "failed"] {
            let count = self.random.random_range(0..3);
            if count > 0 {
                counts.insert(name.into(), count.into());
            }
        }
        counts
    }

    fn error_code(&mut self) -> Value {
        self.one(&["E1", "E2", "consent_denied", "consent_expired"])
            .into()
    }

    /// When a request added a recipient: nearly always the same.
    fn created_at(&mut self, request: &str, recipient: Option<&Value>) -> String {
        let recipient = recipient.and_then(Value::as_str).unwrap_or_default();
        let sum: usize = request
            .bytes()
            .chain(recipient.bytes())
            .map(usize::from)
            .sum();
        let usual = TIMES.get(sum % TIMES.len()).copied().unwrap_or_default();
        let at = if self.chance(0.9) { usual } else { self.time() };
        iso(at)
    }
}
