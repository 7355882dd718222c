//! Checks of a source that the worker dials: whether the worker can connect, authenticate
//! and decode, and whether the provider describes another schema.

use std::time::Duration;

use bytes::Bytes;
use tidings_core::wire::{Decoded, Notice, Start};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

use super::{
    database::StreamNow,
    described::{Described, Other, describe},
    event::{self, Seen},
    findings::{Finding, Word},
    quoted,
    spoken::Spoken,
};
use crate::{
    commands::reach::{self, Reached},
    dial::{
        self,
        connection::{Connection, Over},
        options::Dial,
        status::{self, Asked, Meaning},
    },
    sources::source::Source,
    stream::desk::Resume,
};

/// Limit on a message, above the default of a running worker: this command does not check
/// the size.
const LARGEST_MESSAGE: usize = 64 << 20;

/// A source that is checked, and the means.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) source: &'a Source,
    pub(super) dial: &'a Dial,
    pub(super) spoken: &'a Spoken,
    pub(super) resume: &'a Resume,
    /// The state of the stream in a running worker.
    pub(super) stream: Option<&'a StreamNow>,
    /// Time limit for the first event.
    pub(super) wait: Duration,
}

/// The first result of the stream.
enum Heard {
    Event(Decoded),
    /// The cursor is older than what the provider replays.
    Expired,
    /// The stream ended cleanly.
    Ended,
    Silence {
        accepted: bool,
        /// Whether there was a sign of life.
        alive: bool,
    },
    Failed(Status),
}

