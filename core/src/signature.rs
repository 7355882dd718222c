//! Signatures over the bytes as received, and secrets compared in constant time.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The full tag of HMAC-SHA1: 160 bits.
pub type Tag = [u8; 20];

const LENIENT_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT_PADDING);

/// HMAC-SHA1 of `body` under `key` (RFC 2104; vectors: RFC 2202).
pub fn hmac_sha1(body: &[u8], key: &[u8]) -> Tag {
    // A key longer than a block is hashed, a shorter one padded: every length is valid.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(body);
    mac.finalize().into_bytes().into()
}

/// Whether `signature` is the full HMAC-SHA1 tag of `body` under `key`.
///
/// A signature is 40 hexadecimal digits of either case, or base64 (standard or URL-safe
/// alphabet, padded or not), with an optional prefix `sha1=`. The result is false for
/// anything else, including a truncated tag and an empty key. The comparison takes the
/// same time wherever the tags differ.
pub fn verify_hmac_sha1(body: &[u8], key: &[u8], signature: &str) -> bool {
    !key.is_empty()
        && decode_tag(signature).is_some_and(|tag| hmac_sha1(body, key).ct_eq(&tag).into())
}

/// Reads a tag as [`verify_hmac_sha1`] describes.
pub fn decode_tag(signature: &str) -> Option<Tag> {
    let text = signature.strip_prefix("sha1=").unwrap_or(signature);
    let mut tag = Tag::default();
    match text.len() {
        40 => hex::decode_to_slice(text, &mut tag).ok()?,
        27 | 28 => {
            let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
            tag = bytes.ok()?.try_into().ok()?;
        }
        _ => return None,
    }
    Some(tag)
}

/// Whether two secrets are equal. The time of the comparison reveals neither where they
/// differ nor how long the expected one is. An empty secret equals nothing.
pub fn same_secret(expected: &str, presented: &str) -> bool {
    let digests = [expected, presented].map(|secret| Sha256::digest(secret.as_bytes()));
    let [expected_digest, presented_digest] = digests;
    !expected.is_empty()
        && expected_digest
            .as_slice()
            .ct_eq(presented_digest.as_slice())
            .into()
}
