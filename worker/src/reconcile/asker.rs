//! One question after the other over a dialed connection, each asked until there is an answer
//! or no use in asking.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_core::wire::Question;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{pace::Pace, records::Records};
use crate::{
    dial::{
        self, DialError,
        connection::Connection,
        options::Dial,
        status::{self, Asked, Meaning},
        token::{TokenError, Tokens},
    },
    process::backoff::Backoff,
};

/// Limit on an answer, in bytes. The provider's greatest answer takes a fraction of it.
const LARGEST_ANSWER: usize = 8 << 20;
/// Time limit for the answer to one call.
const ANSWER: Duration = Duration::from_secs(10);
/// Number of calls for one question after which it counts as not answered.
const ATTEMPTS: u32 = 6;
/// Pauses between the calls for one question.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const GREATEST_PAUSE: Duration = Duration::from_secs(30);

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The answer, as items of a body.
    Items(Vec<String>),
    /// The provider does not know the send request.
    Unknown,
    /// The provider, or its answer, is of no use for this send request, with the reason.
    Declined(String),
    /// No call was answered, with the reason of the last one.
    Silent(String),
}

/// What came of one call.
enum Called {
    Answer(Bytes),
    Unknown,
    Declined(String),
    /// The token is refused.
    Refused(String),
    /// Not before this pause, if the server asks for one.
    Later(Option<Duration>, String),
    /// No question will be answered until somebody changes something.
    Lasting(String),
}

/// A provider that is asked.
#[derive(Debug)]
pub(crate) struct Asker {
    source: Arc<str>,
    dial: Dial,
    question: Arc<Question>,
    tokens: Tokens,
    connection: Option<Connection>,
    /// The secret in Postgres, read again with each connection.
    secret: Option<String>,
    pace: Pace,
    /// The least and the greatest pause between the calls for one question.
    pauses: (Duration, Duration),
}

impl Asker {
    pub(crate) fn new(source: Arc<str>, dial: Dial, question: Arc<Question>) -> Self {
        Self {
            tokens: Tokens::new(&source, &dial),
            source,
            dial,
            question,
            connection: None,
            secret: None,
            pace: Pace::default(),
            pauses: (LEAST_PAUSE, GREATEST_PAUSE),
        }
    }

    /// The same, with pauses that a test can wait for.
    #[cfg(test)]
    pub(super) fn hasty(self) -> Self {
        Self {
            pauses: (Duration::from_millis(1), Duration::from_millis(2)),
            ..self
        }
    }

    /// Asks about one send request. An error is the reason why no further question makes
    /// sense.
    pub(super) async fn ask(
        &mut self,
        id: &str,
        records: &mut impl Records,
    ) -> Result<Answer, String> {
        let (least, greatest) = self.pauses;
        let mut pauses = Backoff::between(least, greatest);
        let mut refused = false;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            self.pace.turn().await;
            match self.call(id, records).await? {
                Called::Answer(answer) => {
                    return Ok(match self.question.items(id, answer) {
                        Ok(items) => Answer::Items(items),
                        Err(reason) => {
                            Answer::Declined(format!("the answer cannot be decoded: {reason}"))
                        }
                    });
                }
                Called::Unknown => return Ok(Answer::Unknown),
                Called::Declined(reason) => return Ok(Answer::Declined(self.shown(&reason))),
                Called::Lasting(reason) => return Err(self.shown(&reason)),
                Called::Refused(reason) if refused => return Err(self.shown(&reason)),
                Called::Refused(reason) => {
                    refused = true;
                    self.tokens.discard();
                    self.connection = None;
                    last = reason;
                }
                Called::Later(hint, reason) => {
                    let pause = pauses.pause().min(greatest);
                    self.pace.pause(pause.max(hint.unwrap_or_default()));
                    last = reason;
                }
            }
        }
        Ok(Answer::Silent(self.shown(&last)))
    }

    /// A text without secrets, in case a server repeats them.
    fn shown(&self, text: &str) -> String {
        self.tokens.redact(text)
    }

    /// Makes one call, over the open connection or another one. An error is Postgres'.
    async fn call(&mut self, id: &str, records: &mut impl Records) -> Result<Called, String> {
        let open = self.connection.take();
        if open.is_none() {
            self.secret = records.secret().await?;
        }
        let token = match self.tokens.get(self.secret.clone()).await {
            Ok((token, _)) => token,
            Err(TokenError::Missing(reason) | TokenError::Lasting(reason)) => {
                return Ok(Called::Lasting(reason));
            }
            Err(TokenError::Refused(reason)) => return Ok(Called::Refused(reason)),
            Err(TokenError::Passing(reason)) => return Ok(Called::Later(None, reason)),
        };
        let connection = match open {
            Some(open) => open,
            None => match dial::connect(&self.dial, self.dial.keepalive).await {
                Ok(connection) => connection,
                Err(DialError::Passing(reason)) => return Ok(Called::Later(None, reason)),
                Err(DialError::Lasting(reason)) => return Ok(Called::Lasting(reason)),
            },
        };
        let request = self
            .question
            .request(id)
            .and_then(|message| dial::request(&self.dial, self.question.path(), &token, message));
        let (path, request) = match request {
            Ok(request) => request,
            Err(reason) => return Ok(Called::Lasting(reason)),
        };
        let (requests, origin) = (connection.requests(), self.dial.origin.clone());
        let call = dial::ask(requests, origin, path, request, LARGEST_ANSWER);
        let called = match timeout(ANSWER, call).await {
            Ok(Ok(answer)) => Called::Answer(answer),
            Ok(Err(status)) => self.judge(&status),
            Err(_) => {
                // Perhaps the connection is dead, so the next call has another one.
                let seconds = ANSWER.as_secs();
                return Ok(Called::Later(None, format!("no answer within {seconds} s")));
            }
        };
        if !matches!(&called, Called::Later(..)) {
            self.connection = Some(connection);
        }
        Ok(called)
    }

    /// What the status of a call means for the question.
    fn judge(&self, status: &Status) -> Called {
        let line = status::line(status);
        let asked = Asked {
            source: &self.source,
            resumed: false,
            filters: &[],
            method: self.question.path(),
            endpoint: self.dial.default_endpoint,
        };
        let meaning = status::meaning(status, &asked);
        match (status.code(), meaning) {
            (_, Meaning::Cut) => {
                let cause = status::broken(status);
                Called::Later(None, format!("the connection broke: {cause}"))
            }
            (Code::NotFound, _) => Called::Unknown,
            (Code::InvalidArgument, _) => Called::Declined(line),
            (Code::OutOfRange, _) => {
                let limit = LARGEST_ANSWER >> 20;
                Called::Declined(format!("{line} (the limit on an answer is {limit} MiB)"))
            }
            (Code::Unimplemented, _) => Called::Lasting(format!(
                "{line}; check that the option endpoint has the right path, such as /ext. If the \
                 provider does not serve {}, nothing can be asked there",
                self.question.path()
            )),
            (_, Meaning::Unauthenticated) => {
                let advice = if self.dial.oauth.is_some() {
                    "check that the client's id and secret belong to this endpoint"
                } else {
                    "give the source another token: tidings.rotate_secret, or what token_env or token_file names"
                };
                Called::Refused(format!("{line}; {advice}"))
            }
            (_, Meaning::Lasting(advice)) => Called::Lasting(format!("{line}; {advice}")),
            (_, Meaning::Occupied(_)) => Called::Later(None, line),
            (_, Meaning::Passing(hint)) => Called::Later(hint, line),
        }
    }
}
