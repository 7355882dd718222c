//! ULIDs against the specification's vectors, and its rules as properties.

use proptest::prelude::*;
use serde::Deserialize;
use tidings_core::ulid::{Exhausted, Generator, MAX_MS, ParseError, Ulid};

const VECTORS: &str = include_str!("../testdata/vectors/ulid_vectors.json");
const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    valid: Vec<Valid>,
    increment: Vec<(String, String)>,
    increment_overflow: Vec<String>,
    reject_overflow: Vec<String>,
    reject_length: Vec<String>,
    reject_chars: Vec<String>,
    lenient_fix: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Valid {
    ulid: String,
    ms: u64,
    hex: String,
}

fn vectors() -> Vectors {
    match serde_json::from_str(VECTORS) {
        Ok(vectors) => vectors,
        Err(error) => unreachable!("the vectors are read whole: {error}"),
    }
}

fn read(text: &str) -> Result<Ulid, ParseError> {
    text.parse()
}

/// A run of 10 random bytes that are all `byte`.
const fn random(byte: u8) -> [u8; 10] {
    [byte; 10]
}

#[test]
fn valid_vectors_read_and_write_both_ways() {
    for Valid {
        ulid: text,
        ms,
        hex,
    } in vectors().valid
    {
        let bytes: [u8; 16] = hex::decode(hex).unwrap().try_into().unwrap();
        let ulid = read(&text).unwrap();
        assert_eq!(ulid.to_bytes(), bytes, "{text}");
        assert_eq!(ulid.ms(), ms, "{text}");
        assert_eq!(ulid.to_string(), text);
        assert_eq!(Ulid::from_bytes(bytes), ulid, "{text}");
        assert_eq!(ulid.to_ascii(), text.as_bytes());

        let lower = text.to_lowercase();
        assert_eq!(read(&lower), Ok(ulid), "{lower}");
        let mixed: String = text
            .chars()
            .enumerate()
            .map(|(at, c)| {
                if at % 2 == 0 {
                    c.to_ascii_lowercase()
                } else {
                    c
                }
            })
            .collect();
        assert_eq!(read(&mixed), Ok(ulid), "{mixed}");
    }
}

