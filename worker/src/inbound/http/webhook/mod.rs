//! `/hooks/{source}` and `/hooks/{source}/{token}`: any HTTP provider.
//!
//! The body of a POST goes to Postgres as the bytes that came, or inflated if they came
//! compressed, and the answer after the commit; or, while Postgres is away, to the spool, and
//! the answer after fsync.
//! The answer tells a provider to send again (503) or not to (everything else):
//!
//! | answer | when |
//! |---|---|
//! | 200 | committed, also when items of it were rejected (`detail` says why); or `spooled` |
//! | 400 | not what the provider documents |
//! | 401 | the source's policy refuses it |
//! | 404 | no such source, or one that the worker dials; or a path with a part too many |
//! | 405 | neither POST nor a probe |
//! | 408 | the body did not come in time; 503 to a provider that gives up after any 4xx |
//! | 413 | larger than the limit, as sent or inflated |
//! | 415 | compressed in another way than gzip and deflate |
//! | 503 | with `Retry-After`, and the word for why: see [`super::answer`] |
//!
//! GET and HEAD are probes, of providers and load balancers: they are answered 200 where there
//! is such a source, whatever the token, so that they say nothing of a token.
//!
//! Every answer to a webhook carries the receipt id, and every refusal has a line in the log:
//! see [`Refusals`]. What a source loses by a 4xx is kept: see [`Kept`].

mod admit;
mod refuse;

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header::HeaderValue},
    web,
};
use bytes::Bytes;
use metrics::{counter, histogram};
use serde_json::json;
use tokio::time::Instant;

use self::refuse::{allowing, carries_events};
use super::{
    answer::{Answer, busy, unknown, unread},
    attempts::{Attempt, Attempts},
    kept::Kept,
};
use crate::{
    admission::{
        budget::{Budget, Payer},
        directory::{Directory, Lookup},
    },
    inbound::{
        peer::{Peer, Proxies},
        refusal::Refusals,
    },
    pipeline::{batcher::Pipeline, headers::Headers, taking::Taking},
    process::{metric, receipt},
    spool::Spool,
};

/// The parts of the worker that a hook needs.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    pub(crate) pipeline: Pipeline,
    pub(crate) taking: Taking,
    pub(crate) directory: Directory,
    pub(crate) budget: Budget,
    pub(crate) max_body: usize,
    /// Time for a body.
    pub(crate) body_timeout: Duration,
    pub(crate) spool: Option<Spool>,
    pub(crate) proxies: Proxies,
    pub(crate) refusals: Refusals,
    pub(crate) attempts: Attempts,
    pub(crate) kept: Kept,
}

/// Time that a request waits for its commit where there is a spool. A provider that gives
/// up after 12 s in all must have its answer before that.
pub(in crate::inbound::http) const HOLD: Duration = Duration::from_secs(5);

/// The parts of a hook's path.
#[derive(Clone, Copy, Debug)]
struct Path<'a> {
    source: &'a str,
    token: Option<&'a str>,
    /// Whether more follows, so that it is the path of no hook.
    is_longer: bool,
}

/// The parts of a request that were read before it is answered.
#[derive(Debug, Default)]
struct Seen {
    attempt: Option<Attempt>,
    /// The body as sent, as far as it was read.
    body: Bytes,
    /// Whether it was read to its end.
    is_whole: bool,
}

pub(crate) async fn without_token(
    hooks: web::Data<Hooks>,
    request: HttpRequest,
    path: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    let path = Path {
        source: &path,
        token: None,
        is_longer: false,
    };
    hooks.serve(&request, path, payload).await
}

