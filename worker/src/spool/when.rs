//! Whether a webhook is spooled.

use crate::pipeline::request::{Outcome, Refusal, Verdict};

/// Whether to spool before trying Postgres: if Postgres is known to take no requests, or if
/// commits stall and the drain of the spool will notice when they work again. No request
/// then waits in vain. (A connection that is lost says nothing of this: the control connection
/// may be lost while those that store requests are not.)
pub(crate) fn spooled_at_once(is_taking: bool, stalled: bool) -> bool {
    stalled || !is_taking
}

/// Whether to spool after trying Postgres: if the request may succeed later. The outcome
/// of the commit may be unknown; the drain submits the same receipt id, so that a request
/// that was stored is recognized as a duplicate. The source was listed when the request
/// was tried. If it is unknown now, that counts only if Postgres `is_telling`, because
/// the database may be being restored otherwise.
pub(crate) fn spooled_after(outcome: &Outcome, is_telling: bool) -> bool {
    match outcome {
        Err(
            Refusal::Late
            | Refusal::Failed(_)
            | Refusal::Declined(_)
            | Refusal::Busy
            | Refusal::Overloaded,
        ) => true,
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
        for (is_taking, stalled, expected) in [
            (true, false, false),
            (true, true, true),
            (false, false, true),
            (false, true, true),
        ] {
            assert_eq!(spooled_at_once(is_taking, stalled), expected, "{is_taking}");
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
            (Err(Refusal::Overloaded), [true, true]),
        ] {
            let spooled = [true, false].map(|is_telling| spooled_after(&outcome, is_telling));
            assert_eq!(spooled, expected, "{outcome:?}");
        }
    }
}