impl Look<'_> {
    pub(super) async fn findings(&self) -> Vec<Finding> {
        let reached = reach::reach(&self.source.name, self.dial, self.resume).await;
        let mut reached = match reached {
            Ok(reached) => reached,
            Err(reason) => return vec![self.found(Word::Fail, reason).details(self.details(None))],
        };
        let heard = match self.listen(&reached).await {
            Ok(heard) => heard,
            Err(reason) => return vec![self.found(Word::Fail, reason).details(self.details(None))],
        };
        let is_cut = matches!(&heard, Heard::Failed(status) if status::is_broken(status));
        let described = if is_cut {
            None
        } else {
            Some(describe(self.dial, self.spoken, &reached).await)
        };
        let answers = described
            .as_ref()
            .is_some_and(|described| described.answered);
        let (word, text) = self.verdict(heard, &mut reached, answers).await;
        let (reflection, other) = match described {
            Some(Described { text, other, .. }) => (Some(text), other),
            None => (None, None),
        };
        let reflection = reflection.map(|text| reached.tokens.redact(&text));
        let main = self.found(word, text).details(self.details(reflection));
        let other = other.map(|other| self.described(other));
        [main].into_iter().chain(other).collect()
    }

    fn described(&self, other: Other) -> Finding {
        let (text, name) = (other.text, &self.source.name);
        let advice = format!("{text}: `tidings-worker schema {name}` prints what takes it over");
        self.found(Word::Warn, advice).details(other.details)
    }

    fn found(&self, word: Word, text: String) -> Finding {
        let subject = format!("source {}", self.source.name);
        let text = format!("{}: {text}", self.source.provider);
        match word {
            Word::Ok => Finding::ok(subject, text),
            Word::Warn => Finding::warn(subject, text),
            Word::Fail => Finding::fail(subject, text),
        }
    }

    /// The settings that the check used.
    fn details(&self, reflection: Option<String>) -> Vec<String> {
        let open = if self.dial.is_tls() {
            ""
        } else {
            " (http: the token is sent unencrypted)"
        };
        let whose = if self.spoken.is_own {
            "its own"
        } else {
            "the worker's"
        };
        let from = match &self.resume.cursor {
            Some(cursor) => format!("resumes after {cursor}"),
            None => match self.dial.start {
                Start::LiveEdge => "none yet: begins with the next event".to_owned(),
                Start::Oldest => "none yet: begins with the oldest event".to_owned(),
            },
        };
        let mut details = vec![
            format!("endpoint: {}{open}", reach::endpoint(self.dial)),
            format!("token: from {}", reach::credential(self.dial, self.resume)),
            format!("schema: {whose}, {}", self.spoken.schema.path()),
            format!("cursor: {from}"),
        ];
        details.extend(reflection.map(|text| format!("reflection: {text}")));
        details.extend(self.stream.map(running));
        details
    }

    /// Opens the stream, and waits for the first result. Reading acknowledges nothing.
    async fn listen(&self, reached: &Reached) -> Result<Heard, String> {
        let schema = &self.spoken.schema;
        let message = self.dial.message(schema, self.resume.cursor.as_deref())?;
        let (path, request) = dial::request(self.dial, schema.path(), &reached.token, message)?;
        let (requests, origin) = (reached.connection.requests(), self.dial.origin.clone());
        let end = Instant::now() + self.wait;
        let call = dial::call(requests, origin, path, request, LARGEST_MESSAGE);
        let mut messages = match timeout_at(end, call).await {
            Ok(Ok(messages)) => messages,
            Ok(Err(status)) => return Ok(Heard::Failed(status)),
            Err(_) => {
                return Ok(Heard::Silence {
                    accepted: false,
                    alive: false,
                });
            }
        };
        let mut alive = false;
        loop {
            let message: Bytes = match timeout_at(end, messages.message()).await {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Ok(Heard::Ended),
                Ok(Err(status)) => return Ok(Heard::Failed(status)),
                Err(_) => {
                    return Ok(Heard::Silence {
                        accepted: true,
                        alive,
                    });
                }
            };
            if let Some(Notice::CursorExpired(_)) = schema.notice(&message) {
                return Ok(Heard::Expired);
            }
            // A message without events is a sign of life.
            alive = true;
            if let Some(event) = schema.events(message).next() {
                return Ok(Heard::Event(event));
            }
        }
    }

    async fn verdict(&self, heard: Heard, reached: &mut Reached, answers: bool) -> (Word, String) {
        let seconds = self.wait.as_secs_f64();
        match heard {
            Heard::Event(decoded) => self.decoded(&decoded),
            Heard::Ended => {
                let text = "connected and authenticated; the server ended the stream, which is normal if there are no more events";
                (Word::Ok, text.to_owned())
            }
            Heard::Expired => {
                let text = "connected and authenticated; the stored cursor is older than what the provider replays, so the events since then are no longer in the stream; there is nothing to do: the worker that dials next records a gap (tidings.gap) and reconciles it";
                (Word::Warn, text.to_owned())
            }
            Heard::Silence {
                accepted: true,
                alive,
            } => {
                let alive = if alive { "the stream is open, " } else { "" };
                let text =
                    format!("connected and authenticated; {alive}no event within {seconds} s");
                (Word::Ok, text)
            }
            Heard::Silence {
                accepted: false, ..
            } if answers => {
                let text = format!(
                    "connected, and not refused within {seconds} s; some servers accept a stream only with its first event"
                );
                (Word::Ok, text)
            }
            Heard::Silence {
                accepted: false, ..
            } => {
                let text = format!(
                    "connected, but nothing is answered within {seconds} s: check the option endpoint, or wait longer with --wait"
                );
                (Word::Warn, text)
            }
            Heard::Failed(status) => {
                let (word, text) = self.failed(&status, &mut reached.connection).await;
                (word, reached.tokens.redact(&text))
            }
        }
    }

    fn decoded(&self, decoded: &Decoded) -> (Word, String) {
        let source = self.source;
        let seen = event::look(&source.provider, &source.name, &source.options, decoded);
        let before = "connected and authenticated;";
        let advice = format!(
            "the provider seems to use another schema: get it with `tidings-worker schema {}`, and set it with tidings.set_source_schema",
            source.name
        );
        match seen {
            Seen::Known(text) => (Word::Ok, format!("{before} {text}")),
            Seen::Partly(text) => (Word::Warn, format!("{before} {text}; {advice}")),
            Seen::Unreadable(text) => (Word::Fail, format!("{before} {text}; {advice}")),
        }
    }

    async fn failed(&self, status: &Status, connection: &mut Connection) -> (Word, String) {
        let line = status::line(status);
        let is_followed = self
            .stream
            .is_some_and(|stream| stream.state == "connected");
        match meaning(status, self) {
            Meaning::Unauthenticated => {
                let from = reach::credential(self.dial, self.resume);
                let advice = if let Some(oauth) = &self.dial.oauth {
                    status::of_another_client(oauth)
                } else if self.resume.secret.is_some() {
                    let name = quoted(&self.source.name);
                    format!("set another token: `select tidings.rotate_secret('{name}', ..)`")
                } else {
                    "put another token there".to_owned()
                };
                let text =
                    format!("connected, but the token from {from} is refused: {line}; {advice}");
                (Word::Fail, text)
            }
            Meaning::Occupied(_) if is_followed => {
                let text = format!(
                    "connected and authenticated; a worker follows it, and the provider allows only one client: {line}"
                );
                (Word::Ok, text)
            }
            Meaning::Lasting(advice) | Meaning::Occupied(advice) => {
                (Word::Fail, format!("connected, but {line}; {advice}"))
            }
            Meaning::Cut if status::is_broken(status) => {
                (Word::Fail, self.cut(status, connection.over().await))
            }
            Meaning::Cut => passing(status, None),
            Meaning::Passing(hint) => passing(status, hint),
        }
    }

    fn cut(&self, status: &Status, over: Option<Over>) -> String {
        let reason = match over {
            Some(Over::Closed(Some(reason))) => {
                format!("the server sent GOAWAY: {}", reason.description())
            }
            Some(Over::Unanswered) => "the server does not answer pings".to_owned(),
            Some(Over::Ours(error)) => status::ended_here(error),
            _ => status::broken(status),
        };
        let scheme = if self.dial.is_tls() {
            "http://"
        } else {
            "https://"
        };
        format!(
            "the connection broke: {reason}; check that the server speaks gRPC, and whether the option endpoint should begin with {scheme}"
        )
    }
}

