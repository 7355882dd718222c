//! The bearer token of a dialed source.
//!
//! The credential is the secret in Postgres, or otherwise the content of the environment
//! variable or the file that the source's options name. The file is read again for each
//! connection, and a stream that pauses connects at once on SIGHUP. The credential is the token itself, or with `client_id` the secret of an
//! OAuth2 client, whose token is kept until shortly before it expires.
//!
//! Tokens and secrets appear in no log and in no error. Texts from servers pass through
//! [`Tokens::redact`] first, because a server may repeat what it was sent.

use std::{collections::VecDeque, time::Duration};

use metrics::counter;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep},
};

use super::{
    oauth::{Fetcher, OAuthError},
    options::Dial,
};
use crate::process::metric;

/// Limit on a file, in bytes: more than any token, and less than an endless device.
const LARGEST_FILE: u64 = 64 * 1024;
/// Time between checks of a file that may have been fixed.
const LOOK: Duration = Duration::from_secs(2);
/// A token is not used in the last part of its lifetime, because the request takes time.
const GREATEST_MARGIN: Duration = Duration::from_secs(60);

const OK: &str = "ok";
const REFUSED: &str = "refused";
const FAILED: &str = "failed";
/// Results of asking for a token, in the words of the metric.
pub(crate) const RESULTS: [&str; 3] = [OK, REFUSED, FAILED];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// There is no token, or it cannot be used: somebody has to change something.
    #[error("{0}")]
    Missing(String),
    /// The token endpoint refuses to issue a token.
    #[error("{0}")]
    Refused(String),
    /// The token endpoint will issue no token of use until somebody changes something.
    #[error("{0}")]
    Lasting(String),
    /// The token endpoint cannot issue a token now.
    #[error("{0}")]
    Passing(String),
}

/// Number of former credentials that are kept to be redacted.
const HIDDEN: usize = 16;

/// The tokens of one stream.
pub(crate) struct Tokens {
    source: String,
    env: Option<String>,
    file: Option<String>,
    fetcher: Option<Fetcher>,
    /// The last credential, to detect a change.
    credential: Option<String>,
    /// Whether the credential came from the file.
    from_file: bool,
    granted: Option<Kept>,
    /// Secrets to redact, including former ones; the newest is last.
    hidden: VecDeque<String>,
}

struct Kept {
    token: String,
    until: Instant,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(source: &str, dial: &Dial) -> Self {
        let oauth = dial.oauth.clone();
        Self {
            source: source.to_owned(),
            env: dial.token_env.clone(),
            file: dial.token_file.clone(),
            fetcher: oauth.map(|plan| Fetcher::new(plan, dial.ca_file.clone())),
            credential: None,
            from_file: false,
            granted: None,
            hidden: VecDeque::new(),
        }
    }

    /// The token to send, given the secret in Postgres, and whether the credential has
    /// changed since the last call.
    pub(crate) async fn get(
        &mut self,
        stored: Option<String>,
    ) -> Result<(String, bool), TokenError> {
        let found = self.credential(stored).await;
        let (credential, from_file) = found.map_err(|reason| {
            self.credential = None;
            self.from_file = self.env.is_none();
            TokenError::Missing(reason)
        })?;
        let renewed = self.credential.as_deref() != Some(credential.as_str());
        if renewed {
            self.granted = None;
        }
        self.credential = Some(credential.clone());
        // The credential is sent without the word before it.
        self.hide(bare(&credential));
        self.hide(&credential);
        self.from_file = from_file;
        let Some(fetcher) = &mut self.fetcher else {
            return Ok((bearer(&credential)?, renewed));
        };
        if let Some(kept) = self.granted.as_ref().filter(|k| Instant::now() < k.until) {
            return Ok((kept.token.clone(), renewed));
        }
        let fetched = fetcher.fetch(&credential).await;
        let result = match &fetched {
            Ok(_) => OK,
            Err(OAuthError::Refused(_) | OAuthError::Lasting(_)) => REFUSED,
            Err(OAuthError::Passing(_)) => FAILED,
        };
        counter!(metric::TOKEN_REFRESHES, "source" => self.source.clone(), "result" => result)
            .increment(1);
        let granted = fetched.map_err(|error| match error {
            OAuthError::Refused(reason) => TokenError::Refused(reason),
            OAuthError::Lasting(reason) => TokenError::Lasting(reason),
            OAuthError::Passing(reason) => TokenError::Passing(reason),
        })?;
        self.hide(&granted.token);
        self.granted = Some(Kept {
            token: granted.token.clone(),
            until: Instant::now() + usable_for(granted.lifetime),
        });
        Ok((granted.token, renewed))
    }

