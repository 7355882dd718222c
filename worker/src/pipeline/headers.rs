//! A request's headers, folded into the JSON object that the extension reads.
//!
//! - Names are in lower case; values that are not UTF-8 are dropped; repeated
//!   values are joined by `", "` (RFC 9110, section 5.3).
//! - Only the worker sets `receipt-id`, `url-token`, `lease-epoch`, `spooled`, `peer-address`
//!   and `body-as-sent`: a client's own are dropped.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tidings_core::policy::{BODY_AS_SENT_HEADER, PEER_ADDRESS_HEADER};
use uuid::Uuid;

/// Identifies one arrival of a request: a retry by the worker carries the same id.
pub(crate) const RECEIPT_ID: &str = "receipt-id";
/// The secret part of the path, for providers that can only be given a URL.
pub(crate) const URL_TOKEN: &str = "url-token";
/// The lease under which a stream was read.
const LEASE_EPOCH: &str = "lease-epoch";
/// Size of the spool through which a request came.
const SPOOLED: &str = "spooled";
const OURS: [&str; 6] = [
    RECEIPT_ID,
    URL_TOKEN,
    LEASE_EPOCH,
    SPOOLED,
    PEER_ADDRESS_HEADER,
    BODY_AS_SENT_HEADER,
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Headers<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Headers<'a> {
    pub(crate) fn fold(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut folded = BTreeMap::<Cow<'_, str>, Cow<'_, str>>::new();
        for (name, value) in pairs {
            let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => Cow::Owned(name.to_ascii_lowercase()),
                false => Cow::Borrowed(name),
            };
            if OURS.contains(&name.as_ref()) {
                continue;
            }
            let Ok(value) = std::str::from_utf8(value) else {
                continue;
            };
            folded
                .entry(name)
                .and_modify(|held| {
                    let held = held.to_mut();
                    held.push_str(", ");
                    held.push_str(value);
                })
                .or_insert(Cow::Borrowed(value));
        }
        Self(folded)
    }

    pub(crate) fn set_url_token(&mut self, token: &'a str) {
        self.0.insert(URL_TOKEN.into(), token.into());
    }

    /// The address of the sender.
    pub(crate) fn set_peer_address(&mut self, address: IpAddr) {
        let address = address.to_string();
        self.0.insert(PEER_ADDRESS_HEADER.into(), address.into());
    }

    /// The bytes as sent of a body that was compressed, which a signature may cover.
    pub(crate) fn set_body_as_sent(&mut self, sent: &[u8]) {
        let sent = STANDARD.encode(sent);
        self.0.insert(BODY_AS_SENT_HEADER.into(), sent.into());
    }

    pub(crate) fn set_lease_epoch(&mut self, epoch: i64) {
        self.0.insert(LEASE_EPOCH.into(), epoch.to_string().into());
    }

    /// The headers as a JSON object, without a receipt id.
    pub(crate) fn to_json(&self) -> String {
        // A map of texts can always be written.
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The headers of one request alone.
    pub(crate) fn with_receipt(&self, id: Uuid) -> HeaderText {
        let mut text = receipt(id);
        text.push_str(&self.rest());
        text.into()
    }

    /// The headers that are the same for every request of one connection, serialized
    /// once.
    pub(crate) fn template(&self) -> Template {
        Template {
            rest: self.rest().into(),
        }
    }

    /// The text after the receipt id.
    fn rest(&self) -> String {
        if self.0.is_empty() {
            return "}".to_owned();
        }
        let mut members = self.to_json();
        members.replace_range(..1, ",");
        members
    }
}

/// The beginning of the object.
fn receipt(id: Uuid) -> String {
    format!(r#"{{"{RECEIPT_ID}":"{id}""#)
}

/// Headers that lack only the receipt id.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The text after the receipt id.
    rest: Arc<str>,
}

impl Template {
    pub(crate) fn with_receipt(&self, id: Uuid) -> HeaderText {
        HeaderText {
            own: receipt(id),
            shared: self.rest.clone(),
        }
    }
}

/// The headers of one request, a JSON object. Thousands of events of one push stream
/// share one copy of its headers.
#[derive(Clone, Debug)]
pub(crate) struct HeaderText {
    own: String,
    shared: Arc<str>,
}

impl HeaderText {
    /// The receipt id among them, for the log.
    pub(crate) fn receipt(&self) -> Option<String> {
        let headers: serde_json::Value = serde_json::from_str(&self.to_string()).ok()?;
        headers.get(RECEIPT_ID)?.as_str().map(str::to_owned)
    }

