//! Which faults happen, and in which order: a function of the seed.
//!
//! Each kind of fault is a card. The whole deck is dealt before it is shuffled again, so
//! that a short drill includes every kind.

use super::fault::{Fault, Kind, LINKS, Link, Target};
use crate::draw::Draw;
use std::fmt;
use std::time::Duration;

/// One cycle in so many has a second fault.
const PAIR_EVERY: u64 = 4;

/// Least time of an outage, within which webhooks arrive while Postgres is down.
const OUTAGE: Duration = Duration::from_secs(1);

/// A fault, perhaps with another one that begins before it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    pub(super) fault: Fault,
    /// And when it begins, after the first.
    pub(super) second: Option<(Duration, Fault)>,
}

/// An action in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begin(Kind),
    End(Kind),
}

impl Cycle {
    /// The actions, and their times after the beginning of the cycle.
    pub(super) fn steps(&self) -> Vec<(Duration, Step)> {
        let faults = std::iter::once((Duration::ZERO, self.fault)).chain(self.second);
        let mut steps: Vec<_> = faults
            .flat_map(|(at, Fault { kind, lasts })| {
                [(at, Step::Begin(kind)), (at + lasts, Step::End(kind))]
            })
            .collect();
        // Stable: a fault that lasts no time begins before it ends.
        steps.sort_by_key(|(at, _)| *at);
        steps
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let second = self.second.iter().map(|(_, fault)| fault.kind);
        std::iter::once(self.fault.kind).chain(second)
    }

    /// Whether the spool must have accepted a request: Postgres is down long enough, and
    /// nothing else is wrong.
    pub(super) fn must_spool(&self) -> bool {
        let away = match self.fault.kind {
            Kind::KillDraining | Kind::ChangeSecret | Kind::MoveSpool => true,
            Kind::KillPostgres | Kind::Refuse(Link::Database) => self.fault.lasts >= OUTAGE,
            _ => false,
        };
        away && self.second.is_none()
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        match &self.second {
            Some((at, second)) => write!(f, "; after {:.1} s {second}", at.as_secs_f64()),
            None => Ok(()),
        }
    }
}

/// What the deck holds.
#[derive(Clone, Copy, Debug)]
enum Card {
    Kill(Kind),
    Drain,
    KillDraining,
    Cut(Link),
    /// Connections that the worker has opened: the worker must notice by itself.
    Lose(Link),
    ExpireCursors,
    Network(fn(Link) -> Kind),
    Delay,
    Pause(Kind),
    /// Longer than a lease.
    LongPause(Kind),
    /// Longer than a webhook waits for its commit where there is a spool.
    LongHold,
    FullDisk,
    ChangeSecret,
    MoveSpool,
    Recreate,
    CutControl,
    BlockLog,
}

/// Number of cycles that include every kind of fault.
pub(super) const WHOLE: usize = DECK.len();

const DECK: [Card; 25] = [
    Card::Kill(Kind::KillWorker),
    Card::Kill(Kind::KillPostgres),
    Card::Drain,
    Card::KillDraining,
    Card::Cut(Link::Webhooks),
    Card::Cut(Link::Pushes),
    // Cut, too; the emulator itself cuts a stream now and then.
    Card::ExpireCursors,
    Card::Cut(Link::Database),
    Card::Lose(Link::Stream),
    Card::Lose(Link::Database),
    Card::Network(Kind::Refuse),
    Card::Network(Kind::Hold),
    Card::Network(Kind::Swallow),
    Card::Delay,
    Card::Pause(Kind::PauseWorker),
    Card::Pause(Kind::PausePostmaster),
    Card::LongPause(Kind::PauseWorker),
    Card::LongPause(Kind::PausePostgres),
    Card::LongHold,
    Card::FullDisk,
    Card::ChangeSecret,
    Card::MoveSpool,
    Card::Recreate,
    Card::CutControl,
    Card::BlockLog,
];

