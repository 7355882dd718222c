//! `/hooks/{source}` and `/hooks/{source}/{token}`: any HTTP provider.
//!
//! The body of a POST goes to Postgres as the bytes that came, or inflated if they came
//! compressed, and the answer after the commit; or, while Postgres is away, to the spool, and
//! the answer after fsync.
//! It tells a provider to send again (503) or not to (everything else):
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

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{ALLOW, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use metrics::{counter, histogram};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    answer::{Answer, busy, disabled, unknown, unread, unspooled},
    attempts::{Attempt, Attempts},
    body::{BodyLimits, announced, coding},
    kept::{self, Kept},
};
use crate::{
    admission::{
        budget::{Budget, Payer, Share},
        directory::{Directory, Lookup},
    },
    inbound::{
        peer::{Peer, Proxies},
        refusal::{Named, Refusals, Refused},
    },
    pipeline::{
        batcher::Pipeline,
        headers::Headers,
        request::{Outcome, Refusal, Request},
        taking::Taking,
    },
    process::{metric, receipt},
    sources::refused::KeepRefusal,
    spool::{Spool, spooled_after, spooled_at_once},
};

/// What a hook needs.
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

/// So long a request waits for its commit where there is a spool. A provider that gives
/// up after 12 s in all must have its answer before that.
pub(super) const HOLD: Duration = Duration::from_secs(5);

/// The methods of a hook.
const METHODS: &str = "POST, GET, HEAD, OPTIONS";

/// The parts of a hook's path.
#[derive(Clone, Copy, Debug)]
struct Path<'a> {
    source: &'a str,
    token: Option<&'a str>,
    /// Whether more follows, so that it is the path of no hook.
    is_longer: bool,
}

