//! Against a token endpoint over a real socket.

mod issuer;

use serde_json::json;

use super::{http::LARGEST_ANSWER, *};
use crate::{
    dial::options::Dial,
    testing::endpoint::{Answer, Asked, TokenEndpoint},
};

const SECRET: &str = "s3cret+/&=";

fn granted() -> Answer {
    let body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600});
    (200, body.to_string())
}

/// Of a provider that documents nothing.
fn fetcher(url: &str, scope: Option<&str>) -> Fetcher {
    let plan = OAuth {
        server: Server::Endpoint(url.parse().unwrap()),
        client_id: "app one".to_owned(),
        resource: None,
        scope: scope.map(str::to_owned),
        needed: None,
        in_form: false,
        is_open: false,
    };
    Fetcher::new(plan, None)
}

/// Of a source with these options, and a client.
fn of_source(mut options: Value) -> Fetcher {
    options["client_id"] = json!("app one");
    let dial = Dial::new("ppoppo", &options).unwrap();
    Fetcher::new(dial.oauth.unwrap(), None)
}

async fn fetch_from(
    answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> (Result<Granted, OAuthError>, TokenEndpoint) {
    let endpoint = TokenEndpoint::start(answer).await;
    let result = fetcher(&endpoint.url, None).fetch(SECRET).await;
    (result, endpoint)
}

async fn refused(status: u16, body: &'static str) -> OAuthError {
    let (result, _) = fetch_from(move |_| (status, body.to_owned())).await;
    result.unwrap_err()
}

fn form<const N: usize>(fields: [(&str, &str); N]) -> std::collections::HashMap<String, String> {
    fields.map(|(k, v)| (k.into(), v.into())).into()
}

#[tokio::test]
async fn ppoppo_token_endpoint() {
    let endpoint = TokenEndpoint::start(|_| granted()).await;
    let mut fetcher = of_source(json!({"token_url": endpoint.url}));
    let token = fetcher.fetch(SECRET).await.unwrap();
    assert_eq!(token.token, "t");
    assert_eq!(token.lifetime, Duration::from_secs(3600));

    let asked = endpoint.asked();
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/oauth/token")
    );
    assert_eq!(asked.content_type, "application/x-www-form-urlencoded");
    // Byte for byte, and no scope.
    let expected = form([
        ("grant_type", "client_credentials"),
        ("resource", "https://chat.ppoppo.com/ext"),
        ("client_id", "app one"),
        ("client_secret", SECRET),
    ]);
    assert_eq!(asked.form, expected);
    assert_eq!(asked.authorization, None);
}

#[tokio::test]
async fn a_client_may_prove_itself_in_a_header() {
    let endpoint = TokenEndpoint::start(|_| granted()).await;
    let mut fetcher = fetcher(&endpoint.url, Some("messaging"));
    fetcher.fetch(SECRET).await.unwrap();
    let asked = endpoint.asked().pop().unwrap();
    let expected = form([("grant_type", "client_credentials"), ("scope", "messaging")]);
    assert_eq!(asked.form, expected);
    // RFC 6749, section 2.3.1: form-encoded, then joined.
    let pair = BASE64_STANDARD.encode("app+one:s3cret%2B%2F%26%3D");
    assert_eq!(asked.authorization, Some(format!("Basic {pair}")));
}