/// So many cycles. Without `full_disk` that card is not in the deck.
pub(super) fn draw(cycles: usize, seed: u64, full_disk: bool) -> Vec<Cycle> {
    let mut draw = Draw::new(seed);
    let mut deck: Vec<Card> = Vec::new();
    let mut schedule = Vec::with_capacity(cycles);
    while schedule.len() < cycles {
        let Some(card) = deck.pop() else {
            deck.extend(DECK);
            draw.shuffle(&mut deck);
            continue;
        };
        let Some(fault) = card.draw(&mut draw) else {
            continue;
        };
        let second = match fault.kind {
            // Nothing is spooled while Postgres is there.
            Kind::FullDisk => outage(&mut draw),
            // Nothing else goes wrong: it is to end well.
            Kind::DrainWorker => None,
            // These have an outage of their own.
            Kind::KillDraining | Kind::ChangeSecret | Kind::MoveSpool | Kind::RecreateDatabase => {
                None
            }
            // Otherwise something else might keep webhooks from being stored.
            kind if kind.is_harmless() => None,
            _ if draw.one_in(PAIR_EVERY) => another(&mut draw, fault.kind.target()),
            _ => None,
        };
        let cycle = match second {
            Some(second) => overlapping(fault, second, &mut draw),
            None => Cycle {
                fault,
                second: None,
            },
        };
        // Drawn all the same: what follows does not depend on the machine.
        if fault.kind != Kind::FullDisk || full_disk {
            schedule.push(cycle);
        }
    }
    schedule
}

/// The first `cycles` of those that include a fault of this kind, which is named as in the
/// summary.
pub(super) fn draw_only(word: &str, cycles: usize, seed: u64, full_disk: bool) -> Vec<Cycle> {
    // A deck has each kind.
    let all = draw(cycles.saturating_mul(WHOLE), seed, full_disk);
    let has = |cycle: &Cycle| cycle.kinds().any(|kind| kind.word() == word);
    all.into_iter().filter(has).take(cycles).collect()
}

/// The shorter one begins before the longer one is half over.
fn overlapping(one: Fault, other: Fault, draw: &mut Draw) -> Cycle {
    let (fault, second) = if one.lasts < other.lasts {
        (other, one)
    } else {
        (one, other)
    };
    let half = u64::try_from(fault.lasts.as_millis() / 2).unwrap_or_default();
    let at = Duration::from_millis(draw.between(0, half));
    Cycle {
        fault,
        second: Some((at, second)),
    }
}

impl Card {
    fn draw(self, draw: &mut Draw) -> Option<Fault> {
        let (kind, least, most) = match self {
            Self::Kill(kind) => (kind, 0, 1500),
            Self::Drain => (Kind::DrainWorker, 0, 1000),
            Self::KillDraining => (Kind::KillDraining, 1500, 2500),
            Self::Cut(link) => (Kind::Cut(link), 0, 0),
            Self::Lose(link) => (Kind::Lose(link), 0, 0),
            Self::ExpireCursors => (Kind::ExpireCursors, 0, 0),
            Self::Network(kind) => (kind(draw.pick(&LINKS)?), 300, 2500),
            Self::Delay => {
                let link = draw.pick(&LINKS)?;
                (Kind::Delay(link, draw.between(10, 200)), 1000, 2500)
            }
            Self::Pause(kind) => (kind, 200, 2000),
            Self::LongPause(kind) => (kind, 3500, 4500),
            Self::LongHold => (Kind::Hold(Link::Database), 5500, 6500),
            Self::FullDisk => (Kind::FullDisk, 1500, 3000),
            Self::ChangeSecret => (Kind::ChangeSecret, 1500, 2500),
            Self::MoveSpool => (Kind::MoveSpool, 1500, 2500),
            Self::Recreate => (Kind::RecreateDatabase, 2000, 4000),
            Self::CutControl => (Kind::CutControl, 2500, 4000),
            Self::BlockLog => (Kind::BlockLog, 2500, 4000),
        };
        let lasts = Duration::from_millis(draw.between(least, most));
        Some(Fault { kind, lasts })
    }
}