/// What a request has shown of itself until it is answered.
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
    pub(super) fn for_this_thread(&self) -> Self {
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

    /// Keeps a request that its sender does not send again because of this answer, if it is one
    /// of a source's.
    fn keep(
        &self,
        receipt: Uuid,
        request: &HttpRequest,
        path: Path<'_>,
        answer: &Answer,
        seen: &Seen,
    ) {
        if !answer.status.is_client_error() {
            return;
        }
        let Some(source) = self.configured(path.source) else {
            return;
        };
        let Some(place) = self.kept.admits(&source) else {
            return;
        };
        // JSON text in Postgres cannot hold this.
        let token = path.token.filter(|token| !token.contains('\0'));
        let headers = self.headers(request, token).with_receipt(receipt);
        let head = seen.body.get(..kept::MOST_BYTES).unwrap_or(&seen.body);
        // Where the length is not known, there was more than what was read.
        let least = seen.body.len() as u64 + u64::from(!seen.is_whole);
        let bytes = announced(request).unwrap_or(0).max(least);
        let (status, cause) = (answer.status.as_u16(), answer.cause().unwrap_or_default());
        let detail = answer.reason().map(|detail| format!(": {detail}"));
        let detail = detail.unwrap_or_default();
        self.kept.keep(
            place,
            KeepRefusal {
                source,
                received: std::time::SystemTime::now(),
                reason: format!("answered {status} ({cause}){detail}"),
                headers: headers.to_string(),
                body: Bytes::copy_from_slice(head),
                bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            },
        );
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

    /// Counts a refusal that no commit counts, and gives the response.
    pub(crate) fn refuse(
        &self,
        receipt: Uuid,
        request: &HttpRequest,
        source: &str,
        answer: Answer,
    ) -> HttpResponse {
        if let Some(cause) = answer.cause() {
            let source = self.configured(source);
            let source = source.map(|source| source.to_string()).unwrap_or_default();
            counter!(metric::REFUSED_EARLY, "source" => source, "reason" => cause).increment(1);
        }
        self.respond(receipt, request, source, answer)
    }

    /// Gives the response, and logs a refusal.
    pub(crate) fn respond(
        &self,
        receipt: Uuid,
        request: &HttpRequest,
        source: &str,
        answer: Answer,
    ) -> HttpResponse {
        if let Some(cause) = answer.cause() {
            let is_lost = carries_events(request.method());
            let configured = is_lost.then(|| self.configured(source)).flatten();
            self.refusals.tell(&Refused {
                what: "a webhook",
                receipt,
                source: match &configured {
                    Some(name) => Named::Configured(name),
                    None => Named::Claimed(source),
                },
                peer: self.peer(request),
                cause,
                reason: answer.reason(),
            });
        }
        let is_of_method = answer.status == StatusCode::METHOD_NOT_ALLOWED;
        let response = answer.into_response(receipt);
        match is_of_method {
            true => allowing(response),
            false => response,
        }
    }

    /// The source of that name, if its webhooks are to come here.
    fn configured(&self, source: &str) -> Option<Arc<str>> {
        match self.directory.peek(source) {
            Lookup::Known(source) => (!source.is_dialed()).then(|| source.name.clone()),
            Lookup::Unknown | Lookup::Unread => self.remembered(source),
        }
    }

    async fn admit(
        &self,
        (receipt, refused, seen): (Uuid, Option<Answer>, &mut Seen),
        request: &HttpRequest,
        path: Path<'_>,
        payload: web::Payload,
    ) -> Result<Answer, Answer> {
        let size = request_size(request);
        let lookup = self.find(path.source, size).await?;
        let (remembered, listed) = match &lookup {
            Lookup::Known(source) if source.is_dialed() => return Err(unknown()),
            Lookup::Known(source) => (Some(source.name.clone()), Some(source)),
            Lookup::Unknown => return Err(unknown()),
            Lookup::Unread => (self.remembered(path.source), None),
        };
        let named = remembered.clone().unwrap_or_else(|| path.source.into());
        let attempt = Attempt::of(named, listed.map(Arc::as_ref));
        let attempt = seen.attempt.insert(attempt);
        if listed.is_some_and(|source| !source.enabled) {
            return Err(disabled());
        }
        let source = remembered.ok_or_else(unread)?;
        // JSON text in Postgres cannot hold it, so no secret can either.
        if path.token.is_some_and(|token| token.contains('\0')) {
            let status = StatusCode::UNAUTHORIZED;
            let answer = Answer::error(status, "unauthorized", None);
            return Err(answer.because("the token in the URL contains U+0000"));
        }
        let payer = Payer::Source(source.clone());
        let mut share = self.budget.try_take(payer, size).map_err(busy)?;
        let limits = BodyLimits {
            bytes: self.max_body,
            time: self.body_timeout,
            needs_5xx: listed.is_none_or(|source| source.needs_5xx()),
        };
        let body = &mut seen.body;
        limits.read(request, payload, &mut share, body).await?;
        seen.is_whole = true;
        attempt.read(body);
        if let Some(refused) = refused {
            return Err(refused);
        }

        let mut headers = self.headers(request, path.token);
        let mut whole = body.clone();
        if let Some(coding) = coding(request)? {
            whole = limits.inflate(coding, body, &mut share).await?;
            if listed.is_none_or(|source| source.signs_body()) {
                // In base64, and once more where the headers are written.
                share.try_grow(body.len() * 3).map_err(busy)?;
                headers.set_body_as_sent(body);
            }
        }
        let request = Request {
            source,
            body: whole,
            headers: headers.with_receipt(receipt),
        };
        self.settle(request, share, listed.is_some()).await
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

    /// Committed, or in the spool, or neither: then it is refused. Postgres is not asked of a
    /// source that it does not list: it might not know it yet.
    async fn settle(
        &self,
        request: Request,
        share: Share,
        is_listed: bool,
    ) -> Result<Answer, Answer> {
        let Some(spool) = &self.spool else {
            return self.answer(self.commit(request).await);
        };
        if is_listed && !spooled_at_once(self.taking.is_taking(), spool.is_stalled()) {
            let hold = HOLD.min(self.pipeline.patience());
            let outcome = tokio::select! {
                outcome = self.commit(request.clone()) => outcome,
                () = self.taking.stopped() => Err(Refusal::Late),
                () = sleep(hold) => Err(Refusal::Late),
            };
            if !spooled_after(&outcome, self.directory.is_telling()) {
                return self.answer(outcome);
            }
            // Only this tells of commits: what is declined is so by itself, and busy is a
            // limit of the worker's own.
            if matches!(outcome, Err(Refusal::Late | Refusal::Failed(_))) {
                spool.set_stalled(true);
            }
        }
        let Err(why) = spool.put(request, share).await else {
            return Ok(Answer::spooled());
        };
        // It is no way round, and its drain may have nothing to find out with when commits
        // go on: the next request tries Postgres.
        spool.set_stalled(false);
        Err(unspooled(why))
    }

    /// The answer to an outcome; an error if the pipeline refused the request by itself, because
    /// then no commit counts it.
    fn answer(&self, outcome: Outcome) -> Result<Answer, Answer> {
        match outcome {
            Err(Refusal::Late) => {
                let answer = Answer::of(outcome);
                Err(match self.taking.trouble() {
                    None => answer,
                    Some(trouble) => answer.because(trouble.reason),
                })
            }
            Err(Refusal::Busy | Refusal::Overloaded | Refusal::Stopping) => {
                Err(Answer::of(outcome))
            }
            outcome => Ok(Answer::of(outcome)),
        }
    }

    async fn commit(&self, request: Request) -> Outcome {
        self.pipeline.offer(request).await
    }
}

/// Whether requests of this method bring events, be it by mistake.
fn carries_events(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// The bytes that are held of a request before its body.
fn request_size(request: &HttpRequest) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
    request.path().len() + headers.sum::<usize>()
}

/// A response that says which methods a hook takes.
fn allowing(mut response: HttpResponse) -> HttpResponse {
    let methods = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(ALLOW, methods);
    response
}

fn method_not_allowed() -> Answer {
    let detail = "events are taken by POST".to_owned();
    Answer::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

pub(super) fn not_found() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "not_found", None)
}
