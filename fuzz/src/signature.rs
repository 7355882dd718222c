//! Signatures: exactly the documented forms of a tag are read, each as that tag, and
//! only the whole tag of this body under this key is accepted.
//!
//! An input is the signature's text, the key and the body, apart by a byte 0xFF.

use base64::{Engine as _, prelude::*};
use sha1::{Digest as _, Sha1};
use tidings_core::signature::{Tag, decode_tag, hmac_sha1, same_secret, verify_hmac_sha1};

pub fn check(data: &[u8]) {
    let [text, key, body] = crate::parts(data);
    let text = String::from_utf8_lossy(text);
    form(&text);

    let tag = hmac_sha1(body, key);
    assert_eq!(tag, rfc_2104(body, key));
    let accepted = |text: &str| verify_hmac_sha1(body, key, text);
    assert_eq!(
        accepted(&text),
        !key.is_empty() && decode_tag(&text) == Some(tag),
        "{text:?}"
    );
    // One form and one place for each input: the fuzzer comes by all of them.
    if let Some(written) = forms(tag).into_iter().cycle().nth(text.len() % 12) {
        form(&written);
        assert_eq!(accepted(&written), !key.is_empty(), "{written}");
        spoiled(&written, body.len(), &text, tag, accepted);
    }
    let key = String::from_utf8_lossy(key);
    assert_eq!(same_secret(&key, &text), key == text && !key.is_empty());
    assert_eq!(same_secret(&text, &text), !text.is_empty());
}

/// A text is read as a tag where it is one of the tag's forms, and only there.
fn form(text: &str) {
    if let Some(tag) = decode_tag(text) {
        let bare = text.strip_prefix("sha1=").unwrap_or(text);
        assert!(
            forms(tag).iter().any(|form| form == bare)
                || hex::encode(tag).eq_ignore_ascii_case(bare),
            "{text:?} is read as {}",
            hex::encode(tag)
        );
    }
}

/// A right signature that is cut, or of which a character is replaced, is wrong unless
/// it is another form of the same tag.
fn spoiled(written: &str, at: usize, text: &str, tag: Tag, accepted: impl Fn(&str) -> bool) {
    let at = at % written.len();
    let (Some(start), Some(end)) = (written.get(..at), written.get(at + 1..)) else {
        return;
    };
    for wrong in [start, end, &format!("{start}{text}{end}")] {
        form(wrong);
        assert!(
            !accepted(wrong) || decode_tag(wrong) == Some(tag),
            "{wrong:?}"
        );
    }
}

/// Every form of a tag, with and without the prefix; hexadecimal in both cases.
fn forms(tag: Tag) -> Vec<String> {
    let plain = [
        hex::encode(tag),
        hex::encode_upper(tag),
        BASE64_STANDARD.encode(tag),
        BASE64_STANDARD_NO_PAD.encode(tag),
        BASE64_URL_SAFE.encode(tag),
        BASE64_URL_SAFE_NO_PAD.encode(tag),
    ];
    let prefixed = plain.each_ref().map(|text| format!("sha1={text}"));
    plain.into_iter().chain(prefixed).collect()
}

/// HMAC as RFC 2104 writes it.
fn rfc_2104(body: &[u8], key: &[u8]) -> Tag {
    const BLOCK: usize = 64;
    let hash = |parts: [&[u8]; 2]| -> Tag {
        let mut hash = Sha1::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    };
    let hashed = hash([key, &[]]);
    let key = if key.len() > BLOCK { &hashed } else { key };
    let pad = |byte: u8| -> Vec<u8> {
        let padded = key.iter().copied().chain(std::iter::repeat(0));
        padded.take(BLOCK).map(|k| k ^ byte).collect()
    };
    let inner = hash([&pad(0x36), body]);
    hash([&pad(0x5c), &inner])
}
