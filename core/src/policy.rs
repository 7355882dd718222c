//! Whether a request carries what its source demands.
//!
//! The policy fails closed. A source with secrets refuses a request that carries none of
//! them, and a webhook source with neither a secret nor a URL token refuses everything
//! unless `allow_unauthenticated` is set. During the overlap of a rotation several
//! secrets are accepted.

use std::borrow::Cow;

use crate::{
    provider::{Provider, Scheme},
    signature::{same_secret, verify_hmac_sha1},
};

/// What a source demands.
#[derive(Clone, Debug, Default)]
pub struct Demands<'a> {
    /// Accepted secrets of the provider's own scheme.
    pub secrets: Vec<&'a str>,
    /// Accepted URL tokens, one of which is demanded in addition to the scheme.
    pub url_tokens: Vec<&'a str>,
    pub allow_unauthenticated: bool,
}

/// The header that carries the token of the URL; the receiver of the request sets it.
pub const URL_TOKEN_HEADER: &str = "url-token";

/// Whether a request with this body and these headers (names in lower case) meets the
/// demands of a source of this provider.
pub fn verify<'h>(
    provider: &Provider,
    demands: &Demands<'_>,
    body: &[u8],
    header: impl Fn(&str) -> Option<Cow<'h, str>>,
) -> bool {
    let carries = |expected: &[&str], presented: Option<Cow<'_, str>>| {
        presented.is_some_and(|presented| {
            expected.iter().fold(false, |found, secret| {
                found | same_secret(secret, &presented)
            })
        })
    };

    // If the URL token is the provider's own scheme, its secrets are URL tokens too.
    let mut url_tokens = demands.url_tokens.clone();
    let mut secrets = demands.secrets.as_slice();
    if matches!(provider.scheme, Scheme::UrlToken) {
        url_tokens.extend(secrets);
        secrets = &[];
    }

    if !url_tokens.is_empty() && !carries(&url_tokens, header(URL_TOKEN_HEADER)) {
        return false;
    }
    match provider.scheme {
        // The worker opened the connection, so that whatever arrives on it is the
        // provider's.
        Scheme::Dialed(_) => true,
        _ if secrets.is_empty() => !url_tokens.is_empty() || demands.allow_unauthenticated,
        Scheme::Authorization => carries(secrets, header("authorization")),
        Scheme::HmacSha1 { header: name, .. } => header(name).is_some_and(|signature| {
            secrets.iter().fold(false, |found, key| {
                found | verify_hmac_sha1(body, key.as_bytes(), &signature)
            })
        }),
        Scheme::UrlToken => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    const BODY: &[u8] = br#"{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}"#;
    const KEY: &str = "5d411352784425000bd02a15";
    const HEX: &str = "76f0823ba5b77649859f8d91fe352b24750dff62";

    fn ask(provider: &str, demands: &Demands<'_>, headers: &[(&str, &'static str)]) -> bool {
        let find = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| Cow::Borrowed(*value))
        };
        verify(provider::find(provider).unwrap(), demands, BODY, find)
    }

    fn demands<'a>(secrets: &[&'a str], url_tokens: &[&'a str]) -> Demands<'a> {
        Demands {
            secrets: secrets.into(),
            url_tokens: url_tokens.into(),
            allow_unauthenticated: false,
        }
    }

    #[test]
    fn a_webhook_source_that_demands_nothing_refuses_everything_unless_told_otherwise() {
        for provider in ["pushwoosh", "arpoone", "pushpushgo"] {
            assert!(!ask(provider, &demands(&[], &[]), &[]));
            let open = Demands {
                allow_unauthenticated: true,
                ..Demands::default()
            };
            assert!(ask(provider, &open, &[]));
        }
    }

    #[test]
    fn a_secret_is_demanded_even_where_none_would_have_to_be() {
        let open = Demands {
            allow_unauthenticated: true,
            ..demands(&["Bearer a"], &[])
        };
        assert!(!ask("pushwoosh", &open, &[]));
        assert!(!ask("pushwoosh", &open, &[("authorization", "Bearer b")]));
        assert!(ask("pushwoosh", &open, &[("authorization", "Bearer a")]));
    }

    #[test]
    fn any_live_secret_will_do() {
        let two = demands(&["old", KEY], &[]);
        assert!(ask("pushpushgo", &two, &[("x-ppg-signature", HEX)]));
        assert!(!ask(
            "pushpushgo",
            &demands(&["old"], &[]),
            &[("x-ppg-signature", HEX)]
        ));
        let tokens = demands(&["old", "new"], &[]);
        assert!(ask("arpoone", &tokens, &[("url-token", "new")]));
        assert!(!ask("arpoone", &tokens, &[("url-token", "newer")]));
    }

    #[test]
    fn a_url_token_is_demanded_on_top_of_the_scheme() {
        let both = demands(&[KEY], &["t"]);
        assert!(!ask("pushpushgo", &both, &[("x-ppg-signature", HEX)]));
        assert!(!ask("pushpushgo", &both, &[("url-token", "t")]));
        assert!(ask(
            "pushpushgo",
            &both,
            &[("url-token", "t"), ("x-ppg-signature", HEX)]
        ));
        assert!(ask(
            "pushpushgo",
            &demands(&[], &["t"]),
            &[("url-token", "t")]
        ));
    }

    #[test]
    fn an_empty_secret_matches_nothing() {
        assert!(!ask(
            "pushwoosh",
            &demands(&[""], &[]),
            &[("authorization", "")]
        ));
        assert!(!ask("arpoone", &demands(&[""], &[]), &[("url-token", "")]));
    }

    #[test]
    fn what_we_dialed_ourselves_needs_no_proof() {
        assert!(ask("ppoppo", &demands(&["bearer"], &[]), &[]));
    }
}
