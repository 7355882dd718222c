//! A request as it is stored in the spool: the time of its arrival, then what the
//! extension gets.
//!
//! The first byte is the version of the format, 2. Then follows a CRC-32 of the rest,
//! because the database reads its pages without verifying their checksums; then the time,
//! and every part as it arrived, preceded by its length. Numbers are big-endian. The
//! receipt id is in the headers, so that a request that is drained twice is recognized as
//! a duplicate.
//!
//! The first version of the format, of 0.3.0, is the part that follows the checksum. It
//! begins with the time, whose first byte is 0 for two million years. It is still read,
//! but only damage that breaks its framing is detected.

use std::sync::Arc;

use bytes::Bytes;

const CHECKED: u8 = 2;
const UNCHECKED: u8 = 0;

/// A spooled request and the time of its arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Time of the arrival, in milliseconds since 1970.
    pub received: u64,
    pub source: Arc<str>,
    /// A JSON object of header names in lower case.
    pub headers: String,
    pub body: Bytes,
}

impl Entry {
    pub fn encode(&self) -> Vec<u8> {
        let Self {
            source,
            headers,
            body,
            ..
        } = self;
        let mut bytes = Vec::with_capacity(29 + source.len() + headers.len() + body.len());
        bytes.extend_from_slice(&[CHECKED, 0, 0, 0, 0]);
        bytes.extend_from_slice(&self.received.to_be_bytes());
        for part in [source.as_bytes(), headers.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(body);
        if let Some((head, rest)) = bytes.split_first_chunk_mut::<5>() {
            let [a, b, c, d] = crc32fast::hash(rest).to_be_bytes();
            *head = [CHECKED, a, b, c, d];
        }
        bytes
    }

    /// `None` if the bytes are not as [`Entry::encode`] wrote them: the entry is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let parts = whole(bytes)?;
        Some(Self {
            received: parts.received,
            source: parts.source.into(),
            headers: parts.headers.to_owned(),
            body: Bytes::copy_from_slice(parts.body),
        })
    }
}

/// Time and source of the request, without a copy of the rest; `None` if the entry is
/// damaged.
pub fn origin(bytes: &[u8]) -> Option<(u64, &str)> {
    let parts = whole(bytes)?;
    Some((parts.received, parts.source))
}

/// Time and source as the entry states them, even if it is damaged, so that they may be
/// anything.
pub fn claimed_origin(bytes: &[u8]) -> Option<(u64, &str)> {
    let (received, rest) = number(content(bytes)?.1)?;
    Some((received, text(rest)?.0))
}

struct Parts<'a> {
    received: u64,
    source: &'a str,
    headers: &'a str,
    body: &'a [u8],
}

fn whole(bytes: &[u8]) -> Option<Parts<'_>> {
    let (checksum, content) = content(bytes)?;
    if checksum.is_some_and(|checksum| crc32fast::hash(content) != checksum) {
        return None;
    }
    let (received, rest) = number(content)?;
    let (source, rest) = text(rest)?;
    let (headers, body) = text(rest)?;
    // A page of zeros looks like the first version of the format.
    let written = checksum.is_some() || (received > 0 && !source.is_empty());
    written.then_some(Parts {
        received,
        source,
        headers,
        body,
    })
}

/// The checksum, if the entry has one, and the bytes that it covers.
fn content(bytes: &[u8]) -> Option<(Option<u32>, &[u8])> {
    match bytes.split_first()? {
        (&CHECKED, rest) => {
            let (checksum, content) = rest.split_first_chunk::<4>()?;
            Some((Some(u32::from_be_bytes(*checksum)), content))
        }
        (&UNCHECKED, _) => Some((None, bytes)),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The entry as 0.3.0 wrote it.
#[cfg(test)]
pub(crate) fn first_form(entry: &Entry) -> Vec<u8> {
    entry.encode().split_off(5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            received: u64,
            source in ".{0,20}",
            headers in ".{0,50}",
            body: Vec<u8>,
        ) {
            let entry = Entry { received, source: source.as_str().into(), headers, body: body.into() };
            let bytes = entry.encode();
            prop_assert_eq!(origin(&bytes), Some((received, source.as_str())));
            prop_assert_eq!(claimed_origin(&bytes), Some((received, source.as_str())));
            prop_assert_eq!(Entry::decode(&bytes), Some(entry));
        }

        #[test]
        fn what_was_altered_is_damaged(body: Vec<u8>, at: prop::sample::Index, by in 1_u8..) {
            let mut bytes = entry(body).encode();
            *at.get_mut(&mut bytes) ^= by;
            prop_assert_eq!(Entry::decode(&bytes), None);
            prop_assert_eq!(origin(&bytes), None);
        }

        #[test]
        fn what_begins_with_zeros_is_damaged(body: Vec<u8>, zeros in 1_usize..) {
            let mut bytes = entry(body).encode();
            let zeros = zeros % bytes.len() + 1;
            bytes[..zeros].fill(0);
            prop_assert_eq!(Entry::decode(&bytes), None);
        }

        #[test]
        fn the_first_form_is_read(body: Vec<u8>) {
            let entry = entry(body);
            prop_assert_eq!(Entry::decode(&first_form(&entry)), Some(entry));
        }

        #[test]
        fn anything_else_is_refused_or_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes);
            let _ = origin(&bytes);
            let _ = claimed_origin(&bytes);
        }
    }

    fn entry(body: Vec<u8>) -> Entry {
        Entry {
            received: 1_767_225_600_000,
            source: "sms".into(),
            headers: r#"{"url-token": "t"}"#.to_owned(),
            body: body.into(),
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        assert!(Entry::decode(&bytes).is_none());
    }
}
