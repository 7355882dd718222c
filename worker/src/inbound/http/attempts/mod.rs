//! Which requests their providers have given up.
//!
//! What is kept is no loss: in Postgres, in the spool, or in `tidings.rejected`. A request is
//! lost if it was refused before that, and its provider does not send it again. The facts are
//! in the provider's module.
//!
//! - A provider that gives up after any 4xx has given up a request that was answered so.
//! - A provider with a schedule of [`retries`](tidings_core::Provider::retries) has given up a
//!   body that was answered 503 as often as that schedule has attempts, unless it was
//!   accepted in between. Bodies are compared by their digests.
//! - A request that was refused before its body was read has no digest. There
//!   [`window`] says whether a request can have been lost.
//! - A provider that repeats until it is accepted, or that does not say how often, is not
//!   looked at.
//!
//! Only the requests of one sender are counted together, and a gap is written only if that
//! sender has proved to be the source's ([`Proof`]). What a worker does not see, it does not
//! count: attempts that reached another worker, or none.

mod recent;
mod window;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::{
    HttpRequest,
    http::{StatusCode, header},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tidings_core::{Provider, provider};
use tokio::time::Instant;

use self::{recent::Recent, window::Window};
use super::answer::Answer;
use crate::{
    gaps::{Cause, Extent, Gaps, Key, Proof, Report, report},
    pipeline::headers::Headers,
    sources::source::Source,
};

/// Limit on the bodies that are compared.
const BODIES: usize = 10_000;
/// Limit on the senders whose refusals are counted.
const SENDERS: usize = 1_000;
/// Time after which a body that does not come again is forgotten. It is longer than the
/// attempts of any provider take, even if each of them waits for its answer.
const KEEP: Duration = Duration::from_secs(5 * 60);
/// Limit on the name of a source, in bytes.
const LONGEST_NAME: usize = 63;
/// Limit on the headers that prove whose a request is, in bytes.
const LONGEST_PROOF: usize = 4 << 10;

/// The refusals that may become losses; a handle.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    state: Arc<Mutex<State>>,
    /// The number of bodies that were refused lately, so that an accepted request costs nothing
    /// where there is none.
    bodies: Arc<AtomicUsize>,
    gaps: Gaps,
}

#[derive(Debug)]
struct State {
    start: Instant,
    bodies: Recent<Hash, Body>,
    senders: Recent<Hash, Window>,
}

/// SHA-256.
type Hash = [u8; 32];

/// Whose requests are counted together.
#[derive(Debug)]
struct Sender {
    source: Arc<str>,
    /// A JSON object.
    headers: String,
    /// The hash of the source, the authorization and the token, which are not kept themselves
    /// because strangers may have sent them.
    hash: Hash,
}

/// A request, its URL token, and the address of its sender.
pub(super) type Who<'a> = (&'a HttpRequest, Option<&'a str>, Option<IpAddr>);

/// A body that was refused.
#[derive(Debug)]
struct Body {
    sender: Hash,
    refusals: usize,
    /// The time at which it was refused first, in milliseconds since 1970.
    from: u64,
    bytes: u64,
}

/// A request that is being received: what is known of it when it is answered.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    source: Arc<str>,
    /// `None` if Postgres is away, and the source was not listed before.
    provider: Option<&'static str>,
    /// Whether the source may demand an address.
    needs_address: bool,
    body: Option<Bytes>,
}

impl Attempt {
    pub(super) fn of(source: Arc<str>, listed: Option<&Source>) -> Self {
        // A provider that this worker does not know has no rule.
        let provider = listed.map(|source| provider::find(&source.provider));
        Self {
            source,
            provider: provider.map(|known| known.map_or("", |provider| provider.name)),
            needs_address: listed.is_none_or(Source::has_allowed_addresses),
            body: None,
        }
    }

    pub(super) fn read(&mut self, body: &Bytes) {
        self.body = Some(body.clone());
    }

    /// The providers that the source may have.
    fn providers(&self) -> impl Iterator<Item = &'static Provider> {
        let name = self.provider;
        let all = provider::ALL.into_iter();
        all.filter(move |provider| name.is_none_or(|name| provider.name == name))
    }
}

