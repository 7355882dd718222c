//! `POST /hooks/{source}` and `POST /hooks/{source}/{token}`: any HTTP provider.
//!
//! The body goes to Postgres as the bytes that came, and the answer after the commit; or,
//! while Postgres is away, to the spool, and the answer after fsync.
//! It tells a provider to send again (503) or not to (everything else):
//!
//! | answer | when |
//! |---|---|
//! | 200 | committed, also when items of it were rejected (`detail` says why); or `spooled` |
//! | 400 | not what the provider documents |
//! | 401 | the source's policy refuses it |
//! | 404 | no such source, or one that the worker dials |
//! | 408 | the body did not come in time; 503 to a provider that gives up after any 4xx |
//! | 413 | larger than the limit |
//! | 415 | compressed: the bytes as received are the evidence |
//! | 503 | with `Retry-After`, and the word for why: see [`super::answer`] |
//!
//! Every answer carries the receipt id, and every refusal has a line in the log: see
//! [`Refusals`].

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use metrics::counter;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    answer::{Answer, busy, disabled, slow, unknown, unread, unspooled},
    attempts::{Attempt, Attempts},
    turn::Turn,
};
use crate::{
    admission::{
        budget::{Budget, Payer, Share},
        directory::{Directory, Lookup},
    },
    inbound::refusal::{Named, Refusals, Refused},
    pipeline::{
        batcher::Pipeline,
        headers::Headers,
        request::{Outcome, Refusal, Request},
    },
    process::{metric, receipt},
    sources::source::Database,
    spool::{Spool, spooled_after, spooled_at_once},
};

/// What a hook needs.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    pub(crate) pipeline: Pipeline,
    pub(crate) directory: Directory,
    pub(crate) budget: Budget,
    pub(crate) max_body: usize,
    /// Time for a body.
    pub(crate) body_timeout: Duration,
    pub(crate) spool: Option<Spool>,
    pub(crate) refusals: Refusals,
    pub(crate) attempts: Attempts,
}

/// So long a request waits for its commit where there is a spool. A provider that gives
/// up after 12 s in all must have its answer before that.
pub(super) const HOLD: Duration = Duration::from_secs(5);

pub(crate) async fn without_token(
    hooks: web::Data<Hooks>,
    request: HttpRequest,
    path: web::Path<String>,
    payload: web::Payload,
) -> HttpResponse {
    hooks.receive(&request, &path, None, payload).await
}

