//! Connects to the endpoint of a source for a check, with errors that say what to do.
//! Each step is bounded in time.

use std::{fmt::Display, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use crate::{
    dial::{
        self, DialError,
        connection::Connection,
        options::Dial,
        token::{TokenError, Tokens},
    },
    stream::desk::Resume,
};

const RESOLVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// The issuer's document and two attempts at a token, each of which has its own limit.
const TOKEN: Duration = Duration::from_secs(30);

/// A connected endpoint, and a token for it.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) connection: Connection,
    pub(crate) token: String,
    /// The tokens, which know what must not be shown.
    pub(crate) tokens: Tokens,
}

/// Resolves, connects and gets a token, in that order.
pub(crate) async fn reach(source: &str, dial: &Dial, resume: &Resume) -> Result<Reached, String> {
    resolve(dial).await?;
    let connect = timeout(CONNECT, dial::connect(dial, dial.keepalive)).await;
    let connect = connect.map_err(|_| {
        let seconds = CONNECT.as_secs();
        format!(
            "{} does not complete a connection within {seconds} s: is a firewall or proxy in between?",
            place(dial)
        )
    })?;
    let connection = connect.map_err(|error| match error {
        DialError::Passing(reason) => hinted(&reason),
        DialError::Lasting(reason) => reason,
    })?;
    let mut tokens = Tokens::new(source, dial);
    let Ok(got) = timeout(TOKEN, tokens.get(resume.secret.clone())).await else {
        let from = credential(dial, resume);
        let seconds = TOKEN.as_secs();
        return Err(format!("no token from {from} within {seconds} s"));
    };
    let (token, _) = got.map_err(|error| tokens.redact(&missing(&error, dial, resume)))?;
    Ok(Reached {
        connection,
        token,
        tokens,
    })
}

/// Where the credential of the source is, in the order of [`Tokens`].
pub(crate) fn credential(dial: &Dial, resume: &Resume) -> String {
    let at = match (&resume.secret, &dial.token_env, &dial.token_file) {
        (Some(_), _, _) => "the source's secret in Postgres".to_owned(),
        (None, Some(name), _) => format!("the environment variable {name}"),
        (None, None, Some(path)) => format!("the file {path}"),
        (None, None, None) => "nowhere".to_owned(),
    };
    match &dial.oauth {
        Some(oauth) => format!(
            "{} for the client {}, whose secret is {at}",
            oauth.server.host(),
            oauth.client_id
        ),
        None => at,
    }
}

/// The endpoint as in its option.
pub(crate) fn endpoint(dial: &Dial) -> String {
    let origin = dial.origin.to_string();
    format!("{}{}", origin.trim_end_matches('/'), dial.prefix)
}

async fn resolve(dial: &Dial) -> Result<(), String> {
    let host = dial.origin.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let advice = "check the option endpoint, and whether this host can resolve names";
    let unknown =
        |reason: &dyn Display| format!("the host {host} cannot be resolved: {reason}; {advice}");
    match timeout(RESOLVE, lookup_host((host, 0))).await {
        Ok(Ok(mut addresses)) => match addresses.next() {
            Some(_) => Ok(()),
            None => Err(unknown(&"it has no address")),
        },
        Ok(Err(error)) => Err(unknown(&error)),
        Err(_) => Err(unknown(&"no answer")),
    }
}

fn place(dial: &Dial) -> &str {
    dial.origin.authority().map_or("", |a| a.as_str())
}

/// Adds a hint to an error of dialing.
fn hinted(reason: &str) -> String {
    let hint = if reason.contains("InvalidContentType") {
        "; the server does not speak TLS: if that is intended, write http:// in the option endpoint"
    } else if reason.contains("NoApplicationProtocol") {
        "; the server does not speak HTTP/2, which gRPC needs: check the port"
    } else if reason.contains("refused") {
        "; nothing listens there: check the host and port of the option endpoint"
    } else {
        ""
    };
    format!("{reason}{hint}")
}

fn missing(error: &TokenError, dial: &Dial, resume: &Resume) -> String {
    let here = resume.secret.is_none() && dial.token_env.is_some();
    match error {
        TokenError::Missing(reason) if here => {
            format!("{reason}; this looks at the environment of this very process")
        }
        other => other.to_string(),
    }
}
