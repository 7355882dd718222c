//! ULID: 48 bits of milliseconds, 80 bits of randomness, written in 26 characters
//! of Crockford's base32 (github.com/ulid/spec).
//!
//! Parsing is strict, because a mistyped cursor must not become another cursor: no I, L,
//! O or U, no hyphens, exactly 26 characters, and nothing above
//! `7ZZZZZZZZZZZZZZZZZZZZZZZZZ`, which would not fit into 128 bits. Input may be in
//! either case; output is in upper case.

use std::{fmt, str::FromStr};

/// Characters of the text form.
pub const TEXT_LENGTH: usize = 26;

/// The last millisecond that 48 bits can hold: in the year 10889.
pub const MAX_MS: u64 = (1 << 48) - 1;

const RANDOM_BITS: u32 = 80;
const RANDOM_MASK: u128 = (1 << RANDOM_BITS) - 1;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A ULID. Its order is the order of its bytes and of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ulid(u128);

/// Why a text is not a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("a ULID has 26 characters, not {0}")]
    Length(usize),
    #[error("a ULID has no character {0:?} (at position {1})")]
    Character(char, usize),
    #[error("a ULID is at most 7ZZZZZZZZZZZZZZZZZZZZZZZZZ: its first character is at most 7")]
    Overflow,
}

/// The 80 random bits of a millisecond overflow, or the time does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no ULID is left in this millisecond")]
pub struct Exhausted;

impl Ulid {
    /// `00000000000000000000000000`, which is below every generated ULID.
    pub const MIN: Self = Self(0);
    /// `7ZZZZZZZZZZZZZZZZZZZZZZZZZ`.
    pub const MAX: Self = Self(u128::MAX);

    /// A ULID of this millisecond; `None` if `ms` needs more than 48 bits.
    pub fn new(ms: u64, random: [u8; 10]) -> Option<Self> {
        let mut low = [0; 16];
        low.iter_mut()
            .skip(6)
            .zip(random)
            .for_each(|(to, from)| *to = from);
        (ms <= MAX_MS).then(|| Self(u128::from(ms) << RANDOM_BITS | u128::from_be_bytes(low)))
    }

    /// The smallest ULID of this millisecond; `None` if `ms` needs more than 48 bits.
    pub fn at(ms: u64) -> Option<Self> {
        Self::new(ms, [0; 10])
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub const fn ms(self) -> u64 {
        (self.0 >> RANDOM_BITS) as u64
    }

    /// The next ULID of the same millisecond. A carry into the time never happens,
    /// because the specification demands that generation fails instead.
    pub const fn increment(self) -> Result<Self, Exhausted> {
        if self.0 & RANDOM_MASK == RANDOM_MASK {
            return Err(Exhausted);
        }
        Ok(Self(self.0 + 1))
    }

    /// The ULID that is `steps` greater, across milliseconds if necessary; `None` beyond
    /// [`Ulid::MAX`].
    pub const fn advance(self, steps: u128) -> Option<Self> {
        match self.0.checked_add(steps) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The 26 characters, as ASCII.
    pub fn to_ascii(self) -> [u8; TEXT_LENGTH] {
        let mut text = [0; TEXT_LENGTH];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            *slot = digit(rest);
            rest >>= 5;
        }
        text
    }
}

#[expect(clippy::indexing_slicing, reason = "five bits index 32 digits")]
const fn digit(bits: u128) -> u8 {
    ALPHABET[(bits & 31) as usize]
}

const fn value(character: u8) -> Option<u8> {
    Some(match character.to_ascii_uppercase() {
        c @ b'0'..=b'9' => c - b'0',
        c @ b'A'..=b'H' => c - b'A' + 10,
        c @ b'J'..=b'K' => c - b'J' + 18,
        c @ b'M'..=b'N' => c - b'M' + 20,
        c @ b'P'..=b'T' => c - b'P' + 22,
        c @ b'V'..=b'Z' => c - b'V' + 27,
        _ => return None,
    })
}

impl FromStr for Ulid {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let length = text.chars().count();
        if length != TEXT_LENGTH {
            return Err(ParseError::Length(length));
        }
        let mut number: u128 = 0;
        for (position, character) in text.chars().enumerate() {
            let digit = u8::try_from(character)
                .ok()
                .and_then(value)
                .ok_or(ParseError::Character(character, position + 1))?;
            if position == 0 && digit > 7 {
                return Err(ParseError::Overflow);
            }
            number = number << 5 | u128::from(digit);
        }
        Ok(Self(number))
    }
}

impl fmt::Display for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ascii()
            .iter()
            .try_for_each(|&byte| fmt::Write::write_char(f, byte.into()))
    }
}

impl fmt::Debug for Ulid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Generates ULIDs that always increase, by the specification's monotonic rule: within a
/// millisecond, and while the clock is behind the last ULID, the next ULID is the last
/// one plus one.
#[derive(Debug, Default)]
pub struct Generator {
    last: Option<Ulid>,
}

impl Generator {
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// The next ULID, given the clock and ten random bytes.
    pub fn next(&mut self, ms: u64, random: [u8; 10]) -> Result<Ulid, Exhausted> {
        let next = match self.last {
            Some(last) if ms <= last.ms() => last.increment()?,
            _ => Ulid::new(ms, random).ok_or(Exhausted)?,
        };
        self.last = Some(next);
        Ok(next)
    }
}
