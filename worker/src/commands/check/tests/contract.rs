//! What the published contract has beside events, and servers that speak another one.

use super::*;

/// A frame with an empty member of this number.
fn frame(number: u8) -> First {
    First::Event(vec![number << 3 | 2, 0].into())
}

#[tokio::test]
async fn a_sign_of_life_is_success() {
    let found = one(heard(frame(2), Duration::from_secs(3)).await);
    let told = "connected and authenticated; the stream is open, no event within 3 s";
    expect(&found, Word::Ok, &[told]);
}

#[tokio::test]
async fn an_expired_cursor_is_told_with_what_will_happen() {
    let found = one(heard(frame(4), LONG).await);
    let told = [
        "the stored cursor is older than what the provider replays",
        "nothing to do",
        "records a gap (tidings.gap)",
    ];
    expect(&found, Word::Warn, &told);
}

#[tokio::test]
async fn a_server_of_an_older_contract_is_told_with_both_ways_out() {
    let old = Play {
        method: "/chat.external.ExternalMessageService/StreamSendRequestEvents".to_owned(),
        ..Play::default()
    };
    let found = one(Subject::at(old.start(None).await).look().await);
    let told = [
        "UNIMPLEMENTED",
        &format!("does not serve {METHOD}"),
        "`tidings-worker schema chat`",
        "tidings.set_source_schema",
        "default https://chat.ppoppo.com/ext",
    ];
    expect(&found, Word::Fail, &told);
}

#[tokio::test]
async fn what_a_token_endpoint_lacks_is_told_with_what_to_do() {
    let address = play(First::Nothing).start(None).await;
    let look = async |status: u16, answer: Value| {
        let tokens = TokenEndpoint::start(move |_| (status, answer.to_string())).await;
        let mut subject = Subject::at(address);
        subject.options["token_url"] = json!(tokens.url);
        subject.options["client_id"] = json!("app");
        one(subject.look().await)
    };
    let found = look(400, json!({"error": "invalid_target"})).await;
    let sent = format!("the resource \"http://{address}{PREFIX}\"");
    let told = ["invalid_target", &sent, "byte for byte", "option resource"];
    expect(&found, Word::Fail, &told);
    let granted = json!({"access_token": TOKEN, "scope": "chat.send"});
    let told = ["lacks chat.read", "ask the provider to grant chat.read"];
    expect(&look(200, granted).await, Word::Fail, &told);
}