pub(crate) async fn with_token(
    hooks: web::Data<Hooks>,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> HttpResponse {
    let (source, token) = path.into_inner();
    hooks.receive(&request, &source, Some(token), payload).await
}

impl Hooks {
    /// The parts that the hooks of this thread need.
    pub(super) fn for_this_thread(&self) -> Self {
        Self {
            pipeline: self.pipeline.for_this_thread(),
            ..self.clone()
        }
    }

    async fn receive(
        &self,
        request: &HttpRequest,
        source: &str,
        token: Option<String>,
        payload: web::Payload,
    ) -> HttpResponse {
        let receipt = receipt::id();
        let token = token.as_deref();
        let mut attempt = None;
        let way = (receipt, &mut attempt);
        let answer = self.admit(way, request, source, token, payload).await;
        if let Some(attempt) = attempt {
            let (Ok(given) | Err(given)) = &answer;
            let is_kept = answer.is_ok();
            self.attempts
                .answered(&attempt, request, token, given, is_kept);
        }
        match answer {
            Ok(answer) => self.respond(receipt, request, source, answer),
            Err(answer) => self.refuse(receipt, request, source, answer),
        }
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
            counter!(metric::REFUSED_EARLY, "reason" => cause).increment(1);
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
            // Only a POST carries events.
            let is_webhook = request.method() == Method::POST;
            let configured = is_webhook.then(|| self.configured(source)).flatten();
            self.refusals.tell(&Refused {
                what: "a webhook",
                receipt,
                source: match &configured {
                    Some(name) => Named::Configured(name),
                    None => Named::Claimed(source),
                },
                peer: request.peer_addr(),
                cause,
                reason: answer.reason(),
            });
        }
        answer.into_response(receipt)
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
        (receipt, attempt): (Uuid, &mut Option<Attempt>),
        request: &HttpRequest,
        source: &str,
        token: Option<&str>,
        payload: web::Payload,
    ) -> Result<Answer, Answer> {
        let size = request_size(request);
        let lookup = self.find(source, size).await?;
        let (remembered, listed) = match &lookup {
            Lookup::Known(source) if source.is_dialed() => return Err(unknown()),
            Lookup::Known(source) => (Some(source.name.clone()), Some(source)),
            Lookup::Unknown => return Err(unknown()),
            Lookup::Unread => (self.remembered(source), None),
        };
        let named = remembered.clone().unwrap_or_else(|| source.into());
        let attempt = attempt.insert(Attempt::of(named, listed.map(Arc::as_ref)));
        if listed.is_some_and(|source| !source.enabled) {
            return Err(disabled());
        }
        let source = remembered.ok_or_else(unread)?;
        // JSON text in Postgres cannot hold it, so no secret can either.
        if token.is_some_and(|token| token.contains('\0')) {
            return Err(Answer::error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                None,
            ));
        }
        refuse_compressed(request)?;
        let payer = Payer::Source(source.clone());
        let mut share = self.budget.try_take(payer, size).map_err(busy)?;
        let needs_5xx = listed.is_none_or(|source| source.needs_5xx());
        let body = self.read(request, payload, &mut share, needs_5xx).await?;
        attempt.read(&body);

        let pairs = request.headers().iter();
        let mut headers = Headers::fold(pairs.map(|(k, v)| (k.as_str(), v.as_bytes())));
        if let Some(token) = token {
            headers.set_url_token(token);
        }
        let request = Request {
            source,
            body,
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
        if is_listed && !spooled_at_once(&self.directory.database(), spool.is_stalled()) {
            let hold = HOLD.min(self.pipeline.patience());
            let outcome = tokio::select! {
                outcome = self.commit(request.clone()) => outcome,
                () = self.directory.down() => Err(Refusal::Late),
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
                Err(match self.directory.database() {
                    Database::Up => answer,
                    Database::Down(reason) => answer.because(reason),
                })
            }
            Err(Refusal::Busy | Refusal::Stopping) => Err(Answer::of(outcome)),
            outcome => Ok(Answer::of(outcome)),
        }
    }

    async fn commit(&self, request: Request) -> Outcome {
        let outcome = self.pipeline.submit(vec![request]).await.pop();
        outcome.unwrap_or(Err(Refusal::Stopping))
    }

    /// The whole body.
    async fn read(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
        share: &mut Share,
        needs_5xx: bool,
    ) -> Result<Bytes, Answer> {
        let announced = announced(request).unwrap_or(0);
        if announced > self.max_body as u64 {
            return Err(self.too_large());
        }
        let turn = request.conn_data::<Turn>();
        let _reading = turn.map(Turn::read);
        let reading = timeout(self.body_timeout, self.collect(payload, share));
        let body = reading.await;
        let body = body.map_err(|_| slow(self.body_timeout, needs_5xx))??;
        if let Some(turn) = turn {
            turn.finish();
        }
        Ok(body)
    }

    /// Takes from the budget as the bytes come: an announcement is only a promise.
    async fn collect(&self, mut payload: web::Payload, share: &mut Share) -> Result<Bytes, Answer> {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| {
                Answer::error(StatusCode::BAD_REQUEST, "malformed", error.to_string())
            })?;
            if body.len() + chunk.len() > self.max_body {
                return Err(self.too_large());
            }
            share.try_grow(chunk.len()).map_err(busy)?;
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn too_large(&self) -> Answer {
        let detail = format!("a body has at most {} bytes", self.max_body);
        Answer::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).closing()
    }
}

/// The bytes that are held of a request before its body.
fn request_size(request: &HttpRequest) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len());
    request.path().len() + headers.sum::<usize>()
}

fn announced(request: &HttpRequest) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

fn refuse_compressed(request: &HttpRequest) -> Result<(), Answer> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let detail = "send the body as it is, without Content-Encoding".to_owned();
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Answer::error(status, "unsupported_encoding", detail))
}
