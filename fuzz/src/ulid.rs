//! ULIDs: what is read is exactly what the specification (github.com/ulid/spec) calls
//! a ULID, reading and writing undo each other, and texts, bytes and values have one
//! order. An input is read twice: as a text, and as bytes.

use tidings_core::ulid::{Generator, MAX_MS, TEXT_LENGTH, Ulid};

const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

pub fn check(data: &[u8]) {
    text(&String::from_utf8_lossy(data));
    if let Some((first, rest)) = data.split_first_chunk::<16>() {
        bytes(*first);
        if let Some(second) = rest.first_chunk::<16>() {
            order(*first, *second);
        }
    }
    generator(data);
}

/// The value of a text, digit by digit; none where it is no ULID.
fn expected(text: &str) -> Option<[u8; 16]> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| ALPHABET.find(c.to_ascii_uppercase()))
        .map(|digit| u8::try_from(digit?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len() == TEXT_LENGTH)?;
    // 130 bits, of which the first two must be empty.
    let mut bits = digits
        .iter()
        .flat_map(|digit| (0..5).rev().map(move |bit| digit >> bit & 1));
    if bits.next() != Some(0) || bits.next() != Some(0) {
        return None;
    }
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = bits.by_ref().take(8).fold(0, |sum, bit| sum << 1 | bit);
    }
    Some(bytes)
}

fn text(text: &str) {
    let read = text.parse::<Ulid>();
    assert_eq!(
        read.as_ref().ok().map(|ulid| ulid.to_bytes()),
        expected(text),
        "{text:?} is read as what it is"
    );
    match read {
        Ok(ulid) => {
            assert_eq!(ulid.to_string(), text.to_ascii_uppercase());
            assert_eq!(text.to_ascii_lowercase().parse(), Ok(ulid));
            bytes(ulid.to_bytes());
        }
        Err(error) => crate::message(&error.to_string()),
    }
}

fn bytes(bytes: [u8; 16]) {
    let ulid = Ulid::from_bytes(bytes);
    assert_eq!(ulid.to_bytes(), bytes);
    let text = ulid.to_string();
    assert_eq!(text.as_bytes(), ulid.to_ascii());
    assert_eq!(expected(&text), Some(bytes), "{text} is written as it is");
    assert_eq!(text.parse(), Ok(ulid));

    let [a, b, c, d, e, f, random @ ..] = bytes;
    let ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    assert_eq!(ulid.ms(), ms);
    assert_eq!(Ulid::new(ms, random), Some(ulid));
    assert!(Ulid::at(ms).is_some_and(|first| first <= ulid && first.ms() == ms));
    match ulid.increment() {
        Ok(next) => {
            assert_eq!(next.ms(), ms, "the time is never carried into");
            let step = u128::from_be_bytes(next.to_bytes()) - u128::from_be_bytes(bytes);
            assert_eq!(step, 1);
        }
        Err(_) => assert_eq!(random, [u8::MAX; 10]),
    }
}

fn order(left: [u8; 16], right: [u8; 16]) {
    let [first, second] = [left, right].map(Ulid::from_bytes);
    let order = left.cmp(&right);
    assert_eq!(first.cmp(&second), order);
    assert_eq!(first.to_string().cmp(&second.to_string()), order);
}

/// Sixteen bytes a call: what the clock says, and the random bytes.
fn generator(data: &[u8]) {
    let mut generator = Generator::new();
    let mut last: Option<Ulid> = None;
    for call in data.chunks(16) {
        let (&[a, b, c, d, e, f], Some(random)) = (
            call.first_chunk().unwrap_or(&[0; 6]),
            call.get(6..16).and_then(|random| random.try_into().ok()),
        ) else {
            return;
        };
        let ms = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        match generator.next(ms, random) {
            Ok(next) => {
                assert!(last < Some(next), "{last:?}, then {next}");
                assert!(next.ms() >= ms);
                last = Some(next);
            }
            Err(_) => assert!(
                last.is_some_and(|last| last.ms() >= ms && last.increment().is_err()),
                "a ULID was left after {last:?}"
            ),
        }
    }
    assert!(generator.next(MAX_MS + 1, [0; 10]).is_err());
}
