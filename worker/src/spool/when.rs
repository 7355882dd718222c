//! Whether a webhook's request goes to the spool.

use crate::{
    pipeline::request::{Outcome, Refusal, Verdict},
    sources::source::Database,
};

/// Before it was tried: where Postgres is known to be away, or commits have stalled and
/// the spool's own drain is what finds out when they go on. Nobody waits out a patience
/// that is known to be in vain.
pub(crate) fn spooled_at_once(database: &Database, stalled: bool) -> bool {
    stalled || matches!(database, Database::Down(_))
}

/// Afterwards: where it may pass later. The outcome of the commit may be unknown then;
/// the drain brings the same receipt id, so a request that was stored meets itself.
/// Its source was listed when it was tried: that it is unknown now counts for something
/// where Postgres `is_telling` of its sources, else its database may be being restored.
pub(crate) fn spooled_after(outcome: &Outcome, is_telling: bool) -> bool {
    match outcome {
        Err(Refusal::Late | Refusal::Failed(_) | Refusal::Declined(_) | Refusal::Busy) => true,
        Ok(receipt) => receipt.verdict == Verdict::UnknownSource && !is_telling,
        // Nothing of it is stored, and another worker may be there at once.
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
