//! A request as it lies in the spool: when it came, then what the extension is to see.
//!
//! Every part is written as it came, with its length before it; numbers are big-endian.
//! The receipt id travels in the headers, so that a repeat of the drain meets itself.

use std::sync::Arc;

use bytes::Bytes;

/// A spooled request and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In milliseconds since 1970.
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
        let mut bytes = Vec::with_capacity(24 + source.len() + headers.len() + body.len());
        bytes.extend_from_slice(&self.received.to_be_bytes());
        for part in [source.as_bytes(), headers.as_bytes()] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(body);
        bytes
    }

    /// `None` for what [`Entry::encode`] did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (received, rest) = number(bytes)?;
        let (source, rest) = text(rest)?;
        let (headers, body) = text(rest)?;
        Some(Self {
            received,
            source: source.into(),
            headers: headers.to_owned(),
            body: Bytes::copy_from_slice(body),
        })
    }
}

/// When it came and where from, without a copy of the rest.
pub fn origin(bytes: &[u8]) -> Option<(u64, &str)> {
    let (received, rest) = number(bytes)?;
    Some((received, text(rest)?.0))
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
            prop_assert_eq!(Entry::decode(&bytes), Some(entry));
        }

        #[test]
        fn anything_else_is_refused_or_read_without_a_panic(bytes: Vec<u8>) {
            let _ = Entry::decode(&bytes);
            let _ = origin(&bytes);
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&u64::MAX.to_be_bytes());
        assert!(Entry::decode(&bytes).is_none());
    }
}
