//! OAuth2 client credentials (RFC 6749, section 4.4): exchanges a client's secret for a
//! token.
//!
//! The client authenticates by HTTP Basic. If a server refuses that, the client sends the
//! secret in the form, and continues to do so if that works. Parsing is liberal:
//! `token_type` may be absent, and `expires_in` may be absent or a text. Neither the
//! secret nor a token is ever part of an error. No redirect is followed, because it would
//! send the secret elsewhere, and no proxy is used, as for the stream.

use std::{path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use reqwest::{Certificate, Client, redirect::Policy};
use serde_json::Value;

use super::options::OAuth;
use crate::dial;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Limit on an answer, in bytes; a token has some kilobytes.
const LARGEST_ANSWER: usize = 256 * 1024;
/// Lifetime of a token if the server does not state one.
const LIFETIME: Duration = Duration::from_secs(300);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A token and its lifetime.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) token: String,
    pub(crate) lifetime: Duration,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OAuthError {
    /// A transient failure.
    #[error("{0}")]
    Passing(String),
    /// The server refuses to issue a token.
    #[error("{0}")]
    Refused(String),
}

/// How the client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Basic,
    Form,
}

/// Fetches tokens, and remembers which way of authentication the server accepts.
#[derive(Debug)]
pub(crate) struct Fetcher {
    plan: OAuth,
    ca_file: Option<String>,
    proof: Proof,
}

impl Fetcher {
    pub(crate) fn new(plan: OAuth, ca_file: Option<String>) -> Self {
        Self {
            plan,
            ca_file,
            proof: Proof::Basic,
        }
    }

    pub(crate) async fn fetch(&mut self, secret: &str) -> Result<Granted, OAuthError> {
        let granted = self.exchange(secret).await;
        granted.map_err(|error| match error {
            OAuthError::Passing(text) => OAuthError::Passing(self.hide(secret, text)),
            OAuthError::Refused(text) => OAuthError::Refused(self.hide(secret, text)),
        })
    }

    /// `text` without the secret, in any form in which it is sent, and without the query
    /// of the URL, because a server may repeat what it was sent.
    fn hide(&self, secret: &str, text: String) -> String {
        let sent = [
            basic(&self.plan.client_id, secret),
            encoded(secret),
            secret.to_owned(),
            self.plan.url.query().unwrap_or_default().to_owned(),
        ];
        // Replacing a shorter secret would only garble the text.
        let sent = sent.iter().filter(|sent| sent.len() > 3);
        sent.fold(text, |text, sent| text.replace(sent, "(hidden)"))
    }

    async fn exchange(&mut self, secret: &str) -> Result<Granted, OAuthError> {
        let client = self.client().await.map_err(OAuthError::Refused)?;
        let answer = self.ask(&client, secret, self.proof).await?;
        let Some(refusal) = self.refusal(&answer) else {
            return self.read(&answer);
        };
        if self.proof == Proof::Basic && refusal.is_about_the_proof {
            let second = self.ask(&client, secret, Proof::Form).await?;
            if second.status.is_success() {
                let granted = self.read(&second)?;
                self.proof = Proof::Form;
                return Ok(granted);
            }
        }
        Err(refusal.error)
    }

    /// The client is created each time, because the certificate files may have changed; a
    /// token is fetched about once an hour.
    async fn client(&self) -> Result<Client, String> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .user_agent(dial::USER_AGENT);
        if let Some(path) = &self.ca_file {
            let pem = dial::certificates(Path::new(path)).await?;
            let unusable = |error: reqwest::Error| {
                format!(
                    "its ca_file {path:?} cannot be used: {}",
                    dial::chain(&error)
                )
            };
            for certificate in Certificate::from_pem_bundle(&pem).map_err(unusable)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        builder
            .build()
            .map_err(|error| format!("cannot fetch a token: {}", dial::chain(&error)))
    }

