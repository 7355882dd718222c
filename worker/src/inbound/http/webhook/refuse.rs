//! Refused requests: each is counted and logged, and kept if its sender does not send it again.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{ALLOW, HeaderValue},
    },
};
use bytes::Bytes;
use metrics::counter;
use uuid::Uuid;

use super::{
    super::{answer::Answer, body::announced, kept},
    Hooks, Path, Seen,
};
use crate::{
    inbound::refusal::{Named, Refused},
    process::metric,
    sources::refused::KeepRefusal,
};

/// The methods of a hook.
const METHODS: &str = "POST, GET, HEAD, OPTIONS";

impl Hooks {
    /// Keeps a request that its sender does not send again because of this answer, if it is one
    /// of a source's.
    pub(super) fn keep(
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
}

/// Whether requests of this method bring events, be it by mistake.
pub(super) fn carries_events(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// A response that says which methods a hook takes.
pub(super) fn allowing(mut response: HttpResponse) -> HttpResponse {
    let methods = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(ALLOW, methods);
    response
}
