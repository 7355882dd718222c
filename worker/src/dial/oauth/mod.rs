//! OAuth2 client credentials (RFC 6749, section 4.4): exchanges a client's secret for a
//! token.
//!
//! The token endpoint is known, or is read from the document of its issuer, and read again
//! after an attempt that failed. The client authenticates by HTTP Basic, or with the secret
//! in the form, whichever the provider documents. If a server refuses that, the client
//! tries the other way, and continues so if that works. The token is asked for a resource
//! (RFC 8707). Parsing is liberal: `token_type` may be absent, `expires_in` may be absent or
//! a text, and an answer without `scope` grants what was asked for (RFC 6749, section 5.1).
//! Neither the secret nor a token is ever part of an error.

mod discovery;
mod http;

use std::time::Duration;

use ::http::Uri;
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Client;
use serde_json::Value;

use self::http::{Answer, shortened, shown};
use super::options::oauth::{OAuth, Server};

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
    /// The server will issue no token of use until somebody changes something.
    #[error("{0}")]
    Lasting(String),
}

impl OAuthError {
    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Passing(text) => Self::Passing(change(text)),
            Self::Refused(text) => Self::Refused(change(text)),
            Self::Lasting(text) => Self::Lasting(change(text)),
        }
    }
}

/// How the client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Basic,
    Form,
}

/// Fetches tokens, and remembers where, and which way of authentication the server
/// accepts.
#[derive(Debug)]
pub(crate) struct Fetcher {
    plan: OAuth,
    ca_file: Option<String>,
    proof: Proof,
    /// The token endpoint, as the issuer's document has it.
    found: Option<Uri>,
}

impl Fetcher {
    pub(crate) fn new(plan: OAuth, ca_file: Option<String>) -> Self {
        let proof = if plan.in_form {
            Proof::Form
        } else {
            Proof::Basic
        };
        Self {
            plan,
            ca_file,
            proof,
            found: None,
        }
    }

    pub(crate) async fn fetch(&mut self, secret: &str) -> Result<Granted, OAuthError> {
        let granted = self.exchange(secret).await;
        let granted = granted.map_err(|error| error.map(|text| self.hide(secret, text)));
        if granted.is_err() {
            self.found = None;
        }
        granted
    }

    /// `text` without the secret, in any form in which it is sent, and without the query
    /// of the URL, because a server may repeat what it was sent.
    fn hide(&self, secret: &str, text: String) -> String {
        let url = match &self.plan.server {
            Server::Endpoint(url) => Some(url),
            Server::Issuer { .. } => self.found.as_ref(),
        };
        let sent = [
            basic(&self.plan.client_id, secret),
            encoded(secret),
            secret.to_owned(),
            url.and_then(Uri::query).unwrap_or_default().to_owned(),
        ];
        // Replacing a shorter secret would only garble the text.
        let sent = sent.iter().filter(|sent| sent.len() > 3);
        sent.fold(text, |text, sent| text.replace(sent, "(hidden)"))
    }

    async fn exchange(&mut self, secret: &str) -> Result<Granted, OAuthError> {
        // The client is created each time, because the certificate files may have changed;
        // a token is fetched about once an hour.
        let client = http::client(self.ca_file.as_deref()).await;
        let client = client.map_err(OAuthError::Refused)?;
        let url = self.endpoint(&client).await?;
        let answer = self.ask(&client, &url, secret, self.proof).await?;
        let Some(refusal) = self.refusal(&url, &answer, secret) else {
            return self.read(&url, &answer, secret);
        };
        if refusal.is_about_the_proof {
            let other = match self.proof {
                Proof::Basic => Proof::Form,
                Proof::Form => Proof::Basic,
            };
            let second = self.ask(&client, &url, secret, other).await?;
            match self.refusal(&url, &second, secret) {
                None => {
                    self.proof = other;
                    return self.read(&url, &second, secret);
                }
                Some(second) if second.is_proven => {
                    self.proof = other;
                    return Err(second.error);
                }
                Some(_) => {}
            }
        }
        Err(refusal.error)
    }

    async fn endpoint(&mut self, client: &Client) -> Result<Uri, OAuthError> {
        let (name, document) = match (&self.plan.server, &self.found) {
            (Server::Endpoint(url), _) | (_, Some(url)) => return Ok(url.clone()),
            (Server::Issuer { name, document }, None) => (name, document),
        };
        let url = discovery::token_endpoint(client, &self.plan, name, document).await?;
        Ok(self.found.insert(url).clone())
    }

    async fn ask(
        &self,
        client: &Client,
        url: &Uri,
        secret: &str,
        proof: Proof,
    ) -> Result<Answer, OAuthError> {
        let OAuth {
            client_id,
            resource,
            scope,
            ..
        } = &self.plan;
        let id = client_id.as_str();
        let mut form = vec![("grant_type", "client_credentials")];
        let optional = [("resource", resource), ("scope", scope)];
        let set = optional
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        form.extend(set);
        let mut request = client.post(url.to_string());
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
            .body(body);
        Answer::to(request, &place(url)).await
    }