#[tokio::test]
async fn a_server_that_wants_another_proof_is_shown_that_from_then_on() {
    let header = TokenEndpoint::start(|asked| match asked.authorization {
        Some(_) => granted(),
        None => (401, r#"{"error":"invalid_client"}"#.to_owned()),
    })
    .await;
    let mut form_first = of_source(json!({"token_url": header.url}));
    assert!(form_first.fetch(SECRET).await.is_ok());
    assert!(form_first.fetch(SECRET).await.is_ok());
    let basic = header.asked();
    let basic = basic.iter().map(|a| a.authorization.is_some());
    assert_eq!(Vec::from_iter(basic), [false, true, true]);

    let endpoint = TokenEndpoint::start(|asked| {
        let proved = asked.form.get("client_secret").is_some_and(|s| s == SECRET)
            && asked
                .form
                .get("client_id")
                .is_some_and(|id| id == "app one");
        if proved && asked.authorization.is_none() {
            granted()
        } else {
            (401, r#"{"error":"invalid_client"}"#.to_owned())
        }
    })
    .await;
    let mut fetcher = fetcher(&endpoint.url, None);
    assert!(fetcher.fetch(SECRET).await.is_ok());
    assert!(fetcher.fetch(SECRET).await.is_ok());
    let basic = endpoint
        .asked()
        .iter()
        .map(|a| a.authorization.is_some())
        .collect::<Vec<_>>();
    assert_eq!(basic, [true, false, false]);
}

#[tokio::test]
async fn what_a_server_repeats_of_the_secret_is_hidden() {
    let endpoint = TokenEndpoint::start(|asked| {
        let heard = format!("{:?} {:?}", asked.authorization, asked.form);
        let answer = serde_json::json!({"error": "invalid_client", "error_description": heard});
        (401, answer.to_string())
    })
    .await;
    let mut fetcher = fetcher(&format!("{}?hint=s3cret", endpoint.url), None);
    let sent = basic(&fetcher.plan.client_id, SECRET);
    for proof in [Proof::Basic, Proof::Form] {
        fetcher.proof = proof;
        let error = fetcher.fetch(SECRET).await.unwrap_err().to_string();
        assert!(error.contains("(hidden)"), "{error}");
        assert!(
            !error.contains("s3cret") && !error.contains(&sent),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_refusal_names_the_endpoint_and_the_code_and_no_secret() {
    let (result, endpoint) = fetch_from(|_| {
        (
            401,
            r#"{"error":"invalid_client","error_description":"unknown app"}"#.to_owned(),
        )
    })
    .await;
    let OAuthError::Refused(line) = result.unwrap_err() else {
        panic!("it is refused");
    };
    let expected = format!("{} answers 401 invalid_client: unknown app", endpoint.url);
    assert!(line.contains(&expected), "{line}");
    assert!(line.contains("client_id"), "{line}");
    assert!(!line.contains("s3cret"), "{line}");
    assert_eq!(endpoint.asked().len(), 2, "by both proofs");

    let (result, endpoint) = fetch_from(|_| (400, r#"{"error":"invalid_scope"}"#.to_owned())).await;
    assert!(result.unwrap_err().to_string().contains("option scope"));
    assert_eq!(endpoint.asked().len(), 1, "it has proved itself");
}

#[tokio::test]
async fn what_may_pass_is_told_from_what_may_not() {
    for status in [500, 502, 503, 429, 408] {
        assert!(
            matches!(refused(status, "busy").await, OAuthError::Passing(_)),
            "{status}"
        );
    }
    for status in [400, 401, 403, 404, 302, 307] {
        assert!(
            matches!(refused(status, "").await, OAuthError::Refused(_)),
            "{status}"
        );
    }
    let redirected = refused(307, "").await.to_string();
    assert!(redirected.contains("redirects"), "{redirected}");
    let nobody = fetcher("http://127.0.0.1:1/", None).fetch(SECRET).await;
    assert!(matches!(nobody, Err(OAuthError::Passing(_))), "{nobody:?}");
}

#[tokio::test]
async fn answers_are_read_liberally() {
    for (body, seconds) in [
        (r#"{"access_token":"t"}"#, 300),
        (
            r#"{"access_token":"t","token_type":"bearer","expires_in":"60"}"#,
            60,
        ),
        (r#"{"access_token":"t","expires_in":59.9,"x":[1]}"#, 59),
        (r#"{"access_token":"t","expires_in":null}"#, 300),
        (r#"{"access_token":"t","expires_in":-5}"#, 0),
        (r#"{"access_token":"t","expires_in":1e300}"#, 24 * 3600),
    ] {
        let (result, _) = fetch_from(move |_| (200, body.to_owned())).await;
        assert_eq!(result.unwrap().lifetime.as_secs(), seconds, "{body}");
    }
}

#[tokio::test]
async fn an_answer_without_a_token_that_can_be_sent_is_refused() {
    for body in [
        "",
        "<html>login</html>",
        "[]",
        r#"{"access_token":""}"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"t","token_type":"mac"}"#,
    ] {
        assert!(
            matches!(refused(200, body).await, OAuthError::Refused(_)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let (result, _) = fetch_from(|_| (200, " ".repeat(LARGEST_ANSWER + 1))).await;
    assert!(result.unwrap_err().to_string().contains("too many bytes"));
}

#[test]
fn a_token_is_in_no_debug_output() {
    let granted = Granted {
        token: "ey.secret".to_owned(),
        lifetime: LIFETIME,
    };
    assert!(!format!("{granted:?}").contains("secret"));
}

#[tokio::test]
async fn a_secret_is_hidden_where_a_long_text_is_cut_off() {
    for before in 280..301 {
        let said = format!("{}{SECRET}", "x".repeat(before));
        let answer = json!({"error": "invalid_scope", "error_description": said}).to_string();
        let (result, _) = fetch_from(move |_| (400, answer.clone())).await;
        let error = result.unwrap_err().to_string();
        assert!(!error.contains("xs3"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_by_the_other_proof_is_told_if_the_client_has_proved_itself() {
    let endpoint = TokenEndpoint::start(|asked| match asked.authorization {
        Some(_) => (400, r#"{"error":"invalid_target"}"#.to_owned()),
        None => (401, r#"{"error":"invalid_client"}"#.to_owned()),
    })
    .await;
    let mut fetcher = of_source(json!({"token_url": endpoint.url}));
    for asked in [2, 3] {
        let error = fetcher.fetch(SECRET).await.unwrap_err();
        assert!(matches!(error, OAuthError::Lasting(_)), "{error}");
        assert_eq!(endpoint.asked().len(), asked);
    }
}

#[tokio::test]
async fn a_refused_resource_is_told_as_it_was_sent() {
    let endpoint =
        TokenEndpoint::start(|_| (400, r#"{"error":"invalid_target"}"#.to_owned())).await;
    let refused = async |options: Value| {
        let OAuthError::Lasting(line) = of_source(options).fetch(SECRET).await.unwrap_err() else {
            panic!("it lasts");
        };
        line
    };
    let line = refused(json!({"token_url": endpoint.url})).await;
    for part in [
        "400 invalid_target",
        r#"the resource "https://chat.ppoppo.com/ext""#,
        "byte for byte",
        "option resource",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let line = refused(json!({"token_url": endpoint.url, "resource": "urn:x"})).await;
    assert!(line.contains(r#""urn:x""#), "{line}");
    assert_eq!(endpoint.asked().len(), 2, "the client has proved itself");
}

#[tokio::test]
async fn a_grant_without_the_scope_that_is_needed_lasts() {
    let scoped = async |scope: Value, options: Value| {
        let body = json!({"access_token": "t", "scope": scope}).to_string();
        let endpoint = TokenEndpoint::start(move |_| (200, body.clone())).await;
        let mut options = options;
        options["token_url"] = json!(endpoint.url);
        of_source(options).fetch(SECRET).await
    };
    for granted in [
        json!("chat.read"),
        json!("chat.send chat.read"),
        json!(null),
        json!(7),
    ] {
        assert!(scoped(granted, json!({})).await.is_ok());
    }
    for (granted, options, advice) in [
        (
            "chat.send",
            json!({}),
            "ask the provider to grant chat.read",
        ),
        ("", json!({}), "ask the provider"),
        (
            "chat.reader",
            json!({"scope": "chat.read"}),
            "ask the provider",
        ),
        (
            "chat.send",
            json!({"scope": "chat.send"}),
            "add chat.read to the option scope",
        ),
    ] {
        let error = scoped(json!(granted), options).await.unwrap_err();
        let OAuthError::Lasting(line) = error else {
            panic!("{error}");
        };
        assert!(
            line.contains("lacks chat.read") && line.contains(advice),
            "{line}"
        );
    }
}