#[test]
fn the_limits_are_the_constants() {
    assert_eq!(read("00000000000000000000000000"), Ok(Ulid::MIN));
    assert_eq!(read("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), Ok(Ulid::MAX));
    assert_eq!(Ulid::MAX.ms(), MAX_MS);
    assert_eq!(Ulid::new(MAX_MS, random(0xff)), Some(Ulid::MAX));
    assert_eq!(Ulid::new(MAX_MS + 1, random(0)), None);
    assert_eq!(Ulid::at(MAX_MS + 1), None);
    assert_eq!(Ulid::at(u64::MAX), None);
}

#[test]
fn increment_carries_within_the_random_bits() {
    for (from, to) in vectors().increment {
        assert_eq!(
            read(&from).unwrap().increment(),
            Ok(read(&to).unwrap()),
            "{from}"
        );
    }
}

#[test]
fn increment_never_carries_into_the_time() {
    for last in vectors().increment_overflow {
        assert_eq!(read(&last).unwrap().increment(), Err(Exhausted), "{last}");
    }
    assert_eq!(Ulid::MAX.increment(), Err(Exhausted));
}

#[test]
fn what_does_not_fit_into_128_bits_is_refused() {
    for text in vectors().reject_overflow {
        assert_eq!(read(&text), Err(ParseError::Overflow), "{text}");
        assert_eq!(
            read(&text.to_lowercase()),
            Err(ParseError::Overflow),
            "{text}"
        );
    }
    for first in ALPHABET.chars() {
        let text = format!("{first}{}", "0".repeat(25));
        assert_eq!(read(&text).is_ok(), first <= '7', "{text}");
    }
}

#[test]
fn other_lengths_are_refused() {
    for text in vectors().reject_length {
        assert_eq!(read(&text), Err(ParseError::Length(text.len())), "{text:?}");
    }
    for text in [
        " 01ARYZ6S41TSV4RRFFQ69G5FAV",
        "01ARYZ6S41TSV4RRFFQ69G5FAV\n",
        "01ARYZ6S41TSV4RRFFQ69G5FAV\0",
        "{01ARYZ6S41TSV4RRFFQ69G5FAV}",
    ] {
        assert!(matches!(read(text), Err(ParseError::Length(_))), "{text:?}");
    }
}

#[test]
fn characters_outside_the_alphabet_are_refused() {
    for text in vectors().reject_chars {
        assert!(
            matches!(read(&text), Err(ParseError::Character(..))),
            "{text}"
        );
    }
}

/// Every character of one byte in every place, and a few that look like one of the alphabet.
#[test]
fn each_place_takes_the_alphabet_and_nothing_else() {
    let base: Vec<char> = "01ARYZ6S41TSV4RRFFQ69G5FAV".chars().collect();
    let alike = ['\u{212a}', '\u{ff10}', '\u{ff21}', '\u{0660}', '\u{1d7d8}'];
    for place in 1..base.len() {
        for character in (0..=0xffu8).map(char::from).chain(alike) {
            let mut text = base.clone();
            text[place] = character;
            let text: String = text.into_iter().collect();
            let expected = ALPHABET.contains(character.to_ascii_uppercase());
            match read(&text) {
                Ok(_) => assert!(expected, "{text:?}"),
                Err(error) => {
                    assert!(!expected, "{text:?}");
                    assert_eq!(error, ParseError::Character(character, place + 1));
                }
            }
        }
    }
}

#[test]
fn forms_that_others_repair_are_refused() {
    for (text, meant) in vectors().lenient_fix {
        assert!(read(&text).is_err(), "{text}");
        assert!(read(&text.replace('-', "")).is_err(), "{text}");
        assert!(read(&meant).is_ok(), "{meant}");
    }
    for letter in ["I", "L", "O", "U", "i", "l", "o", "u"] {
        let text = format!("01ARYZ6S41TSV4RRFFQ69G5FA{letter}");
        assert_eq!(
            read(&text),
            Err(ParseError::Character(letter.chars().next().unwrap(), 26))
        );
    }
}

/// The run of ulid/javascript's monotonic tests, whose random source always gives 0.96.
#[test]
fn the_generator_is_the_specifications_monotonic_factory() {
    let mut generator = Generator::new();
    let seed = 1_469_918_176_385;
    let stub = Ulid::from_bytes(
        read("0000000000YYYYYYYYYYYYYYYY")
            .map(Ulid::to_bytes)
            .unwrap(),
    );
    let stub: [u8; 10] = stub.to_bytes()[6..].try_into().unwrap();
    for (ms, expected) in [
        (seed, "01ARYZ6S41YYYYYYYYYYYYYYYY"),
        (seed, "01ARYZ6S41YYYYYYYYYYYYYYYZ"),
        (seed, "01ARYZ6S41YYYYYYYYYYYYYYZ0"),
        (seed, "01ARYZ6S41YYYYYYYYYYYYYYZ1"),
        (100_000_000, "01ARYZ6S41YYYYYYYYYYYYYYZ2"),
        (10_000, "01ARYZ6S41YYYYYYYYYYYYYYZ3"),
        (seed + 1, "01ARYZ6S42YYYYYYYYYYYYYYYY"),
    ] {
        assert_eq!(generator.next(ms, stub).unwrap().to_string(), expected);
    }
}

#[test]
fn a_used_up_millisecond_fails_until_the_clock_moves_on() {
    let mut generator = Generator::new();
    let last = generator.next(7, random(0xff)).unwrap();
    assert_eq!(generator.next(7, random(0)), Err(Exhausted));
    assert_eq!(generator.next(6, random(0)), Err(Exhausted));
    let next = generator.next(8, random(0)).unwrap();
    assert!(next > last);
    assert_eq!(next.ms(), 8);
}

#[test]
fn a_clock_beyond_48_bits_is_refused_and_changes_nothing() {
    let mut generator = Generator::new();
    assert_eq!(generator.next(MAX_MS + 1, random(0)), Err(Exhausted));
    let first = generator.next(7, random(1)).unwrap();
    assert_eq!(generator.next(u64::MAX, random(0)), Err(Exhausted));
    assert_eq!(generator.next(7, random(9)), first.increment());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_and_text_round_trip(bytes: [u8; 16]) {
        let ulid = Ulid::from_bytes(bytes);
        prop_assert_eq!(ulid.to_bytes(), bytes);
        let text = ulid.to_string();
        prop_assert_eq!(text.len(), 26);
        prop_assert!(text.chars().all(|c| ALPHABET.contains(c)));
        prop_assert_eq!(read(&text), Ok(ulid));
        prop_assert_eq!(read(&text.to_lowercase()), Ok(ulid));
    }

    #[test]
    fn every_text_of_the_alphabet_is_a_ulid(text in "[0-7][0-9A-HJKMNP-TV-Z]{25}") {
        prop_assert_eq!(read(&text).unwrap().to_string(), text);
    }

    #[test]
    fn any_text_is_a_ulid_or_an_error(text in "\\PC{0,40}") {
        if let Ok(ulid) = read(&text) {
            prop_assert_eq!(ulid.to_string(), text.to_ascii_uppercase());
        }
    }

    #[test]
    fn the_order_of_text_bytes_and_values_is_one(a: [u8; 16], b: [u8; 16], shared in 0..=16usize) {
        // Independent values differ in their first byte; a shared head tests the rest.
        let mut b = b;
        b[..shared].copy_from_slice(&a[..shared]);
        let (left, right) = (Ulid::from_bytes(a), Ulid::from_bytes(b));
        prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        prop_assert_eq!(left.to_string().cmp(&right.to_string()), a.cmp(&b));
    }

    #[test]
    fn time_and_randomness_keep_to_their_bits(ms in 0..=MAX_MS, random: [u8; 10]) {
        let ulid = Ulid::new(ms, random).unwrap();
        prop_assert_eq!(ulid.ms(), ms);
        prop_assert_eq!(&ulid.to_bytes()[6..], &random[..]);
        let least = Ulid::at(ms).unwrap();
        prop_assert!(least <= ulid);
        prop_assert_eq!(least.ms(), ms);
        if let Some(after) = Ulid::at(ms + 1) {
            prop_assert!(ulid < after);
        }
    }

    #[test]
    fn the_generator_grows_whatever_the_clock_does(
        clock in prop::collection::vec((0..=MAX_MS, any::<[u8; 10]>()), 1..100),
        step in 1..4u64,
    ) {
        let mut generator = Generator::new();
        let mut before: Option<Ulid> = None;
        for (ms, random) in clock {
            // A narrow clock as well, which stands still and steps back by little.
            for ms in [ms % (step * 3), ms] {
                match generator.next(ms, random) {
                    Ok(next) => {
                        prop_assert!(Some(next) > before);
                        prop_assert!(next.ms() >= ms);
                        if before.is_none_or(|last| ms > last.ms()) {
                            prop_assert_eq!(Ulid::new(ms, random), Some(next));
                        }
                        before = Some(next);
                    }
                    // Only where 80 bits are used up, which a random start hardly ever is.
                    Err(Exhausted) => prop_assert!(before.is_some_and(|last| last.increment().is_err())),
                }
            }
        }
    }
}
