//! Requests to an authorization server, bounded in time and in size.
//!
//! No redirect is followed, because it would send the secret elsewhere, and no proxy is
//! used, as for the stream.

use std::{path::Path, time::Duration};

use http::{StatusCode, Uri};
use reqwest::{Certificate, Client, RequestBuilder, redirect::Policy};
use serde_json::Value;

use super::OAuthError;
use crate::dial;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Limit on an answer, in bytes; a token has some kilobytes.
pub(super) const LARGEST_ANSWER: usize = 256 * 1024;
/// Limit on a text of the server in a message, in characters.
const LONGEST: usize = 300;

/// A client with the root certificates of the system, and those of `ca_file`.
pub(super) async fn client(ca_file: Option<&str>) -> Result<Client, String> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        .user_agent(dial::USER_AGENT);
    if let Some(path) = ca_file {
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

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Sends a request to `place`, which is how errors call the server.
    pub(super) async fn to(request: RequestBuilder, place: &str) -> Result<Self, OAuthError> {
        let unreachable = |error: reqwest::Error| {
            // The library's text would repeat the URL, which is in our message.
            let error = error.without_url();
            let hint = dial::certificate_hint(&error).unwrap_or_default();
            let chain = dial::chain(&error);
            OAuthError::Passing(format!("{place} cannot be asked: {chain}{hint}"))
        };
        let request = request.header("accept", "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                let text = format!("{place} answers with too many bytes");
                return Err(OAuthError::Passing(text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Self { status, body })
    }

    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the server may answer otherwise another time.
    pub(super) fn may_pass(&self) -> bool {
        match self.status.as_u16() {
            408 | 429 => true,
            status => !(300..=499).contains(&status),
        }
    }
}

/// A URL for people, without its query.
pub(super) fn shown(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    let authority = url.authority().map(|a| a.as_str()).unwrap_or_default();
    format!("{scheme}://{authority}{}", url.path())
}

/// The beginning of a text of the server.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
