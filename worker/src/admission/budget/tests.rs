use futures_util::FutureExt;

use super::*;

fn budget(share: u8) -> Budget {
    with_wire(share, 100)
}

fn with_wire(share: u8, wire: u32) -> Budget {
    Budget::new(Limits {
        requests: 4,
        bytes: 100,
        share,
        wire,
        message: 0,
    })
}

fn payer(name: &str) -> Payer {
    Payer::Source(name.into())
}

fn wire(name: &str) -> Payer {
    Payer::Wire(name.into())
}

fn spent<T>(result: Result<T, Spent>) -> Option<Spent> {
    result.err()
}

#[test]
fn a_payer_has_its_share_and_the_others_the_rest() {
    let budget = budget(50);
    let mut first = budget.try_take(payer("a"), 10).unwrap();
    assert_eq!(first.try_grow(30), Ok(()));
    assert_eq!(first.try_grow(11), Err(Spent::Share), "bytes");
    assert_eq!(first.try_grow(10), Ok(()));
    let second = budget.try_take(payer("a"), 0).unwrap();
    assert_eq!(spent(budget.try_take(payer("a"), 0)), Some(Spent::Share));
    let mut third = budget.try_take(payer("b"), 50).unwrap();
    assert_eq!(third.try_grow(1), Err(Spent::Share));
    assert_eq!(budget.taken(), (3, 100));
    drop((first, second, third));
    assert_eq!(budget.taken(), (0, 0));
    assert!(budget.try_take(payer("a"), 50).is_ok());
}

#[test]
fn many_payers_meet_the_whole() {
    let budget = budget(50);
    let held = [("a", 40), ("b", 40)].map(|(name, bytes)| {
        let share = budget.try_take(payer(name), bytes).unwrap();
        (share, budget.try_take(payer(name), 0).unwrap())
    });
    assert_eq!(spent(budget.try_take(payer("c"), 0)), Some(Spent::Budget));
    drop(held);
    let mut held = ["a", "b", "c"].map(|name| budget.try_take(payer(name), 30).unwrap());
    assert_eq!(held[0].try_grow(11), Err(Spent::Budget), "bytes");
    assert_eq!(held[0].try_grow(10), Ok(()));
}

#[test]
fn a_refused_request_takes_nothing() {
    let budget = budget(100);
    assert!(budget.try_take(payer("a"), 101).is_err());
    let held = budget.try_take(payer("b"), 100).unwrap();
    assert!(budget.try_take(payer("a"), 1).is_err());
    drop(held);
    assert_eq!(budget.taken(), (0, 0));
    assert!(budget.try_take(payer("a"), 100).is_ok());
}

#[test]
fn waiting_ends_when_there_is_room() {
    let budget = budget(100);
    let held = budget.try_take(payer("a"), 60).unwrap();
    let mut waiting = Box::pin(budget.take(payer("b"), 2, 50));
    assert!((&mut waiting).now_or_never().is_none());
    drop(held);
    assert!(waiting.now_or_never().flatten().is_some());
}

#[test]
fn more_than_is_to_be_had_is_let_through_alone() {
    for (share, payer, expected) in [
        (100, wire("a"), (4, 100)),
        (100, payer("a"), (4, 50)),
        (30, payer("a"), (1, 30)),
    ] {
        let budget = budget(share);
        let taking = budget.take(payer, 50, 5_000).now_or_never().flatten();
        let taken = taking.unwrap();
        assert_eq!(budget.taken(), expected);
        drop(taken);
    }
}

#[test]
fn a_chunk_finds_room_beside_its_own_wire_bytes() {
    let budget = budget(50);
    let wire = budget.take(wire("a"), 0, 5_000).now_or_never().flatten();
    assert_eq!(budget.taken(), (0, 25));
    let decoded = budget.take(payer("a"), 1, 5_000).now_or_never().flatten();
    assert!(wire.is_some() && decoded.is_some());
}

#[test]
fn what_is_on_the_wire_leaves_room_whatever_the_share() {
    let budget = with_wire(100, 25);
    let take = |payer, bytes| budget.take(payer, 0, bytes);
    let mut held: Vec<_> = (0..5)
        .map(|_| take(wire("a"), 5).now_or_never().flatten().unwrap())
        .collect();
    let mut next = Box::pin(take(wire("a"), 5));
    assert!((&mut next).now_or_never().is_none());
    assert!(budget.try_take(payer("a"), 75).is_ok(), "a webhook");
    held.pop();
    assert!(next.now_or_never().flatten().is_some());
}

#[test]
fn what_one_source_has_on_the_wire_leaves_room_for_another() {
    let budget = with_wire(50, 40);
    let take = |name, bytes| budget.take(wire(name), 0, bytes).now_or_never().flatten();
    // Half of the wire's part, however much it wants.
    let first = take("a", 5_000).unwrap();
    assert_eq!(budget.taken(), (0, 20));
    assert!(take("a", 1).is_none());
    let second = take("b", 20).unwrap();
    assert!(take("c", 1).is_none(), "all of the wire's part");
    assert!(budget.try_take(payer("a"), 50).is_ok(), "a webhook");
    drop(first);
    assert!(take("c", 20).is_some());
    drop(second);
    assert_eq!(budget.taken(), (0, 0));
}

#[test]
fn one_message_of_a_source_fits_whatever_the_share() {
    let budget = Budget::new(Limits {
        requests: 4,
        bytes: 100,
        share: 50,
        wire: 40,
        message: 30,
    });
    let mut share = budget
        .take(wire("a"), 0, 5_000)
        .now_or_never()
        .flatten()
        .unwrap();
    assert_eq!(budget.taken(), (0, 30));
    let part = share.cut(10).unwrap();
    assert!(share.cut(21).is_none());
    drop(share);
    assert_eq!(budget.taken(), (0, 10));
    drop(part);
    assert_eq!(budget.taken(), (0, 0));
}