    /// Discards a token that the provider refused, so that the next one is fetched.
    pub(crate) fn discard(&mut self) {
        self.granted = None;
    }

    /// Resolves when the content of the file differs from the last credential.
    pub(crate) async fn changed(&self) {
        let Some(path) = self.file.as_deref().filter(|_| self.from_file) else {
            return std::future::pending().await;
        };
        loop {
            sleep(LOOK).await;
            let now = from_file(path).await;
            if now.is_ok_and(|now| self.credential.as_deref() != Some(now.as_str())) {
                return;
            }
        }
    }

    /// `text` without the secrets, in case a server repeats them.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut secrets: Vec<&String> = self.hidden.iter().collect();
        // A secret may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = text.to_owned();
        for secret in secrets {
            text = text.replace(secret.as_str(), "(hidden)");
        }
        text
    }

    fn hide(&mut self, secret: &str) {
        // Replacing a shorter secret would only garble the text.
        if secret.len() <= 3 {
            return;
        }
        self.hidden.retain(|known| known != secret);
        if self.hidden.len() >= HIDDEN {
            self.hidden.pop_front();
        }
        self.hidden.push_back(secret.to_owned());
    }

    /// The credential, and whether it comes from the file.
    async fn credential(&self, stored: Option<String>) -> Result<(String, bool), String> {
        if let Some(secret) = stored {
            return Ok((usable(&secret, "its secret")?, false));
        }
        if let Some(name) = &self.env {
            return Ok((from_environment(name)?, false));
        }
        if let Some(path) = &self.file {
            return Ok((from_file(path).await?, true));
        }
        let what = if self.fetcher.is_some() {
            "client's secret"
        } else {
            "token"
        };
        Err(format!(
            "it has no {what}: give it one by tidings.rotate_secret, or the option token_env or token_file"
        ))
    }
}

fn usable_for(lifetime: Duration) -> Duration {
    lifetime.saturating_sub(GREATEST_MARGIN.min(lifetime / 5))
}

/// A token without the word before it.
fn bare(credential: &str) -> &str {
    match credential.split_at_checked(7) {
        Some((word, token)) if word.eq_ignore_ascii_case("bearer ") => token.trim(),
        _ => credential,
    }
}

/// A token as an Authorization value.
fn bearer(credential: &str) -> Result<String, TokenError> {
    let token = bare(credential);
    if token.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    let reason = "its token has characters that cannot be sent: give it as the provider does";
    Err(TokenError::Missing(reason.to_owned()))
}

fn from_environment(name: &str) -> Result<String, String> {
    // The option comes from Postgres, and this variable must not be sent to an endpoint.
    if name == "DATABASE_URL" {
        return Err("its option token_env names DATABASE_URL, which is no token".to_owned());
    }
    let value = std::env::var(name).map_err(|_| {
        format!("its token is to be in the environment variable {name}, which is not set")
    })?;
    usable(&value, &format!("the environment variable {name}"))
}

async fn from_file(path: &str) -> Result<String, String> {
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        let mut text = String::new();
        file.take(LARGEST_FILE).read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = read
        .await
        .map_err(|error| format!("its token_file {path:?} cannot be read: {error}"))?;
    usable(&text, &format!("its token_file {path:?}"))
}

fn usable(text: &str, what: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err(format!("{what} is empty")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
