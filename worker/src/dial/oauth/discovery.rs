//! The document of an issuer, which says where its token endpoint is (OpenID Connect
//! Discovery 1.0, section 4; RFC 8414). Only two of its members are read, so that a server
//! without OpenID Connect may have one too.

use http::Uri;
use reqwest::Client;
use serde_json::Value;

use super::{
    OAuthError,
    http::{Answer, shortened, shown},
};
use crate::dial::options::oauth::OAuth;

/// Reads the token endpoint from the document of the issuer `name`.
pub(super) async fn token_endpoint(
    client: &Client,
    plan: &OAuth,
    name: &str,
    document: &Uri,
) -> Result<Uri, OAuthError> {
    let place = format!("the issuer's document {}", shown(document));
    let answer = Answer::to(client.get(document.to_string()), &place).await?;
    if !answer.status.is_success() {
        let line = format!("{place} is answered by {}", answer.status.as_u16());
        return Err(if answer.may_pass() {
            OAuthError::Passing(line)
        } else {
            let advice = "see whether the option issuer is right, or set token_url instead";
            OAuthError::Refused(format!("{line}; {advice}"))
        });
    }
    let json = answer.json().unwrap_or_default();
    let text = |member| json.get(member).and_then(Value::as_str);
    let said = text("issuer").ok_or_else(|| {
        OAuthError::Refused(format!(
            "{place} names no issuer: see whether the option issuer is right"
        ))
    })?;
    // Another issuer must not receive the secret.
    if bare(said) != bare(name) {
        let said = shortened(said);
        return Err(OAuthError::Lasting(format!(
            "{place} is that of another issuer, {said}: if that is the provider's, set the option issuer to it"
        )));
    }
    let url = text("token_endpoint").and_then(|url| plan.endpoint(url));
    url.ok_or_else(|| {
        OAuthError::Lasting(format!(
            "{place} names no token_endpoint to which a secret can be sent: it has to be an https URL without user and password; ask the provider, or set token_url instead of issuer"
        ))
    })
}

/// A name without the slash at its end.
fn bare(issuer: &str) -> &str {
    issuer.strip_suffix('/').unwrap_or(issuer)
}
