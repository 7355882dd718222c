//! Token endpoints that are found by the document of their issuer.

use super::*;

/// The document of an issuer, and its token endpoint, which `grants` or not.
fn issuer(
    asked: &Asked,
    document: impl Fn(&str) -> Value,
    grants: impl Fn(&Asked) -> Answer,
) -> Answer {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/.well-known/openid-configuration") => {
            (200, document(&format!("http://{}", asked.host)).to_string())
        }
        ("POST", _) => grants(asked),
        _ => (404, String::new()),
    }
}

fn usual(origin: &str) -> Value {
    json!({"issuer": origin, "token_endpoint": format!("{origin}/oauth/token")})
}

fn paths(endpoint: &TokenEndpoint) -> Vec<String> {
    endpoint.asked().into_iter().map(|a| a.path).collect()
}

/// The document of an issuer at this origin.
type Document = fn(&str) -> Value;

const DOCUMENT: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn an_issuers_document_is_read_once_and_again_after_a_failure() {
    let endpoint = TokenEndpoint::start(|asked| {
        issuer(asked, usual, |asked| match asked.number {
            4 => (503, "moving".to_owned()),
            _ => granted(),
        })
    })
    .await;
    let mut fetcher = of_source(json!({"issuer": endpoint.origin()}));
    assert!(fetcher.fetch(SECRET).await.is_ok());
    assert!(fetcher.fetch(SECRET).await.is_ok());
    let error = fetcher.fetch(SECRET).await.unwrap_err();
    assert!(matches!(error, OAuthError::Passing(_)), "{error}");
    assert!(fetcher.fetch(SECRET).await.is_ok());
    let token = "/oauth/token";
    let expected = [DOCUMENT, token, token, token, DOCUMENT, token];
    assert_eq!(paths(&endpoint), expected);

    let mut with_a_slash = of_source(json!({"issuer": format!("{}/", endpoint.origin())}));
    assert!(with_a_slash.fetch(SECRET).await.is_ok());
    assert_eq!(paths(&endpoint)[expected.len()..], [DOCUMENT, token]);
}

#[tokio::test]
async fn a_document_that_may_not_be_the_issuers_gets_no_secret() {
    let other = |_: &str| json!({"issuer": "https://evil.example", "token_endpoint": "https://evil.example/t"});
    let plain =
        |origin: &str| json!({"issuer": origin, "token_endpoint": "http://accounts.example/t"});
    let with_user = |origin: &str| json!({"issuer": origin, "token_endpoint": "https://a:b@accounts.example/t"});
    let none = |origin: &str| json!({"issuer": origin});
    let nameless = |origin: &str| json!({"token_endpoint": format!("{origin}/oauth/token")});
    let documents: [(Document, &str); 6] = [
        (other, "another issuer, https://evil.example"),
        (
            |origin| json!({"issuer": format!("{origin}//")}),
            "another issuer",
        ),
        (plain, "https URL"),
        (with_user, "https URL"),
        (none, "names no token_endpoint"),
        (nameless, "names no issuer"),
    ];
    for (document, part) in documents {
        let endpoint =
            TokenEndpoint::start(move |asked| issuer(asked, document, |_| granted())).await;
        let mut fetcher = of_source(json!({"issuer": endpoint.origin()}));
        let error = fetcher.fetch(SECRET).await.unwrap_err();
        assert!(!matches!(error, OAuthError::Passing(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(paths(&endpoint), [DOCUMENT]);
    }
}

#[tokio::test]
async fn an_issuer_without_a_document_says_what_to_do() {
    for (status, passes) in [(404, false), (302, false), (503, true), (429, true)] {
        let endpoint = TokenEndpoint::start(move |_| (status, "<html>".to_owned())).await;
        let mut fetcher = of_source(json!({"issuer": endpoint.origin()}));
        let error = fetcher.fetch(SECRET).await.unwrap_err();
        assert_eq!(matches!(error, OAuthError::Passing(_)), passes, "{error}");
        let text = error.to_string();
        assert!(text.contains(DOCUMENT), "{text}");
        assert_eq!(text.contains("option issuer"), !passes, "{text}");
    }
    let endpoint = TokenEndpoint::start(|_| (200, " ".repeat(LARGEST_ANSWER + 1))).await;
    let mut fetcher = of_source(json!({"issuer": endpoint.origin()}));
    let error = fetcher.fetch(SECRET).await.unwrap_err();
    assert!(error.to_string().contains("too many bytes"), "{error}");
}