pub(crate) async fn with_token(
    hooks: web::Data<Hooks>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> HttpResponse {
    let (source, token) = path.as_ref();
    let path = Path {
        source,
        token: Some(token),
        is_longer: false,
    };
    hooks.serve(&request, path, payload).await
}

pub(crate) async fn with_more(
    hooks: web::Data<Hooks>,
    request: HttpRequest,
    path: web::Path<(String, String, String)>,
    payload: web::Payload,
) -> HttpResponse {
    let (source, token, _) = path.as_ref();
    let path = Path {
        source,
        token: Some(token),
        is_longer: true,
    };
    hooks.serve(&request, path, payload).await
}

impl Hooks {
    /// The parts that the hooks of this thread need.
    pub(in crate::inbound::http) fn for_this_thread(&self) -> Self {
        Self {
            pipeline: self.pipeline.for_this_thread(),
            ..self.clone()
        }
    }

    async fn serve(
        &self,
        request: &HttpRequest,
        path: Path<'_>,
        payload: web::Payload,
    ) -> HttpResponse {
        let source = path.source;
        if path.is_longer {
            counter!(metric::UNMATCHED, "path" => metric::HOOKS).increment(1);
        }
        match *request.method() {
            Method::OPTIONS => allowing(HttpResponse::NoContent().finish()),
            Method::GET | Method::HEAD if !path.is_longer => self.probe(request, source).await,
            ref method if carries_events(method) => {
                let refused = match method {
                    _ if path.is_longer => Some(not_found()),
                    &Method::POST => None,
                    _ => Some(method_not_allowed()),
                };
                self.receive(request, path, payload, refused).await
            }
            _ => {
                let refused = match path.is_longer {
                    true => not_found(),
                    false => method_not_allowed(),
                };
                self.refuse(receipt::id(), request, source, refused)
            }
        }
    }

    /// Whether there is such a hook.
    async fn probe(&self, request: &HttpRequest, source: &str) -> HttpResponse {
        let found = match self.find(source, request_size(request)).await {
            Ok(Lookup::Known(known)) if !known.is_dialed() => Ok(known.name.clone()),
            Ok(Lookup::Known(_) | Lookup::Unknown) => Err(unknown()),
            Ok(Lookup::Unread) => self.remembered(source).ok_or_else(unread),
            Err(busy) => Err(busy),
        };
        match found {
            Ok(name) => {
                counter!(metric::HOOK_PROBES, "source" => name.to_string()).increment(1);
                let status = "a webhook, which takes events by POST";
                HttpResponse::Ok().json(json!({"status": status}))
            }
            Err(refused) => self.refuse(receipt::id(), request, source, refused),
        }
    }

    /// Takes a request in, unless it is `refused` whatever it contains.
    async fn receive(
        &self,
        request: &HttpRequest,
        path: Path<'_>,
        payload: web::Payload,
        refused: Option<Answer>,
    ) -> HttpResponse {
        let began = Instant::now();
        let receipt = receipt::id();
        // Strangers may guess paths, and nothing is read of them.
        if let Some(refused) = &refused
            && self.configured(path.source).is_none()
        {
            return self.refuse(receipt, request, path.source, refused.clone());
        }
        let mut seen = Seen::default();
        let way = (receipt, refused, &mut seen);
        let answer = self.admit(way, request, path, payload).await;
        if let Some(attempt) = &seen.attempt {
            let (Ok(given) | Err(given)) = &answer;
            let peer = self.peer(request);
            let who = (request, path.token, peer.map(|peer| peer.address));
            self.attempts.answered(attempt, who, given, answer.is_ok());
        }
        let (Ok(given) | Err(given)) = &answer;
        let outcome = given.outcome();
        histogram!(metric::REQUEST_SECONDS, "route" => "webhook", "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
        match answer {
            Ok(answer) => self.respond(receipt, request, path.source, answer),
            Err(answer) => {
                self.keep(receipt, request, path, &answer, &seen);
                self.refuse(receipt, request, path.source, answer)
            }
        }
    }

    /// The source of that name, if its webhooks are to come here.
    fn configured(&self, source: &str) -> Option<Arc<str>> {
        match self.directory.peek(source) {
            Lookup::Known(source) => (!source.is_dialed()).then(|| source.name.clone()),
            Lookup::Unknown | Lookup::Unread => self.remembered(source),
        }
    }

    /// A name that nobody knows waits for a look, and those who wait share one share.
    async fn find(&self, name: &str, size: usize) -> Result<Lookup, Answer> {
        let lookup = self.directory.peek(name);
        if lookup != Lookup::Unknown {
            return Ok(lookup);
        }
        // It may be restored yet: after a 404 nobody sends again. And no look tells more.
        if self.directory.lists_none() && self.remembered(name).is_some() {
            return Ok(Lookup::Unread);
        }
        let share = self.budget.try_take(Payer::Strangers, size);
        let _share = share.map_err(busy)?;
        Ok(self.directory.find(name).await)
    }

    /// A source that the spool knows from when Postgres was there.
    fn remembered(&self, source: &str) -> Option<Arc<str>> {
        self.spool.as_ref()?.knows(source)
    }

    /// The sender of a request.
    fn peer(&self, request: &HttpRequest) -> Option<Peer> {
        let lines = |name: &'static str| {
            let values = request.headers().get_all(name);
            values.map(HeaderValue::as_bytes)
        };
        Some(self.proxies.sender(request.peer_addr()?, lines))
    }

    /// The headers of a request, with the parts that the worker alone sets.
    fn headers<'a>(&self, request: &'a HttpRequest, token: Option<&'a str>) -> Headers<'a> {
        let pairs = request.headers().iter();
        let mut headers = Headers::fold(pairs.map(|(k, v)| (k.as_str(), v.as_bytes())));
        if let Some(token) = token {
            headers.set_url_token(token);
        }
        if let Some(peer) = self.peer(request) {
            headers.set_peer_address(peer.address);
        }
        headers
    }
}

/// The bytes that are held of a request before its body.
fn request_size(request: &HttpRequest) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
    request.path().len() + headers.sum::<usize>()
}

fn method_not_allowed() -> Answer {
    let detail = "events are taken by POST".to_owned();
    Answer::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

pub(in crate::inbound::http) fn not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "not_found", None)
}