fn passing(status: &Status, hint: Option<Duration>) -> (Word, String) {
    let hint = hint.map(|hint| format!(", not before {} s from now", hint.as_secs_f64()));
    let (line, hint) = (status::line(status), hint.unwrap_or_default());
    let text = format!("connected, but {line}; it may pass by itself: try again{hint}");
    let is_busy = status.code() == Code::ResourceExhausted;
    (if is_busy { Word::Warn } else { Word::Fail }, text)
}

fn meaning(status: &Status, look: &Look<'_>) -> Meaning {
    let asked = Asked {
        source: &look.source.name,
        resumed: look.resume.cursor.is_some(),
        filters: look.dial.filterable,
        method: look.spoken.schema.path(),
        endpoint: look.dial.default_endpoint,
    };
    status::meaning(status, &asked)
}

/// The state of the stream in a running worker, in words.
fn running(stream: &StreamNow) -> String {
    let by = stream
        .worker
        .as_deref()
        .map(|worker| format!(" by {worker}"));
    let since = stream
        .since
        .as_deref()
        .map(|since| format!(" since {since}"));
    let (by, since) = (by.unwrap_or_default(), since.unwrap_or_default());
    let more = match (stream.state.as_str(), &stream.last_error) {
        ("connected", _) => {
            "; this check opened a second stream beside it and consumed no events".to_owned()
        }
        ("waiting" | "stopped", Some(error)) => format!(": {error}"),
        _ => String::new(),
    };
    format!("worker: {}{by}{since}{more}", stream.state)
}
