//! Content codings of a body: the coding that `Content-Encoding` names, and the body that the
//! bytes as sent become without it.
//!
//! Nothing here allocates what a sender chooses: a body is inflated step by step into a buffer
//! of the caller's, who bounds it.

use std::io::Read as _;

use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};

/// A coding in which a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// The form of zlib, as RFC 9110 has it, or the same without its frame, as many senders do.
    Deflate,
}

/// A body is in a coding that is not supported, or in several at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("send the body as it is, or with one Content-Encoding of gzip or deflate")]
pub struct Unsupported;

/// A body is not what its coding says, or ends too early or too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body cannot be inflated as its Content-Encoding says")]
pub struct Corrupt;

impl Coding {
    /// The coding that the values of `Content-Encoding` name, in their order; `None` if they
    /// name none. Some senders put a charset there, which is no coding.
    pub fn named<'a>(
        values: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Self>, Unsupported> {
        let mut named = None;
        for word in values.into_iter().flat_map(|value| value.split(',')) {
            let coding = match word.trim().to_ascii_lowercase().as_str() {
                "" | "identity" | "utf-8" | "utf8" => continue,
                "gzip" | "x-gzip" => Self::Gzip,
                "deflate" => Self::Deflate,
                _ => return Err(Unsupported),
            };
            if named.replace(coding).is_some() {
                return Err(Unsupported);
            }
        }
        Ok(named)
    }
}

/// A body that is being inflated.
#[derive(Debug)]
pub struct Inflate<'a>(Decoder<'a>);

#[derive(Debug)]
enum Decoder<'a> {
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Deflate {
        state: Decompress,
        rest: &'a [u8],
        is_done: bool,
    },
}

impl<'a> Inflate<'a> {
    pub fn new(coding: Coding, sent: &'a [u8]) -> Self {
        Self(match coding {
            Coding::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(sent))),
            Coding::Deflate => Decoder::Deflate {
                state: Decompress::new(is_framed(sent)),
                rest: sent,
                is_done: false,
            },
        })
    }

    /// Reads the next bytes, and returns how many; 0 at the end.
    pub fn read(&mut self, into: &mut [u8]) -> Result<usize, Corrupt> {
        match &mut self.0 {
            Decoder::Gzip(decoder) => decoder.read(into).map_err(|_| Corrupt),
            Decoder::Deflate {
                state,
                rest,
                is_done,
            } => {
                while !*is_done {
                    let (consumed, produced) = (state.total_in(), state.total_out());
                    let status = state.decompress(rest, into, FlushDecompress::None);
                    *is_done = status.map_err(|_| Corrupt)? == Status::StreamEnd;
                    let consumed = moved(consumed, state.total_in());
                    let produced = moved(produced, state.total_out());
                    *rest = rest.get(consumed..).unwrap_or_default();
                    if produced > 0 {
                        return Ok(produced);
                    }
                    if consumed == 0 && !*is_done {
                        return Err(Corrupt);
                    }
                }
                if rest.is_empty() { Ok(0) } else { Err(Corrupt) }
            }
        }
    }
}

/// Whether the bytes as sent are exactly this body in that coding.
pub fn is_of(coding: Coding, sent: &[u8], body: &[u8]) -> bool {
    let mut inflate = Inflate::new(coding, sent);
    let (mut buffer, mut rest) = ([0; 8 << 10], body);
    loop {
        let read = match inflate.read(&mut buffer) {
            Ok(0) => return rest.is_empty(),
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(Corrupt) => return false,
        };
        let Some(after) = rest.strip_prefix(read) else {
            return false;
        };
        rest = after;
    }
}

/// Whether the bytes begin with a header of zlib (RFC 1950, section 2.2). A raw stream does
/// not: its first block would be a stored one with padding that is not zero.
fn is_framed(sent: &[u8]) -> bool {
    let [method, flags, ..] = *sent else {
        return false;
    };
    method & 0x0f == 8 && u16::from_be_bytes([method, flags]) % 31 == 0
}

fn moved(before: u64, now: u64) -> usize {
    usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(body: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn inflated(coding: Coding, sent: &[u8]) -> Result<Vec<u8>, Corrupt> {
        let mut inflate = Inflate::new(coding, sent);
        let (mut whole, mut buffer) = (Vec::new(), [0; 7]);
        loop {
            match inflate.read(&mut buffer)? {
                0 => return Ok(whole),
                read => whole.extend_from_slice(&buffer[..read]),
            }
        }
    }

    #[test]
    fn only_one_coding_is_taken_and_what_encodes_nothing_is_none() {
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["identity"], None),
            (&["identity, Identity"], None),
            (&["identity", ""], None),
            (&["UTF-8"], None),
            (&["utf8"], None),
            (&["gzip"], Some(Coding::Gzip)),
            (&["X-GZip"], Some(Coding::Gzip)),
            (&[" gzip , identity"], Some(Coding::Gzip)),
            (&["identity", "deflate"], Some(Coding::Deflate)),
        ] {
            assert_eq!(
                Coding::named(values.iter().copied()),
                Ok(coding),
                "{values:?}"
            );
        }
        for values in [
            &["br"][..],
            &["zstd"],
            &["gzip, gzip"],
            &["gzip", "deflate"],
            &["utf-16"],
        ] {
            assert_eq!(
                Coding::named(values.iter().copied()),
                Err(Unsupported),
                "{values:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_deflated_is_inflated(body: Vec<u8>, level in 0_u32..=9) {
            let sent = [
                (Coding::Gzip, gzip(&body)),
                (Coding::Deflate, zlib(&body, level)),
                (Coding::Deflate, raw(&body, level)),
            ];
            for (coding, sent) in sent {
                prop_assert_eq!(inflated(coding, &sent), Ok(body.clone()));
                prop_assert!(is_of(coding, &sent, &body));
                let mut other = body.clone();
                other.push(0);
                prop_assert!(!is_of(coding, &sent, &other));
                if !body.is_empty() {
                    prop_assert!(!is_of(coding, &sent, &body[1..]));
                }
            }
        }

        #[test]
        fn what_is_cut_or_longer_is_corrupt(body in proptest::collection::vec(any::<u8>(), 1..100), cut in any::<prop::sample::Index>()) {
            for (coding, sent) in [
                (Coding::Gzip, gzip(&body)),
                (Coding::Deflate, zlib(&body, 6)),
                (Coding::Deflate, raw(&body, 6)),
            ] {
                // Nothing at all is no stream either.
                let cut = cut.index(sent.len());
                prop_assert_eq!(inflated(coding, &sent[..cut]), Err(Corrupt));
                prop_assert_eq!(inflated(coding, &[&sent[..], b"more"].concat()), Err(Corrupt));
            }
        }

        #[test]
        fn anything_else_is_inflated_or_refused_without_a_panic(sent: Vec<u8>, body: Vec<u8>) {
            for coding in [Coding::Gzip, Coding::Deflate] {
                let _ = inflated(coding, &sent);
                is_of(coding, &sent, &body);
            }
        }
    }

    #[test]
    fn members_of_gzip_are_one_body() {
        let sent = [gzip(b"one"), gzip(b"two")].concat();
        assert_eq!(inflated(Coding::Gzip, &sent), Ok(b"onetwo".to_vec()));
    }
}
