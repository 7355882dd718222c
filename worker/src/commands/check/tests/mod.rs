//! Looks at servers over real sockets.

mod contract;
mod described;

use std::{io::Write, net::SocketAddr};

use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tidings_proto::ppoppo::{SendRequestEvent, SendRequestEventType};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tonic::{
    Status,
    transport::{Identity, ServerTlsConfig},
};

use super::{database::StreamNow, findings::Word, *};
use crate::{
    commands::reflect::testing::{First, METHOD, PREFIX, Play, TOKEN},
    stream::desk::Resume,
    testing::chat::framed,
    testing::endpoint::TokenEndpoint,
};

/// Until something comes that does come.
const LONG: Duration = Duration::from_secs(60);
/// Time to wait for something that never comes.
const SHORT: Duration = Duration::from_millis(300);

/// A source that is looked at.
struct Subject {
    options: Value,
    secret: Option<&'static str>,
    stream: Option<StreamNow>,
    wait: Duration,
}

impl Subject {
    fn at(address: SocketAddr) -> Self {
        Self::of(&format!("http://{address}{PREFIX}"))
    }

    fn of(endpoint: &str) -> Self {
        Self {
            options: json!({"endpoint": endpoint}),
            secret: Some(TOKEN),
            stream: None,
            wait: LONG,
        }
    }

    fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    async fn look(self) -> Vec<Finding> {
        let source = Source {
            id: 1,
            name: "chat".into(),
            provider: "ppoppo".to_owned(),
            options: self.options,
            enabled: true,
            schema: None,
            former_names: Vec::new(),
        };
        let resume = Resume {
            cursor: Some("01JD0000000000000000000000".to_owned()),
            secret: self.secret.map(str::to_owned),
        };
        let look = dialed::Look {
            source: &source,
            dial: &Dial::new(&source.provider, &source.options).unwrap(),
            spoken: &Spoken::of(&source, None).unwrap(),
            resume: &resume,
            stream: self.stream.as_ref(),
            wait: self.wait,
        };
        look.findings().await
    }
}

fn play(first: First) -> Play {
    Play {
        method: METHOD.to_owned(),
        first,
        ..Play::default()
    }
}

fn event() -> Vec<u8> {
    let event = SendRequestEvent {
        event_id: "01JD0000000000000000000001".to_owned(),
        event_type: SendRequestEventType::RecipientDelivered.into(),
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_793_566_800,
            nanos: 0,
        }),
        ..Default::default()
    };
    event.encode_to_vec()
}

async fn heard(first: First, wait: Duration) -> Vec<Finding> {
    let address = play(first).start(None).await;
    Subject::at(address).wait(wait).look().await
}

fn one(findings: Vec<Finding>) -> Finding {
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings.into_iter().next().unwrap()
}

#[track_caller]
fn expect(finding: &Finding, word: Word, parts: &[&str]) {
    assert_eq!(finding.word, word, "{finding:?}");
    for part in parts {
        assert!(
            finding.text.contains(part),
            "{part:?} is not in {finding:?}"
        );
    }
}

#[tokio::test]
async fn an_event_is_decoded() {
    let found = one(heard(First::Event(framed(&event())), LONG).await);
    let told = "connected and authenticated; decoded SEND_REQUEST_EVENT_TYPE_RECIPIENT_DELIVERED of 2026-11-01T21:00:00Z";
    expect(&found, Word::Ok, &[told]);
    assert_eq!(
        found.details[1],
        "token: from the source's secret in Postgres"
    );
    assert_eq!(
        found.details[3],
        "cursor: resumes after 01JD0000000000000000000000"
    );
    assert_eq!(found.details[4], "reflection: not offered, which is fine");
}

#[tokio::test]
async fn an_event_of_another_schema_is_noticed() {
    // A text in field 99 and a number in field 5, where a message is expected.
    let more = [event(), vec![0x9a, 0x06, 0x01, 0x61]].concat();
    let found = one(heard(First::Event(framed(&more)), LONG).await);
    expect(
        &found,
        Word::Warn,
        &[
            "RECIPIENT_DELIVERED",
            "fields",
            "tidings-worker schema chat",
        ],
    );
    let other = [event(), vec![0x2a, 0x01, 0xff]].concat();
    let found = one(heard(First::Event(framed(&other)), LONG).await);
    expect(
        &found,
        Word::Fail,
        &["cannot be read", "tidings-worker schema chat"],
    );
    let nameless = framed(&[0x18, 0x01]);
    let found = one(heard(First::Event(nameless), LONG).await);
    expect(
        &found,
        Word::Fail,
        &["event_id is missing", "tidings-worker schema chat"],
    );
}

#[tokio::test]
async fn silence_after_the_call_was_accepted_is_fine() {
    let found = one(heard(First::Nothing, Duration::from_secs(3)).await);
    expect(
        &found,
        Word::Ok,
        &["connected and authenticated; no event within 3 s"],
    );
    let found = one(heard(First::End, LONG).await);
    expect(&found, Word::Ok, &["ended the stream"]);
}

#[tokio::test]
async fn a_call_that_is_not_answered_is_told_from_a_server_that_is_silent() {
    let found = one(heard(First::Unanswered, SHORT).await);
    expect(&found, Word::Ok, &["not refused within 0.3 s"]);
}

