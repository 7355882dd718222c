//! Checks of sources whose provider sends to the worker: the paths, and the proof that a
//! request must carry.

use tidings_core::provider::{self, Scheme};

use super::{
    database::{KnownSource, Policy},
    findings::Finding,
    quoted,
};
use crate::sources::source::Source;

pub(super) fn findings(source: &Source, known: Option<&KnownSource>) -> Vec<Finding> {
    let name = quoted(&source.name);
    let subject = || format!("source {}", source.name);
    let provider = &source.provider;
    let Some(known) = known else {
        return vec![Finding::fail(subject(), "Postgres has no policy for it")];
    };
    let policy = &known.policy;
    let (paths, unusable) = paths(source, known);
    let mut findings = vec![match policy.accepts.as_str() {
        "nothing" => Finding::fail(
            subject(),
            format!(
                "{provider}: refuses everything, because it has no secret yet: run `select tidings.rotate_secret('{name}', ..)`"
            ),
        ),
        "anything" => Finding::warn(
            subject(),
            format!(
                "{provider}, enabled: accepts anything from anybody who finds its URL; to prevent that, set a secret: `select tidings.rotate_secret('{name}', ..)`"
            ),
        ),
        _ => Finding::ok(subject(), format!("{provider}, enabled: accepts requests with {}", proof(policy))),
    }
    .details(paths)];
    if let Some(reason) = unusable {
        findings.push(Finding::fail(subject(), format!("{provider}: {reason}")));
    }
    if let Some(Scheme::HmacSha1 {
        readable_key: Some(key),
        ..
    }) = provider::find(provider).map(|provider| provider.scheme)
        && policy.accepts == "proof"
        && policy.url_tokens == 0
    {
        findings.push(Finding::warn(
            subject(),
            format!(
                "its signature is keyed with {key}: demand a token in the URL too: `select tidings.set_source_options('{name}', '{{\"url_token\": \"..\"}}')`"
            ),
        ));
    }
    findings
}

/// The proof that a request must carry, in words.
fn proof(policy: &Policy) -> String {
    let several = |count: i32| match count {
        1 => String::new(),
        count => format!(" ({count} are valid)"),
    };
    let (mut secrets, mut tokens) = (policy.secrets, policy.url_tokens);
    if policy.scheme == "url-token" {
        // With this scheme a secret and a URL token are equivalent.
        tokens += secrets;
        secrets = 0;
    }
    let scheme = match policy.scheme.as_str() {
        "authorization" => "its secret as the whole Authorization value",
        "hmac-sha1" => "a signature made with its secret",
        other => other,
    };
    let scheme = (secrets > 0).then(|| format!("{scheme}{}", several(secrets)));
    let token = "its token at the end of the URL";
    let token = (tokens > 0).then(|| format!("{token}{}", several(tokens)));
    let both: Vec<String> = scheme.into_iter().chain(token).collect();
    both.join(" and ")
}

/// The paths to which the provider sends, and the reason if the source's own schema
/// cannot be used.
fn paths(source: &Source, known: &KnownSource) -> (Vec<String>, Option<String>) {
    let (name, policy) = (&source.name, &known.policy);
    let is_scheme = policy.scheme == "url-token" && policy.accepts != "anything";
    let in_url = is_scheme || policy.url_tokens > 0;
    let mut paths: Vec<_> = known
        .paths
        .iter()
        .map(|path| format!("HTTP: POST {path}"))
        .collect();
    if paths.is_empty() {
        paths.push(match in_url {
            true => format!(
                "HTTP: POST /hooks/{name}/{{token}} (`select tidings.webhook_paths('{}')` shows it to the owner of the extension)",
                quoted(name)
            ),
            false => format!("HTTP: POST /hooks/{name}"),
        });
    }
    if source.served_provider().is_none() {
        return (paths, None);
    }
    let schema = match source.spoken() {
        Ok(schema) => schema,
        Err(reason) => return (paths, Some(reason)),
    };
    let method = schema.path();
    let whose = match source.schema {
        Some(_) => "its own schema",
        None => "the worker's schema",
    };
    paths.push(if in_url {
        "gRPC: refused, because a gRPC call has no URL that could carry the url_token".to_owned()
    } else {
        format!("gRPC: {method} ({whose}), or the same with /{name} before it")
    });
    (paths, None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::check::findings::Word;

    fn found(provider: &str, scheme: &str, counts: (i32, i32), accepts: &str) -> Vec<Finding> {
        let source = Source {
            id: 1,
            name: "o'hook".into(),
            provider: provider.to_owned(),
            options: json!({}),
            enabled: true,
            schema: None,
            former_names: Vec::new(),
        };
        let known = KnownSource {
            policy: Policy {
                scheme: scheme.to_owned(),
                secrets: counts.0,
                url_tokens: counts.1,
                accepts: accepts.to_owned(),
            },
            ..KnownSource::default()
        };
        findings(&source, Some(&known))
    }

    #[test]
    fn what_refuses_everything_fails_and_says_how_to_end_that() {
        let found = found("arpoone", "url-token", (0, 0), "nothing");
        assert_eq!(found[0].word, Word::Fail);
        let advice = "select tidings.rotate_secret('o''hook', ..)";
        assert!(found[0].text.contains(advice), "{found:?}");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_anybody_may_send_is_warned_of() {
        let open = found("arpoone", "url-token", (0, 0), "anything");
        assert_eq!(open[0].word, Word::Warn);
        assert!(open[0].text.contains("accepts anything"), "{open:?}");

        let signed = found("pushpushgo", "hmac-sha1", (1, 0), "proof");
        let words: Vec<Word> = signed.iter().map(|found| found.word).collect();
        assert_eq!(words, [Word::Ok, Word::Warn]);
        assert!(signed[1].text.contains("url_token"), "{signed:?}");
        let both = found("pushpushgo", "hmac-sha1", (2, 1), "proof");
        assert_eq!(both.len(), 1);
        let takes =
            "a signature made with its secret (2 are valid) and its token at the end of the URL";
        assert!(both[0].text.ends_with(takes), "{both:?}");
    }

    #[test]
    fn where_it_is_sent_is_said() {
        let details =
            |provider, scheme, counts| found(provider, scheme, counts, "proof")[0].details.clone();
        assert_eq!(
            details("arpoone", "url-token", (1, 0)),
            [
                "HTTP: POST /hooks/o'hook/{token} (`select tidings.webhook_paths('o''hook')` shows it to the owner of the extension)"
            ]
        );
        let method = "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";
        assert_eq!(
            details("pushwoosh", "authorization", (1, 0)),
            [
                "HTTP: POST /hooks/o'hook".to_owned(),
                format!("gRPC: {method} (the worker's schema), or the same with /o'hook before it"),
            ]
        );
        let tokens = details("pushwoosh", "authorization", (1, 1));
        assert!(tokens[1].starts_with("gRPC: refused"), "{tokens:?}");
    }
}
