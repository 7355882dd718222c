//! Whether a request carries what its source demands.
//!
//! The policy fails closed. A source with secrets refuses a request that carries none of
//! them, and a webhook source with neither a secret nor a URL token refuses everything
//! unless `allow_unauthenticated` is set. During the overlap of a rotation several
//! secrets are accepted.
//!
//! A source may allow some addresses alone. A request whose address is not known is then
//! refused like one from another address.
//!
//! A body that was compressed arrives here without its coding. Its provider may have signed
//! either form, because no provider says which. The bytes as sent come in a header, and their
//! signature counts only if they become exactly this body.

use std::{borrow::Cow, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    encoding::{self, Coding},
    network::{self, Network},
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
    /// The networks that requests are accepted from; `None` for all.
    pub allow_from: Option<Vec<&'a str>>,
}

/// The header that carries the address of the sender; the receiver of the request sets it.
pub const PEER_ADDRESS_HEADER: &str = "peer-address";

/// The header that carries the bytes as sent, in base64, of a body that was compressed; the
/// receiver of the request sets it.
pub const BODY_AS_SENT_HEADER: &str = "body-as-sent";

/// The header that names the coding of these bytes.
const CONTENT_ENCODING: &str = "content-encoding";

/// The header that carries the token of the URL; the receiver of the request sets it.
pub const URL_TOKEN_HEADER: &str = "url-token";

/// The header whose whole value is the secret of [`Scheme::Authorization`].
const AUTHORIZATION: &str = "authorization";

/// What a request lacks of its source's demands. It names no secret and no part of one, and
/// is for the owner of the source alone: the sender learns only that it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    #[error("the source allows some addresses alone (allow_from), and the sender's is not known")]
    NoAddress,
    #[error("the source does not allow the address {0} (allow_from)")]
    WrongAddress(IpAddr),
    #[error("the source has neither a secret nor a URL token, so it refuses every request")]
    NoSecret,
    #[error("the URL carries no token")]
    NoUrlToken,
    #[error("the token in the URL does not match")]
    WrongUrlToken,
    #[error("the header {0} is missing")]
    NoHeader(&'static str),
    #[error("the value of the header {0} does not match")]
    WrongHeader(&'static str),
    #[error("the signature in the header {0} does not match the body")]
    WrongSignature(&'static str),
}

/// Checks that a request with this body and these headers (names in lower case) meets the
/// demands of a source of this provider.
pub fn verify<'h>(
    provider: &Provider,
    demands: &Demands<'_>,
    body: &[u8],
    header: impl Fn(&str) -> Option<Cow<'h, str>>,
) -> Result<(), Unmet> {
    if let Some(allowed) = &demands.allow_from {
        let address = peer_address(&header).ok_or(Unmet::NoAddress)?;
        let is_met = any(allowed, |network| {
            let network = network.parse::<Network>();
            network.is_ok_and(|network| network.contains(address))
        });
        require(is_met, Unmet::WrongAddress(address))?;
    }
    // If the URL token is the provider's own scheme, its secrets are URL tokens too.
    let mut url_tokens = demands.url_tokens.clone();
    let mut secrets = demands.secrets.as_slice();
    if matches!(provider.scheme, Scheme::UrlToken) {
        url_tokens.extend(secrets);
        secrets = &[];
    }

    if !url_tokens.is_empty() {
        let token = header(URL_TOKEN_HEADER).ok_or(Unmet::NoUrlToken)?;
        let is_met = any(&url_tokens, |expected| same_secret(expected, &token));
        require(is_met, Unmet::WrongUrlToken)?;
    }
    match provider.scheme {
        // The worker opened the connection, so that whatever arrives on it is the
        // provider's.
        Scheme::Dialed(_) => Ok(()),
        _ if secrets.is_empty() => {
            let is_met = !url_tokens.is_empty() || demands.allow_unauthenticated;
            require(is_met, Unmet::NoSecret)
        }
        Scheme::Authorization => {
            let value = header(AUTHORIZATION).ok_or(Unmet::NoHeader(AUTHORIZATION))?;
            let is_met = any(secrets, |expected| same_secret(expected, &value));
            require(is_met, Unmet::WrongHeader(AUTHORIZATION))
        }
        Scheme::HmacSha1 { header: name, .. } => {
            let signature = header(name).ok_or(Unmet::NoHeader(name))?;
            let sent = as_sent(body, &header);
            let forms = [Some(body), sent.as_deref()];
            let is_met = any(secrets, |key| {
                let fits = |form: &&[u8]| verify_hmac_sha1(form, key.as_bytes(), &signature);
                forms.iter().flatten().filter(|form| fits(form)).count() > 0
            });
            require(is_met, Unmet::WrongSignature(name))
        }
        // Its secrets are among the URL tokens.
        Scheme::UrlToken => Err(Unmet::NoSecret),
    }
}

/// The address of the sender, if it is known.
pub fn peer_address<'h>(header: impl Fn(&str) -> Option<Cow<'h, str>>) -> Option<IpAddr> {
    network::address(&header(PEER_ADDRESS_HEADER)?)
}

