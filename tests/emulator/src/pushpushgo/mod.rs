//! PushPushGo's webhooks.
//!
//! Page: "Webhooks". One signed POST an event, all seven kinds, retried until 2xx (the
//! page does not say what makes it stop). [`hook`] draws the bodies.
//!
//! Transaction events are sometimes repeated. Subscriber events never are, except for want
//! of an answer: they carry neither id nor time, so that nobody can tell a repeat from a
//! second event.

use ::http::{HeaderValue, header::HeaderName};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;

use self::hook::{Hook, Hooks};
use crate::{
    deliver::{Policy, patient},
    draw::Draw,
    lane::Call,
};

mod hook;
mod liberal;

pub(crate) const POLICY: Policy = Policy {
    accepts: |status| status.is_success(),
    retries: |_| true,
    delay: patient,
};

const SIGNATURE: HeaderName = HeaderName::from_static("x-ppg-signature");

/// Draws calls, one an event.
#[derive(Debug)]
pub(crate) struct Calls {
    hooks: Hooks,
    signer: Hmac<Sha1>,
    duplicates: f64,
    number: u32,
}

impl Calls {
    /// The project's id is also the key of the signature.
    pub(crate) fn new(
        draw: Draw,
        forms: Option<Draw>,
        from: Timestamp,
        events: u32,
        duplicates: f64,
        project: &str,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            hooks: Hooks::new(draw, forms, from, events, project),
            signer: Hmac::new_from_slice(project.as_bytes())?,
            duplicates,
            number: 0,
        })
    }

    /// "We take the full JSON body and sign it using HMAC-SHA1", in hex unless the forms
    /// are liberal.
    fn sign(&mut self, body: &str) -> Option<HeaderValue> {
        let mut signer = self.signer.clone();
        signer.update(body.as_bytes());
        let mac = signer.finalize().into_bytes();
        let text = match self.hooks.forms() {
            None => hex::encode(mac),
            Some(draw) => liberal::signature(&mac, draw),
        };
        HeaderValue::from_str(&text).ok()
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        let Hook { body, entry } = self.hooks.next()?;
        let number = self.number;
        self.number += 1;
        let again = !entry.timeless && self.hooks.draw().chance(self.duplicates);
        Some(Call {
            header: Some((SIGNATURE, self.sign(&body)?)),
            body: Bytes::from(body),
            opened: vec![entry],
            numbers: vec![number],
            again,
        })
    }
}

#[cfg(test)]
mod tests;