/// A short fault of something else.
fn another(draw: &mut Draw, target: Target) -> Option<Fault> {
    let cards = DECK.into_iter().filter(|card| match card {
        Card::Kill(kind) | Card::Pause(kind) => kind.target() != target,
        Card::Cut(link) => Target::Link(*link) != target,
        _ => false,
    });
    let cards: Vec<Card> = cards.collect();
    draw.pick(&cards)?.draw(draw)
}

/// Postgres is away.
fn outage(draw: &mut Draw) -> Option<Fault> {
    let kinds = [Kind::KillPostgres, Kind::Refuse(Link::Database)];
    Some(Fault {
        kind: draw.pick(&kinds)?,
        lasts: Duration::from_millis(draw.between(1000, 3000)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        assert_eq!(draw(300, 7, true), draw(300, 7, true));
        assert_ne!(draw(300, 7, true), draw(300, 8, true));
        // A longer drill begins as a shorter one does.
        assert_eq!(draw(300, 7, true)[..20], draw(20, 7, true));
        // What is known of a seed outlives a change of this code, or says so.
        let first = draw(3, 1, true)
            .iter()
            .map(Cycle::to_string)
            .collect::<Vec<_>>();
        assert_eq!(first, FIRST_OF_SEED_1);
    }

    const FIRST_OF_SEED_1: [&str; 3] = [
        "postmaster paused for 1.7 s",
        "connections cut (database)",
        "database recreated for 2.8 s",
    ];

    #[test]
    fn a_disk_that_cannot_be_filled_changes_nothing_else() {
        let with = draw(300, 3, true);
        let without = draw(250, 3, false);
        let rest = with
            .iter()
            .filter(|cycle| cycle.kinds().all(|kind| kind != Kind::FullDisk));
        assert!(without.iter().zip(rest).all(|(one, other)| one == other));
    }

    #[test]
    fn a_deck_meets_every_kind() {
        for seed in 1..=50 {
            let words: BTreeSet<&str> = draw(WHOLE, seed, true)
                .iter()
                .flat_map(|cycle| cycle.kinds().map(Kind::word).collect::<Vec<_>>())
                .collect();
            assert_eq!(words.len(), 20, "seed {seed}: {words:?}");
            let schedule = draw(WHOLE, seed, true);
            assert!(schedule.iter().any(Cycle::must_spool), "seed {seed}");
        }
    }

    #[test]
    fn one_kind_can_be_drawn_alone() {
        let cycles = draw_only("spool moved away", 3, 1, true);
        assert_eq!(cycles.len(), 3);
        let is_it = |cycle: &Cycle| cycle.fault.kind == Kind::MoveSpool;
        assert!(cycles.iter().all(is_it), "{cycles:?}");
        assert!(draw_only("nothing", 3, 1, true).is_empty());
    }

    #[test]
    fn two_at_once_have_different_targets_and_overlap() {
        let schedule = draw(2000, 5, true);
        let pairs: Vec<&Cycle> = schedule.iter().filter(|c| c.second.is_some()).collect();
        assert!(pairs.len() > 300, "{}", pairs.len());
        for cycle in pairs {
            let (at, second) = cycle.second.unwrap();
            assert_ne!(cycle.fault.kind.target(), second.kind.target(), "{cycle}");
            assert!(at <= cycle.fault.lasts / 2, "{cycle}");
            assert!(second.lasts <= cycle.fault.lasts, "{cycle}");
        }
    }

    #[test]
    fn what_begins_ends() {
        for cycle in draw(500, 2, true) {
            let steps = cycle.steps();
            assert_eq!(steps.len(), 2 * cycle.kinds().count());
            assert!(steps.is_sorted_by_key(|(at, _)| *at));
            for kind in cycle.kinds() {
                let begin = steps
                    .iter()
                    .position(|(_, step)| *step == Step::Begin(kind));
                let end = steps.iter().position(|(_, step)| *step == Step::End(kind));
                assert!(begin < end, "{cycle}");
            }
        }
    }
}
