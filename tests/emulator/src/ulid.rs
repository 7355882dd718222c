//! ULIDs as text (github.com/ulid/spec): 48 bits of milliseconds, 80 random ones, in 26
//! characters of Crockford's base32; within a millisecond each is the one before, plus 1.

use crate::draw::Draw;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LENGTH: usize = 26;
const RANDOM_BITS: u32 = 80;

/// Makes increasing ULIDs from a clock that never steps back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ulids {
    last: u128,
}

impl Ulids {
    pub(crate) fn next(&mut self, millisecond: i64, draw: &mut Draw) -> String {
        let time = u128::from(millisecond.max(0).unsigned_abs() & 0xFFFF_FFFF_FFFF);
        let random = u128::from(draw.bits()) << 16 | u128::from(draw.bits() & 0xFFFF);
        let fresh = time << RANDOM_BITS | random;
        // 80 random bits do not run over within a run: a carry would need 2^79 of them.
        self.last = if fresh >> RANDOM_BITS == self.last >> RANDOM_BITS {
            self.last + 1
        } else {
            fresh
        };
        encode(self.last)
    }
}

pub(crate) fn encode(bits: u128) -> String {
    let digit = |place: usize| {
        let value = bits >> (5 * place) & 31;
        let letter = usize::try_from(value).ok().and_then(|at| ALPHABET.get(at));
        char::from(letter.copied().unwrap_or(b'0'))
    };
    (0..LENGTH).rev().map(digit).collect()
}

/// The bits of a ULID in either case; none when it is none.
pub(crate) fn decode(text: &str) -> Option<u128> {
    // The first of 26 digits has but three bits.
    let fits = text.len() == LENGTH && text.bytes().next().is_some_and(|first| first <= b'7');
    if !fits {
        return None;
    }
    text.bytes().try_fold(0, |bits: u128, byte| {
        let digit = byte.to_ascii_uppercase();
        let value = ALPHABET.iter().position(|&letter| letter == digit)?;
        Some(bits << 5 | u128::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    #[test]
    fn text_is_as_the_spec_has_it() {
        // ulid/javascript and oklog/ulid test vectors.
        let known = [
            (
                0x0156_3df3_6481_d676_4c61_efb9_9302_bd5b,
                "01ARYZ6S41TSV4RRFFQ69G5FAV",
            ),
            (1_000_000_000 << 80, "0000XSNJG00000000000000000"),
            (u128::MAX, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"),
            (0, "00000000000000000000000000"),
        ];
        for (bits, text) in known {
            assert_eq!(encode(bits), text);
            assert_eq!(decode(text), Some(bits));
            assert_eq!(decode(&text.to_ascii_lowercase()), Some(bits));
        }
        for bad in [
            "80000000000000000000000000",
            "0000000000000000000000000I",
            "0",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn they_increase_within_a_millisecond_too() {
        let mut draw = Draw::new(1, Purpose::Ppoppo);
        let mut ulids = Ulids::default();
        let made: Vec<String> = [1, 1, 1, 2, 2, 9]
            .map(|millisecond| ulids.next(millisecond, &mut draw))
            .into();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
    }
}
