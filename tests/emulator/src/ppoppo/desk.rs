//! Who may call, and how often. Both hold for all calls of an app together.

use std::sync::Arc;

use tonic::{Request, Status};

use super::{
    quota::Quota,
    token::{Token, Tokens},
};
use crate::faults::Faults;

/// What callers must show.
#[derive(Debug)]
pub(crate) enum Access {
    /// This bearer token.
    Token(String),
    /// One that was issued.
    Issued(Arc<Tokens>),
}

#[derive(Debug)]
pub(super) struct Desk {
    access: Access,
    pub(super) quota: Quota,
    pub(super) faults: Arc<Faults>,
}

impl Desk {
    pub(super) fn new(access: Access, faults: Arc<Faults>) -> Self {
        Self {
            access,
            quota: Quota::new(Arc::clone(&faults)),
            faults,
        }
    }

    /// The token of a call, where tokens are issued.
    pub(super) fn admit<T>(&self, request: &Request<T>) -> Result<Option<Arc<Token>>, Status> {
        let shown = request.metadata().get("authorization");
        let shown = shown
            .and_then(|shown| shown.to_str().ok())
            .and_then(|shown| shown.strip_prefix("Bearer "));
        match (&self.access, shown) {
            (Access::Issued(tokens), Some(shown)) => tokens.admit(shown).map(Some),
            (Access::Token(token), Some(shown)) if shown == token => Ok(None),
            _ => Err(Status::unauthenticated("fetch a new token")),
        }
    }

    /// How a stream ends when its token does: with a status, or cleanly.
    pub(super) fn end(&self, token: &Token) -> Option<Status> {
        match &self.access {
            Access::Issued(tokens) => tokens.end(token),
            Access::Token(_) => None,
        }
    }
}