#[tokio::test]
async fn statuses_are_told_with_what_to_do() {
    let hint = Status::resource_exhausted("slow down, retry-after-ms: 1500");
    for (status, word, parts) in [
        (
            Status::permission_denied("suspended"),
            Word::Fail,
            ["PERMISSION_DENIED: suspended", "allow-list"],
        ),
        (
            Status::invalid_argument("no such id"),
            Word::Fail,
            ["INVALID_ARGUMENT", "tidings.set_stream_cursor('chat', ..)"],
        ),
        (
            Status::unavailable("restart"),
            Word::Fail,
            ["UNAVAILABLE: restart", "it may pass by itself"],
        ),
        (
            Status::cancelled("a proxy"),
            Word::Fail,
            ["CANCELLED: a proxy", "it may pass by itself"],
        ),
        (
            hint,
            Word::Warn,
            ["RESOURCE_EXHAUSTED", "not before 1.5 s from now"],
        ),
        (
            Status::already_exists("one stream"),
            Word::Fail,
            ["ALREADY_EXISTS", "another client"],
        ),
    ] {
        expect(&one(heard(First::Status(status), LONG).await), word, &parts);
    }
}

#[tokio::test]
async fn a_worker_that_follows_it_is_named() {
    let follows = || StreamNow {
        state: "connected".to_owned(),
        worker: Some("host 12".to_owned()),
        since: None,
        last_error: None,
    };
    let taken = First::Status(Status::already_exists("one stream"));
    let mut subject = Subject::at(play(taken).start(None).await);
    subject.stream = Some(follows());
    let found = one(subject.look().await);
    expect(&found, Word::Ok, &["a worker follows it", "ALREADY_EXISTS"]);
    let running = found.details.last().unwrap();
    assert!(
        running.starts_with("worker: connected by host 12; this check"),
        "{running}"
    );
}

#[tokio::test]
async fn a_refused_token_is_told_and_not_shown() {
    let mut subject = Subject::at(play(First::Nothing).start(None).await);
    subject.secret = Some("the-token-of-another");
    let found = one(subject.look().await);
    let advice = "select tidings.rotate_secret('chat', ..)";
    let parts = [
        "the token from the source's secret in Postgres is refused",
        "UNAUTHENTICATED",
        "(hidden)",
        advice,
    ];
    expect(&found, Word::Fail, &parts);
    assert!(!format!("{found:?}").contains("the-token-of"), "{found:?}");
}

#[tokio::test]
async fn a_token_that_cannot_be_had_says_where_it_was_looked_for() {
    let address = play(First::Nothing).start(None).await;
    let mut subject = Subject::at(address);
    subject.secret = None;
    subject.options["token_env"] = json!("TIDINGS_TEST_UNSET");
    let found = one(subject.look().await);
    expect(
        &found,
        Word::Fail,
        &["TIDINGS_TEST_UNSET", "is not set", "this very process"],
    );

    let refusal = json!({"error": "invalid_client", "error_description": "no such client"});
    let tokens = TokenEndpoint::start(move |_| (401, refusal.to_string())).await;
    let mut subject = Subject::at(address);
    subject.options["token_url"] = json!(tokens.url);
    subject.options["client_id"] = json!("app");
    let found = one(subject.look().await);
    expect(
        &found,
        Word::Fail,
        &["401 invalid_client: no such client", "client_id"],
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Neither TLS nor HTTP/2.
    let plain = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let found = one(Subject::of(&format!("https://{address}")).look().await);
    expect(&found, Word::Fail, &["does not speak TLS", "http://"]);
    let found = one(Subject::at(address).look().await);
    expect(&found, Word::Fail, &["the connection broke", "speaks gRPC"]);
    plain.abort();
    let _ = plain.await;
    let found = one(Subject::at(address).look().await);
    expect(&found, Word::Fail, &["nothing listens there"]);
    let found = one(Subject::of("https://host.invalid/ext").look().await);
    expect(
        &found,
        Word::Fail,
        &["host.invalid cannot be resolved", "option endpoint"],
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_at_all_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            held.push(accepted);
        }
    });
    let found = one(Subject::at(address).wait(SHORT).look().await);
    expect(&found, Word::Warn, &["nothing is answered within 0.3 s"]);
    holding.abort();
}

#[tokio::test]
async fn an_unknown_authority_is_answered_by_ca_file() {
    let authority = || {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, theirs) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &theirs).unwrap();
    let identity = Identity::from_pem(certificate.pem(), key.serialize_pem());
    let tls = ServerTlsConfig::new().identity(identity);
    let address = play(First::Event(framed(&event()))).start(Some(tls)).await;

    let look = async |host: &str, authority: &CertifiedIssuer<'static, KeyPair>| {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(authority.pem().as_bytes()).unwrap();
        let mut subject = Subject::of(&format!("https://{host}:{}{PREFIX}", address.port()));
        subject.options["ca_file"] = json!(file.path());
        one(subject.look().await)
    };
    let found = look("localhost", &ours).await;
    expect(&found, Word::Fail, &["not signed by", "ca_file"]);
    let found = look("127.0.0.1", &theirs).await;
    expect(&found, Word::Fail, &["for another name"]);
    let found = look("localhost", &theirs).await;
    let decoded = "decoded SEND_REQUEST_EVENT_TYPE_RECIPIENT_DELIVERED";
    expect(&found, Word::Ok, &[decoded]);
}