    async fn ask(&self, client: &Client, secret: &str, proof: Proof) -> Result<Answer, OAuthError> {
        let id = self.plan.client_id.as_str();
        let mut form = vec![("grant_type", "client_credentials")];
        if let Some(scope) = &self.plan.scope {
            form.push(("scope", scope));
        }
        let mut request = client.post(self.plan.url.to_string());
        match proof {
            Proof::Basic => {
                let value = format!("Basic {}", basic(id, secret));
                request = request.header("authorization", value);
            }
            Proof::Form => form.extend([("client_id", id), ("client_secret", secret)]),
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body);
        let unreachable = |error: reqwest::Error| {
            // The library's text would repeat the URL, which is in our message.
            let error = error.without_url();
            let hint = dial::certificate_hint(&error).unwrap_or_default();
            let chain = dial::chain(&error);
            OAuthError::Passing(format!("{} cannot be asked: {chain}{hint}", self.place()))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                let text = format!("{} answers with too many bytes", self.place());
                return Err(OAuthError::Passing(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }

    fn refusal(&self, answer: &Answer) -> Option<Refusal> {
        let status = answer.status;
        if status.is_success() {
            return None;
        }
        let json = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
        let text = |name| json.get(name).and_then(Value::as_str).unwrap_or_default();
        let (code, description) = (text("error"), text("error_description"));
        let mut line = format!("{} answers {}", self.place(), status.as_u16());
        for (separator, part) in [(" ", code), (": ", description)] {
            if !part.is_empty() {
                line.push_str(separator);
                line.push_str(part);
            }
        }
        let refused = match status.as_u16() {
            300..=399 => {
                line.push_str("; set token_url to where it redirects");
                true
            }
            408 | 429 => false,
            400..=499 => {
                line.push_str(match code {
                    "invalid_scope" => "; see whether the option scope is right",
                    "unauthorized_client" | "unsupported_grant_type" => {
                        "; ask the provider to allow this client the grant client_credentials"
                    }
                    _ => "; see whether token_url, client_id and the client's secret are right",
                });
                true
            }
            _ => false,
        };
        Some(Refusal {
            // The other codes are for an authenticated client.
            is_about_the_proof: matches!(status.as_u16(), 400 | 401)
                && matches!(code, "" | "invalid_client" | "invalid_request"),
            error: if refused {
                OAuthError::Refused(line)
            } else {
                OAuthError::Passing(line)
            },
        })
    }

    fn read(&self, answer: &Answer) -> Result<Granted, OAuthError> {
        let wrong = |what: &str| {
            let status = answer.status.as_u16();
            OAuthError::Refused(format!("{} answers {status}, but {what}", self.place()))
        };
        let json = serde_json::from_slice::<Value>(&answer.body)
            .map_err(|_| wrong("not with JSON: see whether token_url is right"))?;
        let token = json.get("access_token").and_then(Value::as_str);
        let token = token
            .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| wrong("without an access_token that can be sent"))?;
        let kind = json.get("token_type").and_then(Value::as_str);
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(wrong("its token is no bearer token"));
        }
        Ok(Granted {
            token: token.to_owned(),
            lifetime: json
                .get("expires_in")
                .and_then(lifetime)
                .unwrap_or(LIFETIME),
        })
    }

    /// The endpoint without the query of its URL.
    fn place(&self) -> String {
        let url = &self.plan.url;
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map(|a| a.as_str()).unwrap_or_default();
        format!("the token endpoint {scheme}://{authority}{}", url.path())
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Refusal {
    error: OAuthError,
    is_about_the_proof: bool,
}

/// RFC 6749, section 2.3.1: both are form-encoded before they are joined.
fn basic(id: &str, secret: &str) -> String {
    BASE64_STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Seconds, as a number or as a text.
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    let longest = LONGEST_LIFETIME.as_secs_f64();
    Duration::try_from_secs_f64(seconds.clamp(0.0, longest)).ok()
}

#[cfg(test)]
mod tests;
