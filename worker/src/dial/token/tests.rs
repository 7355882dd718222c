use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::testing::endpoint::TokenEndpoint;

fn tokens(mut options: Value) -> Tokens {
    options["endpoint"] = json!("http://localhost:1");
    Tokens::new("chat", &Dial::new("ppoppo", &options).unwrap())
}

async fn token(options: Value, stored: Option<&str>) -> Result<String, TokenError> {
    let mut tokens = tokens(options);
    let (token, _) = tokens.get(stored.map(str::to_owned)).await?;
    Ok(token)
}

#[tokio::test]
async fn the_stored_secret_comes_first() {
    let options = || json!({"token_env": "TIDINGS_TEST_UNSET"});
    assert_eq!(token(options(), Some(" stored\n")).await.unwrap(), "stored");
    let error = token(options(), None).await.unwrap_err().to_string();
    assert!(error.contains("TIDINGS_TEST_UNSET"), "{error}");
}

#[tokio::test]
async fn without_a_usable_token_it_says_so() {
    for (options, stored) in [
        (json!({}), None),
        (json!({}), Some(" ")),
        (json!({}), Some("two words")),
        (json!({}), Some("\u{2022}\u{2022}")),
        (json!({"token_file": "/nonexistent/token"}), None),
        (json!({"token_file": "/dev/zero"}), None),
        (json!({"token_env": "DATABASE_URL"}), None),
    ] {
        let error = token(options, stored).await.unwrap_err();
        assert!(matches!(error, TokenError::Missing(_)), "{error}");
    }
}

#[tokio::test]
async fn the_word_bearer_may_be_part_of_it() {
    assert_eq!(token(json!({}), Some("Bearer abc")).await.unwrap(), "abc");
    assert_eq!(token(json!({}), Some("bearer  abc")).await.unwrap(), "abc");
    assert_eq!(
        token(json!({}), Some("bearerabc")).await.unwrap(),
        "bearerabc"
    );
}

#[tokio::test]
async fn a_file_is_read_anew_and_its_change_is_noticed() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "first").unwrap();
    let mut tokens = tokens(json!({"token_file": file.path().to_str().unwrap()}));
    assert_eq!(tokens.get(None).await.unwrap(), ("first".to_owned(), true));
    assert_eq!(tokens.get(None).await.unwrap(), ("first".to_owned(), false));
    let noticed = tokio::time::timeout(Duration::from_secs(60), async {
        let write = async { std::fs::write(file.path(), "second").unwrap() };
        tokio::join!(tokens.changed(), write);
    });
    noticed.await.unwrap();
    assert_eq!(tokens.get(None).await.unwrap(), ("second".to_owned(), true));
}

#[tokio::test]
async fn a_file_that_comes_later_is_noticed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let mut tokens = tokens(json!({"token_file": path.to_str().unwrap()}));
    assert!(tokens.get(None).await.is_err());
    std::fs::write(&path, "late").unwrap();
    let noticed = tokio::time::timeout(Duration::from_secs(60), tokens.changed());
    noticed.await.unwrap();
}

#[tokio::test]
async fn a_granted_token_is_kept_until_it_is_refused_or_its_secret_changes() {
    let endpoint = TokenEndpoint::start(|asked| {
        let body = json!({"access_token": format!("t{}", asked.number), "expires_in": 3600});
        (200, body.to_string())
    })
    .await;
    let mut tokens = tokens(json!({"token_url": endpoint.url, "client_id": "app"}));
    let mut get = async |secret: &str| tokens.get(Some(secret.to_owned())).await.unwrap();
    assert_eq!(get("one").await, ("t1".to_owned(), true));
    assert_eq!(get("one").await, ("t1".to_owned(), false));
    assert_eq!(get("two").await, ("t2".to_owned(), true));
    tokens.discard();
    let again = tokens.get(Some("two".to_owned())).await.unwrap();
    assert_eq!(again, ("t3".to_owned(), false));
}

#[tokio::test]
async fn a_token_is_not_used_up_to_its_very_end() {
    let endpoint = TokenEndpoint::start(|asked| {
        let body = json!({"access_token": format!("t{}", asked.number), "expires_in": 0});
        (200, body.to_string())
    })
    .await;
    let mut tokens = tokens(json!({"token_url": endpoint.url, "client_id": "app"}));
    for expected in ["t1", "t2"] {
        let (token, _) = tokens.get(Some("secret".to_owned())).await.unwrap();
        assert_eq!(token, expected);
    }
    let seconds = Duration::from_secs;
    assert_eq!(usable_for(seconds(3600)), seconds(3540));
    assert_eq!(usable_for(seconds(10)), seconds(8));
}

#[tokio::test]
async fn what_others_repeat_is_hidden() {
    let endpoint =
        TokenEndpoint::start(|_| (200, r#"{"access_token":"ey.token"}"#.to_owned())).await;
    let mut tokens = tokens(json!({"token_url": endpoint.url, "client_id": "app"}));
    tokens.get(Some("s3cret".to_owned())).await.unwrap();
    let said = tokens.redact("no app has s3cret, and ey.token is not valid");
    assert_eq!(said, "no app has (hidden), and (hidden) is not valid");
    assert!(!format!("{tokens:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_others_repeat_is_hidden_in_every_form() {
    let mut tokens = tokens(json!({}));
    let sent = tokens
        .get(Some("Bearer ey.first".to_owned()))
        .await
        .unwrap();
    assert_eq!(sent.0, "ey.first");
    let said = tokens.redact("Bearer ey.first, which is ey.first");
    assert_eq!(said, "(hidden), which is (hidden)");
    tokens
        .get(Some("bearer ey.first.2".to_owned()))
        .await
        .unwrap();
    let said = tokens.redact("ey.first.2 comes after ey.first");
    assert_eq!(said, "(hidden) comes after (hidden)");
    assert!(tokens.get(Some(" ".to_owned())).await.is_err());
    assert_eq!(tokens.redact("ey.first"), "(hidden)");
}

#[tokio::test]
async fn a_token_that_was_granted_before_is_hidden() {
    let endpoint = TokenEndpoint::start(|asked| {
        let body = json!({"access_token": format!("granted-{}", asked.number)});
        (200, body.to_string())
    })
    .await;
    let mut tokens = tokens(json!({"token_url": endpoint.url, "client_id": "app"}));
    for _ in 0..2 {
        tokens.get(Some("secret".to_owned())).await.unwrap();
        tokens.discard();
    }
    let said = tokens.redact("granted-1 and granted-2 have expired");
    assert_eq!(said, "(hidden) and (hidden) have expired");
}
