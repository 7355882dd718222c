//! HMAC-SHA1 against RFC 2202 and Project Wycheproof, and what counts as its text form.

use base64::{Engine, prelude::*};
use proptest::prelude::*;
use serde::Deserialize;
use tidings_core::signature::{Tag, decode_tag, hmac_sha1, same_secret, verify_hmac_sha1};

const RFC_2202: &str = include_str!("../testdata/vectors/rfc2202_hmac_sha1.json");
const WYCHEPROOF: &str = include_str!("../testdata/vectors/wycheproof_hmac_sha1.json");

const BODY: &[u8] = br#"{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}"#;
const KEY: &[u8] = b"5d411352784425000bd02a15";
const HEX: &str = "76f0823ba5b77649859f8d91fe352b24750dff62";
const BASE64: &str = "dvCCO6W3dkmFn42R/jUrJHUN/2I=";

#[derive(Deserialize)]
struct Case {
    name: String,
    key_hex: String,
    msg_hex: String,
    tag_hex: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wycheproof {
    number_of_tests: usize,
    test_groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    tag_size: usize,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    tc_id: u32,
    key: String,
    msg: String,
    tag: String,
    result: String,
}

/// Every way in which the whole tag may be written.
fn encodings(tag: &Tag) -> Vec<String> {
    let plain = [
        hex::encode(tag),
        hex::encode_upper(tag),
        BASE64_STANDARD.encode(tag),
        BASE64_STANDARD_NO_PAD.encode(tag),
        BASE64_URL_SAFE.encode(tag),
        BASE64_URL_SAFE_NO_PAD.encode(tag),
    ];
    let prefixed = plain.clone().map(|text| format!("sha1={text}"));
    plain.into_iter().chain(prefixed).collect()
}

#[test]
fn rfc_2202_is_met() {
    let cases: Vec<Case> = serde_json::from_str(RFC_2202).unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let [key, body] = [case.key_hex, case.msg_hex].map(|text| hex::decode(text).unwrap());
        let tag = hmac_sha1(&body, &key);
        assert_eq!(hex::encode(tag), case.tag_hex, "{}", case.name);
        for text in encodings(&tag) {
            assert!(
                verify_hmac_sha1(&body, &key, &text),
                "{}: {text}",
                case.name
            );
        }
    }
}

#[test]
fn wycheproof_is_met_by_full_tags_and_refuses_truncated_ones() {
    let suite: Wycheproof = serde_json::from_str(WYCHEPROOF).unwrap();
    let mut seen = 0;
    for group in suite.test_groups {
        for test in group.tests {
            seen += 1;
            let [key, body, tag] =
                [test.key, test.msg, test.tag].map(|text| hex::decode(text).unwrap());
            let context = format!("tcId {}", test.tc_id);
            assert!(
                ["valid", "invalid"].contains(&test.result.as_str()),
                "{context}"
            );
            let valid = test.result == "valid";
            assert_eq!(tag.len() * 8, group.tag_size, "{context}");

            let own = hmac_sha1(&body, &key);
            assert_eq!(own.starts_with(&tag), valid, "{context}");
            let accepted = valid && group.tag_size == 160;
            assert_eq!(
                verify_hmac_sha1(&body, &key, &hex::encode(&tag)),
                accepted,
                "{context}"
            );
            let text = BASE64_STANDARD.encode(&tag);
            assert_eq!(verify_hmac_sha1(&body, &key, &text), accepted, "{context}");
        }
    }
    assert_eq!(seen, suite.number_of_tests);
}

#[test]
fn the_check_pair_verifies_in_every_encoding() {
    let tag = hmac_sha1(BODY, KEY);
    assert_eq!(hex::encode(tag), HEX);
    assert_eq!(BASE64_STANDARD.encode(tag), BASE64);
    for text in encodings(&tag) {
        assert_eq!(decode_tag(&text), Some(tag), "{text}");
        assert!(verify_hmac_sha1(BODY, KEY, &text), "{text}");
    }
    assert!(verify_hmac_sha1(
        BODY,
        KEY,
        "76F0823ba5b77649859f8d91fe352b24750dff62"
    ));
}

