//! What SQL says once more, because it cannot ask the library for it, or not for free.

use std::{fs, path::Path};

use tidings_core::{Kind, log};

const MESSAGE: &str = include_str!("../../sql/message.sql");
const FIRST_FINAL: u8 = 4;

/// The delivery status of a message that an event about consent gives it, as `_status_of`
/// of `sql/message.sql` says it.
fn status_of(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::ConsentRequested => Some(Kind::MessagePending),
        Kind::ConsentDenied | Kind::ConsentExpired => Some(Kind::MessageFailed),
        _ => None,
    }
}

/// The rank of a delivery status; none of a kind that is no status. Whoever adds a kind
/// decides it here, and gives `_rank` and the comments of `sql/message.sql` the same.
fn rank(kind: Kind) -> Option<u8> {
    match kind {
        Kind::MessageAccepted => Some(1),
        Kind::MessageSent => Some(2),
        Kind::MessagePending => Some(3),
        Kind::MessageDelivered => Some(FIRST_FINAL),
        Kind::MessageFailed => Some(5),
        Kind::MessageRejected => Some(6),
        Kind::MessageExpired => Some(7),
        Kind::MessageBounced => Some(8),
        Kind::MessageOpened
        | Kind::MessageClicked
        | Kind::MessageComplained
        | Kind::MessageUnsubscribed
        | Kind::ConsentRequested
        | Kind::ConsentGranted
        | Kind::ConsentDenied
        | Kind::ConsentExpired
        | Kind::RequestCompleted
        | Kind::RequestFailed
        | Kind::PollAnswered
        | Kind::SubscriberUpdated
        | Kind::SubscriberSubscribed
        | Kind::SubscriberUnsubscribed
        | Kind::InboundReceived
        | Kind::Other => None,
    }
}

/// The delivery statuses, by their rank.
fn statuses() -> Vec<(u8, &'static str)> {
    let ranked = Kind::ALL.into_iter();
    let mut ranked: Vec<_> = ranked
        .filter_map(|kind| Some((rank(kind)?, kind.as_str())))
        .collect();
    ranked.sort_unstable();
    ranked
}

/// The branches of the `case` over a kind in a function of `sql/message.sql`.
fn branches(function: &str) -> Vec<(&'static str, &'static str)> {
    let head = format!("create function {function}(");
    let (_, body) = MESSAGE.split_once(&head).unwrap_or_default();
    let (body, _) = body.split_once("$$;").unwrap_or_default();
    body.lines()
        .filter_map(|line| line.trim().strip_prefix("when '"))
        .filter_map(|line| line.split_once("' then "))
        .collect()
}

#[test]
fn sql_ranks_every_status_and_nothing_else() {
    let ranked: Vec<_> = branches("_rank")
        .into_iter()
        .map(|(kind, rank)| (rank.parse().unwrap(), kind))
        .collect();
    assert_eq!(ranked, statuses());
    let comment = format!("final from {FIRST_FINAL} on");
    assert_eq!(MESSAGE.matches(&comment).count(), 2, "{comment}");
}

#[test]
fn sql_gives_a_message_the_status_that_its_consent_has() {
    let given: Vec<_> = Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((kind.as_str(), format!("'{}'", status_of(kind)?.as_str()))))
        .collect();
    let given: Vec<_> = given.iter().map(|(kind, it)| (*kind, &**it)).collect();
    assert_eq!(branches("_status_of"), given);
}

#[test]
fn the_status_column_names_every_status() {
    let statuses = statuses();
    let (open, last): (Vec<_>, Vec<_>) = statuses.iter().partition(|(rank, _)| *rank < FIRST_FINAL);
    let names =
        |of: &[&(u8, &'static str)]| -> Vec<_> { of.iter().map(|(_, name)| *name).collect() };
    let comment = format!(
        "comment on column message.status is '{} < final: {}.",
        names(&open).join(" < "),
        names(&last).join(", "),
    );
    assert!(MESSAGE.contains(&comment), "{comment}");
}

#[test]
fn sql_looks_for_the_locks_that_the_library_takes() {
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
    let mut looks = 0;
    for file in fs::read_dir(sql).unwrap() {
        let path = file.unwrap().path();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (_, after) in text
            .match_indices("classid::bigint >> 16 = ")
            .map(|(at, of)| text.split_at(at + of.len()))
        {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            assert_eq!(digits.parse(), Ok(log::TAG), "{}", path.display());
            let kind = format!("objsubid = {} and", log::KIND);
            assert!(text.contains(&kind), "{}", path.display());
            looks += 1;
        }
    }
    assert!(looks > 0, "nothing looks for these locks");
}
