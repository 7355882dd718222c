//! The way of a request in: its source, its body, and the commit or the spool.

use std::sync::Arc;

use actix_web::{HttpRequest, http::StatusCode, web};
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    super::{
        answer::{Answer, busy, disabled, unknown, unread, unspooled},
        attempts::Attempt,
        body::{BodyLimits, coding},
    },
    HOLD, Hooks, Path, Seen, request_size,
};
use crate::{
    admission::{
        budget::{Payer, Share},
        directory::Lookup,
    },
    pipeline::request::{Outcome, Refusal, Request},
    spool::{spooled_after, spooled_at_once},
};

impl Hooks {
    /// The answer to a request; an error if no commit counts it. It is `refused` whatever it
    /// contains, once its body was read.
    pub(super) async fn admit(
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