    /// The beginning of a text of the server, without the secret. A secret that is cut off
    /// would not be found afterwards.
    fn quoted(&self, secret: &str, text: &str) -> String {
        shortened(&self.hide(secret, text.to_owned()))
    }

    fn refusal(&self, url: &Uri, answer: &Answer, secret: &str) -> Option<Refusal> {
        let status = answer.status;
        if status.is_success() {
            return None;
        }
        let json = answer.json().unwrap_or_default();
        let text = |name| json.get(name).and_then(Value::as_str).unwrap_or_default();
        let text = |name| self.quoted(secret, text(name));
        let (code, description) = (text("error"), text("error_description"));
        let mut line = format!("{} answers {}", place(url), status.as_u16());
        for (separator, part) in [(" ", &code), (": ", &description)] {
            if !part.is_empty() {
                line.push_str(separator);
                line.push_str(part);
            }
        }
        let error = if answer.may_pass() {
            OAuthError::Passing(line)
        } else {
            line.push_str(&self.advice(status.is_redirection(), &code));
            match code.as_str() {
                "invalid_target" => OAuthError::Lasting(line),
                _ => OAuthError::Refused(line),
            }
        };
        Some(Refusal {
            is_proven: matches!(
                code.as_str(),
                "invalid_target"
                    | "invalid_scope"
                    | "unauthorized_client"
                    | "unsupported_grant_type"
            ),
            is_about_the_proof: matches!(status.as_u16(), 400 | 401)
                && matches!(code.as_str(), "" | "invalid_client" | "invalid_request"),
            error,
        })
    }

    /// What to do about a refusal.
    fn advice(&self, is_redirected: bool, code: &str) -> String {
        let option = self.plan.server.option();
        if is_redirected {
            return match self.plan.server {
                Server::Endpoint(_) => "; set token_url to where it redirects".to_owned(),
                Server::Issuer { .. } => {
                    "; set token_url to where it redirects, instead of issuer".to_owned()
                }
            };
        }
        match (code, &self.plan.resource) {
            ("invalid_target", Some(resource)) => format!(
                "; it refuses the resource {resource:?}, which it compares byte for byte, with a slash at its end or without: set the option resource to the URL of the API exactly as the provider has it"
            ),
            ("invalid_target", None) => {
                "; set the option resource to the URL of the API, exactly as the provider has it"
                    .to_owned()
            }
            ("invalid_scope", _) => "; see whether the option scope is right".to_owned(),
            ("unauthorized_client" | "unsupported_grant_type", _) => {
                "; ask the provider to allow this client the grant client_credentials".to_owned()
            }
            _ => format!("; see whether {option}, client_id and the client's secret are right"),
        }
    }

    fn read(&self, url: &Uri, answer: &Answer, secret: &str) -> Result<Granted, OAuthError> {
        let wrong = |what: &str| {
            let status = answer.status.as_u16();
            OAuthError::Refused(format!("{} answers {status}, but {what}", place(url)))
        };
        let json = answer.json().ok_or_else(|| {
            let option = self.plan.server.option();
            wrong(&format!("not with JSON: see whether {option} is right"))
        })?;
        let token = json.get("access_token").and_then(Value::as_str);
        let token = token
            .filter(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| wrong("without an access_token that can be sent"))?;
        let kind = json.get("token_type").and_then(Value::as_str);
        if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(wrong("its token is no bearer token"));
        }
        if let Some(scope) = json.get("scope").and_then(Value::as_str) {
            self.check_scope(url, scope, secret)?;
        }
        Ok(Granted {
            token: token.to_owned(),
            lifetime: json
                .get("expires_in")
                .and_then(lifetime)
                .unwrap_or(LIFETIME),
        })
    }

    /// Refuses a grant without the scope that is needed.
    fn check_scope(&self, url: &Uri, granted: &str, secret: &str) -> Result<(), OAuthError> {
        let has = |scopes: &str, needed: &str| {
            let mut scopes = scopes.split_ascii_whitespace();
            scopes.any(|scope| scope == needed)
        };
        let Some(needed) = self.plan.needed.filter(|needed| !has(granted, needed)) else {
            return Ok(());
        };
        let granted = self.quoted(secret, granted);
        let (place, client) = (place(url), &self.plan.client_id);
        let advice = match &self.plan.scope {
            Some(asked) if !has(asked, needed) => {
                format!("add {needed} to the option scope, or leave that option out")
            }
            _ => format!("ask the provider to grant {needed} to this client"),
        };
        Err(OAuthError::Lasting(format!(
            "{place} grants the client {client} the scope {granted:?}, which lacks {needed}: {advice}"
        )))
    }
}

fn place(endpoint: &Uri) -> String {
    format!("the token endpoint {}", shown(endpoint))
}

#[derive(Debug)]
struct Refusal {
    error: OAuthError,
    /// Whether another proof may be accepted.
    is_about_the_proof: bool,
    /// Whether the server has authenticated the client.
    is_proven: bool,
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
