//! Whether a webhook is spooled.

use crate::{
    pipeline::request::{Outcome, Refusal, Verdict},
    sources::source::Database,
};

/// Whether to spool before trying Postgres: if Postgres is known to be down, or if
/// commits stall and the drain of the spool will notice when they work again. No request
/// then waits in vain.
pub(crate) fn spooled_at_once(database: &Database, stalled: bool) -> bool {
    stalled || matches!(database, Database::Down(_))
}

/// Whether to spool after trying Postgres: if the request may succeed later. The outcome
/// of the commit may be unknown; the drain submits the same receipt id, so that a request
/// that was stored is recognized as a duplicate. The source was listed when the request
/// was tried. If it is unknown now, that counts only if Postgres `is_telling`, because
/// the database may be being restored otherwise.
pub(crate) fn spooled_after(outcome: &Outcome, is_telling: bool) -> bool {
    match outcome {
        Err(Refusal::Late | Refusal::Failed(_) | Refusal::Declined(_) | Refusal::Busy) => true,
        Ok(receipt) => receipt.verdict == Verdict::UnknownSource && !is_telling,
        // The request is not stored, and another worker may answer at once.
        Err(Refusal::Stopping) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::request::fake;

    #[test]
    fn an_outage_is_not_tried_again_by_each_request() {
        let down = Database::Down("gone".to_owned());
        for (database, stalled, expected) in [
            (&Database::Up, false, false),
            (&Database::Up, true, true),
            (&down, false, true),
            (&down, true, true),
        ] {
            assert_eq!(spooled_at_once(database, stalled), expected, "{database:?}");
        }
    }

    #[test]
    fn what_was_answered_for_good_is_not_spooled() {
        let receipt = |verdict| Ok(fake::receipt(verdict));
        // Where Postgres tells of its sources, and where it does not.
        for (outcome, expected) in [
            (receipt(Verdict::Accepted), [false, false]),
            (receipt(Verdict::Unauthorized), [false, false]),
            (receipt(Verdict::Malformed), [false, false]),
            (receipt(Verdict::UnknownSource), [false, true]),
            (receipt(Verdict::Disabled), [false, false]),
            (Err(Refusal::Stopping), [false, false]),
            (Err(Refusal::Late), [true, true]),
            (Err(Refusal::Failed("x".into())), [true, true]),
            (Err(Refusal::Declined("x".into())), [true, true]),
            (Err(Refusal::Busy), [true, true]),
        ] {
            let spooled = [true, false].map(|is_telling| spooled_after(&outcome, is_telling));
            assert_eq!(spooled, expected, "{outcome:?}");
        }
    }
}