#[test]
fn other_texts_are_refused() {
    let long = "7".repeat(1 << 20);
    for text in [
        "",
        "sha1=",
        "sha1",
        "=",
        &HEX[..38],
        &HEX[..39],
        &format!("{HEX}00"),
        &format!("{HEX}0"),
        &format!(" {HEX}"),
        &format!("{HEX}\n"),
        &format!("0x{HEX}"),
        &format!("SHA1={HEX}"),
        &format!("sha1 = {HEX}"),
        &format!("sha256={HEX}"),
        &format!("sha1=sha1={HEX}"),
        &format!("sha1={HEX},sha1={HEX}"),
        &HEX.replace('7', "g"),
        &HEX.replace('6', "\u{ff16}"),
        // One character short, one more, padding where there is none, and twice.
        &BASE64[..26],
        &format!("{}==", &BASE64[..27]),
        &format!("{}==", &BASE64[..26]),
        &format!("A{BASE64}"),
        &BASE64.replace('R', " "),
        // Both alphabets in one text.
        "dvCCO6W3dkmFn42R/jUrJHUN_2I=",
        // The same 20 bytes, with bits set beyond them.
        "dvCCO6W3dkmFn42R/jUrJHUN/2J=",
        &long,
    ] {
        assert_eq!(
            decode_tag(text),
            None,
            "{:?}",
            text.get(..60).unwrap_or(text)
        );
        assert!(!verify_hmac_sha1(BODY, KEY, text));
    }
}

#[test]
fn an_empty_key_verifies_nothing() {
    let tag = hmac_sha1(BODY, b"");
    for text in encodings(&tag) {
        assert!(!verify_hmac_sha1(BODY, b"", &text), "{text}");
    }
}

#[test]
fn an_empty_secret_equals_nothing() {
    assert!(!same_secret("", ""));
    assert!(!same_secret("", "x"));
    assert!(!same_secret("x", ""));
    assert!(same_secret("x", "x"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_whole_tag_is_accepted_in_every_encoding(
        body in prop::collection::vec(any::<u8>(), 0..200),
        key in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        for text in encodings(&hmac_sha1(&body, &key)) {
            prop_assert!(verify_hmac_sha1(&body, &key, &text), "{}", text);
        }
    }

    #[test]
    fn a_changed_bit_is_refused_wherever_it_is(
        body in prop::collection::vec(any::<u8>(), 1..200),
        // Keys up to a block are padded with zeros: 0 at the end would be the same key.
        key in prop::collection::vec(1..=255u8, 1..200),
        bit: prop::sample::Index,
    ) {
        let tag = hmac_sha1(&body, &key);
        let flip = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
            bytes
        };
        let changed_tag: Tag = flip(&tag).try_into().unwrap();
        for text in encodings(&changed_tag) {
            prop_assert!(!verify_hmac_sha1(&body, &key, &text));
        }
        for text in encodings(&tag) {
            prop_assert!(!verify_hmac_sha1(&flip(&body), &key, &text));
            prop_assert!(!verify_hmac_sha1(&body, &flip(&key), &text));
        }
    }

    #[test]
    fn a_truncated_tag_is_refused(
        body in prop::collection::vec(any::<u8>(), 0..100),
        key in prop::collection::vec(any::<u8>(), 1..100),
        kept in 0..20usize,
        cut: prop::sample::Index,
    ) {
        let tag = hmac_sha1(&body, &key);
        let short = &tag[..kept];
        for text in [hex::encode(short), BASE64_STANDARD.encode(short), BASE64_URL_SAFE_NO_PAD.encode(short)] {
            prop_assert!(!verify_hmac_sha1(&body, &key, &text), "{}", text);
        }
        for text in encodings(&tag) {
            // Without its padding the text is still whole.
            let whole = text.trim_end_matches('=').len();
            let cut = cut.index(whole);
            prop_assert!(!verify_hmac_sha1(&body, &key, &text[..cut]), "{}", &text[..cut]);
        }
    }

    #[test]
    fn any_text_is_a_tag_or_refused(text in "\\PC{0,60}", hexadecimal in "(sha1=)?[0-9a-fA-F]{38,42}") {
        for text in [text, hexadecimal] {
            if let Some(tag) = decode_tag(&text) {
                prop_assert!(encodings(&tag).iter().any(|form| form.eq_ignore_ascii_case(&text)));
            }
        }
    }

    #[test]
    fn secrets_are_equal_only_to_themselves(a in ".{0,20}", b in ".{0,20}") {
        prop_assert_eq!(same_secret(&a, &a), !a.is_empty());
        prop_assert_eq!(same_secret(&a, &b), !a.is_empty() && a == b);
    }
}
