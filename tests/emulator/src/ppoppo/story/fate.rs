//! What happens to one recipient, in order.

use super::Kinds;
use crate::draw::Draw;

/// The values are not documented.
const ERROR_CODES: &[&str] = &["recipient_not_found", "blocked", "rate_limited"];

/// The contract has these two.
const CONSENT_DENIED: &str = "consent_denied";
const CONSENT_EXPIRED: &str = "consent_expired";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Delivered,
    Failed(&'static str),
    /// The message is held until the recipient consents.
    Held,
    /// Only the page has this turn and those below.
    Granted,
    Denied,
    Voted,
}

/// The turns of one recipient. The first comes when the recipient is processed, the others at
/// any later time.
pub(super) fn draw(draw: &mut Draw, kinds: Kinds) -> Vec<Turn> {
    match kinds {
        Kinds::Published => published(draw),
        Kinds::Page => page(draw),
    }
}

fn published(draw: &mut Draw) -> Vec<Turn> {
    match draw.between(0, 99) {
        0..55 => vec![Turn::Delivered],
        55..70 => vec![Turn::Failed(draw.word(ERROR_CODES))],
        70..83 => vec![Turn::Held, Turn::Delivered],
        83..91 => vec![Turn::Held, Turn::Failed(CONSENT_DENIED)],
        91..96 => vec![Turn::Held, Turn::Failed(CONSENT_EXPIRED)],
        _ => vec![Turn::Held],
    }
}

fn page(draw: &mut Draw) -> Vec<Turn> {
    let mut turns = match draw.between(0, 99) {
        0..55 => vec![Turn::Delivered],
        55..70 => vec![Turn::Failed(draw.word(ERROR_CODES))],
        70..85 => vec![Turn::Held, Turn::Granted, Turn::Delivered],
        85..95 => vec![Turn::Held, Turn::Denied],
        _ => vec![Turn::Held],
    };
    if turns.last() == Some(&Turn::Delivered) && draw.chance(0.15) {
        turns.push(Turn::Voted);
    }
    turns
}