impl Attempts {
    pub(crate) fn new(gaps: Gaps) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                start: Instant::now(),
                bodies: Recent::new(BODIES, KEEP),
                senders: Recent::new(SENDERS, KEEP),
            })),
            bodies: Arc::default(),
            gaps,
        }
    }

    /// Notes how a request was answered. `is_kept` says that its body was kept, whatever the
    /// status.
    pub(super) fn answered(&self, attempt: &Attempt, who: Who<'_>, answer: &Answer, is_kept: bool) {
        let status = answer.status;
        let gave_up = |provider: &&Provider| match status {
            StatusCode::SERVICE_UNAVAILABLE => provider.retries.is_some(),
            _ => provider.gives_up_after_4xx,
        };
        let is_refused = status == StatusCode::SERVICE_UNAVAILABLE
            || (status.is_client_error() && !is_kept && status != StatusCode::UNAUTHORIZED);
        if !is_refused {
            if self.bodies.load(Ordering::Relaxed) > 0
                && attempt
                    .providers()
                    .any(|provider| provider.retries.is_some())
                && let Some(sender) = sender(attempt, who)
            {
                self.forget(&sender, attempt);
            }
            return;
        }
        let mut providers = attempt.providers().filter(gave_up).peekable();
        if providers.peek().is_none() {
            return;
        }
        let Some(sender) = sender(attempt, who) else {
            return;
        };
        let cause = answer.cause().unwrap_or_default();
        for provider in providers {
            if status == StatusCode::SERVICE_UNAVAILABLE {
                self.refused(&sender, attempt, provider, cause);
            } else {
                self.given_up(&sender, provider, status, cause);
            }
        }
    }

    /// After such a 4xx the request is not sent again.
    fn given_up(&self, sender: &Sender, provider: &Provider, status: StatusCode, cause: &str) {
        let now = report::now();
        let extent = Extent {
            from: Some(now),
            to: now,
            requests: 1,
            bytes: None,
        };
        let what = format!("answered {} ({cause})", status.as_u16());
        let detail = format!("{} sends none of them again", provider.name);
        self.report(sender, provider, what, extent, detail);
    }

    fn refused(&self, sender: &Sender, attempt: &Attempt, provider: &Provider, cause: &str) {
        let Some(pauses) = provider.retries else {
            return;
        };
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = state.refused(sender, attempt, pauses, now);
        let loss = state.count(sender, attempt.body.is_none(), pauses, now);
        self.bodies.store(state.bodies.len(), Ordering::Relaxed);
        drop(state);
        let gave_up = format!(
            "{} has given up after {} attempts",
            provider.name,
            pauses.len() + 1
        );
        if let Some(extent) = lost {
            let detail = format!("{gave_up}, the last of them refused with {cause}");
            let what = "answered 503 each time".to_owned();
            self.report(sender, provider, what, extent, detail);
        }
        if let Some(extent) = loss {
            let span = pauses.iter().sum::<Duration>().as_secs();
            let detail = format!(
                "refusals for longer than the {span} s after which {} gives up, the last of them with {cause}",
                provider.name
            );
            let what = "answered 503 before the body was read".to_owned();
            self.report(sender, provider, what, extent, detail);
        }
    }

    /// An accepted body is not lost, however often it was refused before.
    fn forget(&self, sender: &Sender, attempt: &Attempt) {
        if let Some(digest) = digest(sender, attempt) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.bodies.remove(&digest);
            state.bodies.expire(Instant::now());
            self.bodies.store(state.bodies.len(), Ordering::Relaxed);
        }
    }

    fn report(
        &self,
        sender: &Sender,
        provider: &Provider,
        what: String,
        extent: Extent,
        detail: String,
    ) {
        self.gaps.report(Report {
            key: Key {
                source: sender.source.to_string(),
                cause: Cause::ProviderGaveUp,
                what,
                proof: Some(Proof {
                    provider: provider.name.to_owned(),
                    headers: sender.headers.clone(),
                }),
            },
            extent,
            detail,
        });
    }
}