/// The bytes as sent of a body that was compressed; `None` if they are not this body's.
fn as_sent<'h>(body: &[u8], header: impl Fn(&str) -> Option<Cow<'h, str>>) -> Option<Vec<u8>> {
    let mut sent = header(BODY_AS_SENT_HEADER)?.into_owned();
    // Postgres breaks the lines of base64.
    sent.retain(|character| !character.is_ascii_whitespace());
    let sent = STANDARD.decode(sent).ok()?;
    let coding = Coding::named([&*header(CONTENT_ENCODING)?]).ok()??;
    encoding::is_of(coding, &sent, body).then_some(sent)
}

/// Whether one of the secrets fits. All of them are tried, so that the time does not tell
/// which one it was.
fn any(secrets: &[&str], fits: impl Fn(&str) -> bool) -> bool {
    secrets
        .iter()
        .fold(false, |found, secret| found | fits(secret))
}

fn require(is_met: bool, unmet: Unmet) -> Result<(), Unmet> {
    if is_met { Ok(()) } else { Err(unmet) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    const BODY: &[u8] = br#"{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}"#;
    const KEY: &str = "5d411352784425000bd02a15";
    const HEX: &str = "76f0823ba5b77649859f8d91fe352b24750dff62";

    fn ask(provider: &str, demands: &Demands<'_>, headers: &[(&str, &'static str)]) -> bool {
        check(provider, demands, headers).is_ok()
    }

    fn check(
        provider: &str,
        demands: &Demands<'_>,
        headers: &[(&str, &'static str)],
    ) -> Result<(), Unmet> {
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
            ..Demands::default()
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
    fn a_source_may_allow_some_addresses_alone() {
        let allowed = |networks: &[&'static str]| Demands {
            allow_from: Some(networks.into()),
            ..demands(&[], &["t"])
        };
        let token = ("url-token", "t");
        let from = |address| ("peer-address", address);
        let two = allowed(&["192.0.2.0/24", "2001:db8::1"]);
        for address in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"] {
            assert!(ask("arpoone", &two, &[token, from(address)]), "{address}");
            assert!(
                !ask("arpoone", &two, &[from(address)]),
                "the token is demanded too"
            );
        }
        let other = "203.0.113.9".parse().unwrap();
        for (demands, headers, unmet) in [
            (&two, vec![token], Unmet::NoAddress),
            (&two, vec![token, from("")], Unmet::NoAddress),
            (&two, vec![token, from("192.0.2.7:80")], Unmet::NoAddress),
            (&two, vec![token, from("unknown")], Unmet::NoAddress),
            (
                &two,
                vec![token, from("203.0.113.9")],
                Unmet::WrongAddress(other),
            ),
            (
                &two,
                vec![token, from("::ffff:203.0.113.9")],
                Unmet::WrongAddress(other),
            ),
            (
                &allowed(&[]),
                vec![token, from("203.0.113.9")],
                Unmet::WrongAddress(other),
            ),
            // An option that no check has seen, as after a careless restore, allows nobody.
            (
                &allowed(&["*"]),
                vec![token, from("203.0.113.9")],
                Unmet::WrongAddress(other),
            ),
        ] {
            assert_eq!(check("arpoone", demands, &headers), Err(unmet));
        }
    }

    /// The bytes as sent are proof only if they are this very body.
    #[test]
    fn a_compressed_body_is_signed_in_either_form() {
        use std::io::Write as _;
        let gzip = |body: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        };
        let key = demands(&["other", KEY], &[]);
        let signed = |sent: &[u8], headers: &[(&str, String)]| {
            let signature = hex::encode(crate::signature::hmac_sha1(sent, KEY.as_bytes()));
            let find = |name: &str| {
                let given = headers.iter().find(|(n, _)| *n == name);
                let given = given.map(|(_, value)| Cow::Owned(value.clone()));
                given.or_else(|| (name == "x-ppg-signature").then(|| signature.clone().into()))
            };
            verify(provider::find("pushpushgo").unwrap(), &key, BODY, find)
        };
        let coding = || ("content-encoding", "gzip".to_owned());
        let sent = |bytes: &[u8]| ("body-as-sent", STANDARD.encode(bytes));
        let (packed, other) = (gzip(BODY), gzip(b"{}"));
        let wrong = Err(Unmet::WrongSignature("x-ppg-signature"));
        assert_eq!(signed(&packed, &[coding(), sent(&packed)]), Ok(()));
        assert_eq!(signed(BODY, &[coding(), sent(&packed)]), Ok(()));
        let broken = STANDARD.encode(&packed).replace('4', "\n4");
        let broken = [coding(), ("body-as-sent", broken)];
        assert_eq!(signed(&packed, &broken), Ok(()), "{broken:?}");
        for (signed_bytes, headers) in [
            (&packed, vec![]),
            (&packed, vec![sent(&packed)]),
            (
                &packed,
                vec![("content-encoding", "deflate".to_owned()), sent(&packed)],
            ),
            // A right signature of another body.
            (&other, vec![coding(), sent(&other)]),
            (&other, vec![coding(), sent(&packed)]),
            (
                &packed,
                vec![coding(), ("body-as-sent", "no base64".to_owned())],
            ),
        ] {
            assert_eq!(signed(signed_bytes, &headers), wrong, "{headers:?}");
        }
    }

    #[test]
    fn what_we_dialed_ourselves_needs_no_proof() {
        assert!(ask("ppoppo", &demands(&["bearer"], &[]), &[]));
    }

    #[test]
    fn a_refusal_says_what_is_missing_or_does_not_match() {
        let signature = "x-ppg-signature";
        let none = demands(&[], &[]);
        let bearer = demands(&["Bearer a"], &[]);
        let key = demands(&[KEY], &[]);
        let token = demands(&["t"], &[]);
        let both = demands(&[KEY], &["t"]);
        for (provider, demands, headers, unmet) in [
            ("pushwoosh", &none, vec![], Unmet::NoSecret),
            ("arpoone", &none, vec![("url-token", "t")], Unmet::NoSecret),
            ("pushpushgo", &none, vec![(signature, HEX)], Unmet::NoSecret),
            (
                "pushwoosh",
                &bearer,
                vec![],
                Unmet::NoHeader("authorization"),
            ),
            (
                "pushwoosh",
                &bearer,
                vec![("authorization", "Bearer b")],
                Unmet::WrongHeader("authorization"),
            ),
            ("pushpushgo", &key, vec![], Unmet::NoHeader(signature)),
            (
                "pushpushgo",
                &key,
                vec![(signature, &HEX[..16])],
                Unmet::WrongSignature(signature),
            ),
            ("arpoone", &token, vec![], Unmet::NoUrlToken),
            (
                "arpoone",
                &token,
                vec![("url-token", "u")],
                Unmet::WrongUrlToken,
            ),
            (
                "pushpushgo",
                &both,
                vec![(signature, HEX)],
                Unmet::NoUrlToken,
            ),
            (
                "pushpushgo",
                &both,
                vec![(signature, HEX), ("url-token", "u")],
                Unmet::WrongUrlToken,
            ),
            (
                "pushpushgo",
                &both,
                vec![("url-token", "t")],
                Unmet::NoHeader(signature),
            ),
        ] {
            assert_eq!(check(provider, demands, &headers), Err(unmet));
        }
    }

    /// Otherwise the time would tell which of the secrets it was.
    #[test]
    fn every_secret_is_tried_also_after_one_that_fits() {
        let tried = std::cell::Cell::new(0);
        let found = any(&["a", "b", "c"], |secret| {
            tried.set(tried.get() + 1);
            secret == "a"
        });
        assert!(found);
        assert_eq!(tried.get(), 3);
    }
}
