//! The log of refused requests: one line for each, with the receipt id in its answer.
//!
//! Where a configured source loses a request, the line is a warning: the first one of a
//! source and a cause in each period of [`EVERY`], and at the end of the period one line that
//! counts the others. All other refusals, those of unknown sources among them, are logged at
//! debug. So a client that floods one source can fill neither the log nor the memory.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tracing::{debug, warn};
use uuid::Uuid;

use super::peer::Peer;

/// Period in which a source and a cause have one warning, and one that counts the others.
const EVERY: Duration = Duration::from_secs(60);
/// Limit on the pairs of a source and a cause in a period. Further ones are logged at debug.
const MOST: usize = 1_000;
/// Limit on what a line repeats of a name that a client made up, in characters.
const NAME: usize = 100;

/// The header of an answer, and the metadata of a gRPC status, that carries the receipt id.
pub(crate) const RECEIPT: &str = "tidings-receipt";

/// A request that is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused<'a> {
    /// Such as "a webhook".
    pub(crate) what: &'static str,
    pub(crate) receipt: Uuid,
    pub(crate) source: Named<'a>,
    pub(crate) peer: Option<Peer>,
    /// The word in the answer.
    pub(crate) cause: &'static str,
    /// Details for the operator, which the sender is not told.
    pub(crate) reason: Option<&'a str>,
}

/// The source of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    Configured(&'a Arc<str>),
    /// A name that the client gave, of no known source; empty where it gave none.
    Claimed(&'a str),
}

/// How many requests were refused without a warning in this period, by source and cause.
type Suppressed = BTreeMap<(Arc<str>, &'static str), u64>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Suppressed>>);

impl Refusals {
    /// Logs one refusal.
    pub(crate) fn tell(&self, refused: &Refused<'_>) {
        let Refused {
            what,
            receipt,
            source,
            peer,
            cause,
            reason,
        } = *refused;
        let peer = peer.map(tracing::field::display);
        let clipped;
        let (source, is_warning) = match source {
            Named::Configured(name) => (name.as_ref(), self.is_first(name, cause)),
            Named::Claimed(name) => {
                clipped = name.chars().take(NAME).collect::<String>();
                (clipped.as_str(), false)
            }
        };
        if is_warning {
            warn!(%receipt, source, peer, cause, reason, "{what} is refused");
        } else {
            debug!(%receipt, source, peer, cause, reason, "{what} is refused");
        }
    }

    /// Counts the refusal unless it is the first one of its source and cause in this period.
    fn is_first(&self, source: &Arc<str>, cause: &'static str) -> bool {
        let mut suppressed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = suppressed.len() >= MOST;
        match suppressed.get_mut(&(source.clone(), cause)) {
            Some(count) => *count += 1,
            None if is_full => {}
            None => {
                suppressed.insert((source.clone(), cause), 0);
                return true;
            }
        }
        false
    }

    /// Ends a period every minute, for ever.
    pub(crate) async fn follow(self) {
        loop {
            sleep(EVERY).await;
            self.summarize();
        }
    }

    /// Ends the period: logs how many refusals were not, and forgets them.
    pub(crate) fn summarize(&self) {
        let suppressed = {
            let mut suppressed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *suppressed)
        };
        for ((source, cause), suppressed) in suppressed {
            if suppressed > 0 {
                let source = source.as_ref();
                warn!(source, cause, suppressed, "more requests were refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::receipt, testing::Log};

    fn refused<'a>(source: Named<'a>, cause: &'static str) -> Refused<'a> {
        Refused {
            what: "a webhook",
            receipt: receipt::id(),
            source,
            peer: Some(std::net::SocketAddr::from(([192, 0, 2, 7], 4711)).into()),
            cause,
            reason: None,
        }
    }

    /// Lines of this level.
    fn lines(log: &Log, level: &str) -> Vec<String> {
        let text = log.text();
        let of_level = text.lines().filter(|line| line.contains(level));
        of_level.map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_makes_two_warnings_a_minute_and_the_second_counts_the_rest() {
        let log = Log::default();
        let _listening = log.listen();
        let refusals = Refusals::default();
        let (sms, mail) = (Arc::from("sms"), Arc::from("mail"));
        let follow = tokio::spawn(refusals.clone().follow());
        tokio::task::yield_now().await;
        for minute in 1..=3 {
            for _ in 0..1_000 {
                refusals.tell(&refused(Named::Configured(&sms), "commit_timeout"));
            }
            refusals.tell(&refused(Named::Configured(&sms), "declined"));
            refusals.tell(&refused(Named::Configured(&mail), "commit_timeout"));
            // Three that are the first of their kind.
            assert_eq!(lines(&log, "WARN").len(), minute * 4 - 1, "{minute}");
            sleep(EVERY).await;
            tokio::task::yield_now().await;
            let warnings = lines(&log, "WARN");
            assert_eq!(warnings.len(), minute * 4, "{minute}");
            let summary = warnings.last().unwrap();
            assert!(summary.contains("suppressed=999"), "{summary}");
            assert!(summary.contains(r#"source="sms""#), "{summary}");
            assert!(summary.contains(r#"cause="commit_timeout""#), "{summary}");
        }
        // Every refusal has its line all the same.
        assert_eq!(lines(&log, "is refused").len(), 3 * 1_002);
        sleep(EVERY * 10).await;
        assert_eq!(lines(&log, "WARN").len(), 12, "a quiet period has no line");
        follow.abort();
    }

    #[test]
    fn a_line_has_receipt_source_peer_and_cause() {
        let log = Log::default();
        let _listening = log.listen();
        let sms = Arc::from("sms");
        let refused = Refused {
            reason: Some("the disk is full"),
            ..refused(Named::Configured(&sms), "spool_failed")
        };
        Refusals::default().tell(&refused);
        let [line] = lines(&log, "WARN").try_into().unwrap();
        for part in [
            format!("receipt={}", refused.receipt),
            r#"source="sms""#.to_owned(),
            "peer=192.0.2.7:4711".to_owned(),
            r#"cause="spool_failed""#.to_owned(),
            r#"reason="the disk is full""#.to_owned(),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
    }

    #[test]
    fn names_that_clients_make_up_are_logged_at_debug_clipped_and_escaped() {
        let log = Log::default();
        let _listening = log.listen();
        let refusals = Refusals::default();
        let long = "x".repeat(10_000);
        for name in ["line\nforged", &long] {
            refusals.tell(&refused(Named::Claimed(name), "unknown_source"));
        }
        assert!(lines(&log, "WARN").is_empty());
        let lines = lines(&log, "DEBUG");
        assert!(lines[0].contains(r"line\nforged"), "{}", lines[0]);
        assert!(lines[1].len() < 500, "{}", lines[1].len());
        assert!(refusals.0.lock().unwrap().is_empty());
    }

    #[test]
    fn no_number_of_sources_takes_more_memory_than_the_limit() {
        let log = Log::default();
        let _listening = log.listen();
        let refusals = Refusals::default();
        for number in 0..MOST * 2 {
            let name = Arc::from(format!("source-{number}"));
            refusals.tell(&refused(Named::Configured(&name), "busy"));
        }
        assert_eq!(refusals.0.lock().unwrap().len(), MOST);
        assert_eq!(lines(&log, "WARN").len(), MOST);
        assert_eq!(lines(&log, "is refused").len(), MOST * 2);
    }
}