impl State {
    /// Counts a refusal of a body that was read; the extent of the loss if it was the last.
    fn refused(
        &mut self,
        sender: &Sender,
        attempt: &Attempt,
        pauses: &[Duration],
        now: Instant,
    ) -> Option<Extent> {
        let digest = digest(sender, attempt)?;
        let bytes = attempt.body.as_ref().map_or(0, Bytes::len) as u64;
        let wall = report::now();
        self.bodies.expire(now);
        let mut body = self.bodies.remove(&digest).unwrap_or(Body {
            sender: sender.hash,
            refusals: 0,
            from: wall,
            bytes,
        });
        body.refusals += 1;
        if body.refusals > pauses.len() {
            return Some(Extent {
                from: Some(body.from),
                to: wall,
                requests: 1,
                bytes: Some(body.bytes),
            });
        }
        // A body that is no longer compared counts as one that was not read.
        for body in self.bodies.insert(now, digest, body).into_values() {
            let refusals = u32::try_from(body.refusals).unwrap_or(u32::MAX);
            self.window(body.sender, now, |window, second| {
                window.add(second, refusals, true);
            });
        }
        None
    }

    /// Counts a refusal of this sender; the extent of what was perhaps lost.
    fn count(
        &mut self,
        sender: &Sender,
        is_blind: bool,
        pauses: &[Duration],
        now: Instant,
    ) -> Option<Extent> {
        let loss = self.window(sender.hash, now, |window, second| {
            window.add(second, 1, is_blind);
            window.loss(pauses)
        })?;
        let to = report::now();
        Some(Extent {
            from: Some(to.saturating_sub(loss.since.saturating_mul(1_000))),
            to,
            requests: loss.refusals,
            bytes: None,
        })
    }

    /// Changes the window of this sender, at this second.
    fn window<T>(
        &mut self,
        sender: Hash,
        now: Instant,
        change: impl FnOnce(&mut Window, u64) -> T,
    ) -> T {
        let second = now.saturating_duration_since(self.start).as_secs();
        self.senders.expire(now);
        let window = self.senders.remove(&sender);
        let mut window = window.unwrap_or_else(|| Window::new(second));
        let changed = change(&mut window, second);
        self.senders.insert(now, sender, window);
        changed
    }
}

/// Whose the request may be, by what Postgres can check without its body; `None` if it is
/// certainly nobody's, because Postgres can hold no such name or token.
fn sender(attempt: &Attempt, (request, token, address): Who<'_>) -> Option<Sender> {
    if attempt.source.len() > LONGEST_NAME || token.is_some_and(|token| token.contains('\0')) {
        return None;
    }
    let values = request.headers().get_all(header::AUTHORIZATION);
    let mut headers = Headers::fold(values.map(|value| ("authorization", value.as_bytes())));
    if let Some(token) = token {
        headers.set_url_token(token);
    }
    // A provider may send each attempt from another address.
    let hash = hash([attempt.source.as_bytes(), headers.to_json().as_bytes()]);
    if let Some(address) = address.filter(|_| attempt.needs_address) {
        headers.set_peer_address(address);
    }
    let headers = headers.to_json();
    (headers.len() <= LONGEST_PROOF).then(|| Sender {
        source: attempt.source.clone(),
        hash,
        headers,
    })
}

fn digest(sender: &Sender, attempt: &Attempt) -> Option<Hash> {
    Some(hash([&sender.hash, attempt.body.as_ref()?.as_ref()]))
}

fn hash(parts: [&[u8]; 2]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documents::states;

    #[test]
    fn the_page_of_the_outages_states_what_is_compared() {
        const PAGE: &str = "docs/outages.md";
        let bodies = format!("last {},000 refused bodies", BODIES / 1_000);
        states(PAGE, &bodies);
        assert_eq!(KEEP.as_secs(), 5 * 60);
        states(PAGE, "for five to ten minutes");
        let pauses = provider::find("pushwoosh").unwrap().retries.unwrap();
        let [one, three, eight] = pauses.try_into().unwrap();
        let words = format!(
            "after {}, {} and {} seconds",
            one.as_secs(),
            three.as_secs(),
            eight.as_secs()
        );
        states(PAGE, &words);
        states("docs/providers.md", &words);
        let span = pauses.iter().sum::<Duration>().as_secs();
        let words = format!("{span} to {} seconds apart", span + window::LEEWAY);
        states(PAGE, &words);
    }
}
