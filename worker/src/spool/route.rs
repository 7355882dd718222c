//! Whether a webhook's request goes to the spool.

use crate::{
    request::{Outcome, Refusal},
    source::Database,
};

/// Before it was tried (`outcome` is `None`): where Postgres is known to be away, or
/// commits have stalled and the spool's own drain is what finds out when they go on.
/// Nobody waits out a patience that is known to be in vain.
///
/// Afterwards: where it may pass later. The outcome of the commit may be unknown then;
/// the drain brings the same receipt id, so a request that was stored meets itself.
pub(crate) fn spooled(database: &Database, stalled: bool, outcome: Option<&Outcome>) -> bool {
    match outcome {
        None => stalled || matches!(database, Database::Down(_)),
        Some(Err(Refusal::Unavailable(_) | Refusal::Declined(_) | Refusal::Busy)) => true,
        // Stopping: nothing of it is stored, and another worker may be there at once.
        Some(Ok(_) | Err(Refusal::Stopping)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Verdict, fake};

    #[test]
    fn an_outage_is_not_tried_again_by_each_request() {
        let down = Database::Down("gone".to_owned());
        for (database, stalled, expected) in [
            (&Database::Up, false, false),
            (&Database::Up, true, true),
            (&down, false, true),
            (&down, true, true),
        ] {
            assert_eq!(spooled(database, stalled, None), expected, "{database:?}");
        }
    }

    #[test]
    fn what_was_answered_for_good_is_not_spooled() {
        let receipt = |verdict| Ok(fake::receipt(verdict));
        for (outcome, expected) in [
            (receipt(Verdict::Accepted), false),
            (receipt(Verdict::Unauthorized), false),
            (receipt(Verdict::Malformed), false),
            (receipt(Verdict::UnknownSource), false),
            (receipt(Verdict::Disabled), false),
            (Err(Refusal::Stopping), false),
            (Err(Refusal::Unavailable("x".into())), true),
            (Err(Refusal::Declined("x".into())), true),
            (Err(Refusal::Busy), true),
        ] {
            for database in [Database::Up, Database::Down(String::new())] {
                let spooled = spooled(&database, true, Some(&outcome));
                assert_eq!(spooled, expected, "{outcome:?}");
            }
        }
    }
}