    /// The headers of a request that came through a spool of so many bytes. Of two members
    /// of one name Postgres takes the last, so that a client's own, which earlier versions
    /// have spooled, does not count.
    pub(crate) fn through_spool(mut object: String, bytes: u64) -> Self {
        if let Some(end) = object.rfind('}') {
            let is_empty = object[..end].trim_end().ends_with('{');
            let comma = if is_empty { "" } else { "," };
            object.replace_range(end.., &format!(r#"{comma}"{SPOOLED}":"{bytes}"}}"#));
        }
        object.into()
    }

    /// Number of bytes of the serialized headers.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.shared.len()
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.own)?;
        f.write_str(&self.shared)
    }
}

impl From<String> for HeaderText {
    fn from(object: String) -> Self {
        Self {
            own: object,
            shared: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::process::receipt;

    fn json(headers: &Headers<'_>) -> Value {
        serde_json::from_str(&headers.to_json()).unwrap()
    }

    #[test]
    fn names_are_lowered_values_joined_and_non_utf8_dropped() {
        let headers = Headers::fold([
            ("X-PPG-Signature", b"ab".as_slice()),
            ("x-forwarded-for", b"10.0.0.1"),
            ("X-Forwarded-For", b"10.0.0.2"),
            ("x-latin", b"\xe9"),
            ("x-quote", br#"say "hi""#),
        ]);
        assert_eq!(
            json(&headers),
            json!({
                "x-ppg-signature": "ab",
                "x-forwarded-for": "10.0.0.1, 10.0.0.2",
                "x-quote": "say \"hi\"",
            })
        );
    }

    #[test]
    fn a_client_cannot_say_what_is_the_workers_to_say() {
        let mut headers = Headers::fold([
            ("Receipt-Id", b"forged".as_slice()),
            ("url-token", b"forged"),
            ("Lease-Epoch", b"forged"),
            ("Spooled", b"forged"),
            ("Peer-Address", b"192.0.2.7"),
            ("Body-As-Sent", b"forged"),
        ]);
        assert_eq!(json(&headers), json!({}));
        headers.set_url_token("secret");
        headers.set_peer_address(IpAddr::from([203, 0, 113, 9]));
        headers.set_body_as_sent(b"packed");
        let id = receipt::id();
        let text = headers.template().with_receipt(id).to_string();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "receipt-id": id.to_string(),
                "url-token": "secret",
                "peer-address": "203.0.113.9",
                "body-as-sent": "cGFja2Vk",
            })
        );
    }

    #[test]
    fn the_events_of_a_stream_hold_its_headers_once() {
        let template = Headers::fold([("authorization", b"secret".as_slice())]).template();
        let [one, other] = [Uuid::nil(), Uuid::max()].map(|id| template.with_receipt(id));
        assert!(Arc::ptr_eq(&one.shared, &other.shared));
        assert_eq!(one.to_string().len(), one.len());
    }

    #[test]
    fn the_receipt_id_can_be_read_again_also_of_what_was_spooled() {
        let headers = Headers::fold([("x", b"y".as_slice())]).template();
        let id = receipt::id();
        let text = headers.with_receipt(id);
        assert_eq!(text.receipt(), Some(id.to_string()));
        let spooled = HeaderText::from(text.to_string());
        assert_eq!(spooled.receipt(), Some(id.to_string()));
        assert_eq!(HeaderText::from("{}".to_owned()).receipt(), None);
    }

    #[test]
    fn a_request_of_the_spool_says_so_whatever_its_sender_said() {
        for (headers, expected) in [
            ("{}", json!({"spooled": "9"})),
            (r#"{"x":"}"}"#, json!({"x": "}", "spooled": "9"})),
            (
                r#"{"spooled":"forged","x":"y"}"#,
                json!({"x": "y", "spooled": "9"}),
            ),
        ] {
            let text = HeaderText::through_spool(headers.to_owned(), 9).to_string();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }
    }

    #[test]
    fn a_receipt_id_alone_is_an_object_too() {
        let text = Headers::default().template().with_receipt(Uuid::nil());
        let text = text.to_string();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({"receipt-id": Uuid::nil().to_string()})
        );
    }

    #[test]
    fn the_headers_of_one_request_are_those_of_a_template() {
        let pairs = [("accept", b"*/*".as_slice()), ("x-quote", br#"say "hi""#)];
        for pairs in [&pairs[..], &pairs[..0]] {
            let headers = Headers::fold(pairs.iter().copied());
            let id = Uuid::max();
            let texts = [
                headers.with_receipt(id),
                headers.template().with_receipt(id),
            ];
            let [own, shared] = texts.map(|text| text.to_string());
            assert_eq!(own, shared);
        }
    }
}
