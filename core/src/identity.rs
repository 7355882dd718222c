//! The id of an event whose provider gives none.
//!
//! A derived id is a ULID. Its first 48 bits are the event's own time, so that inserts
//! stay near the right edge of an index, or 0 if the event has no time. The other 80 bits
//! are of SHA-256 over the provider, the source and the fields that identify the event.
//! Each part is preceded by its length, because otherwise ("ab","c") and ("a","bc") would
//! be one event.

use sha2::{Digest, Sha256};

use crate::{time::Micros, ulid::Ulid};

/// A field that is absent differs from one that is empty.
pub type Part<'a> = Option<&'a [u8]>;

/// The id of the event that these fields describe.
pub fn derive<'a>(
    provider: &str,
    source: &str,
    at: impl Into<Option<Micros>>,
    fields: impl IntoIterator<Item = Part<'a>>,
) -> Option<Ulid> {
    let mut hash = Sha256::new();
    let mut add = |part: Part<'_>| match part {
        Some(bytes) => {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        None => hash.update(u64::MAX.to_be_bytes()),
    };
    add(Some(provider.as_bytes()));
    add(Some(source.as_bytes()));
    fields.into_iter().for_each(add);
    let digest = hash.finalize();
    let random = digest.first_chunk::<10>()?;
    Ulid::new(at.into().map_or(0, Micros::ms), *random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(source: &str, fields: &[Part<'_>]) -> Ulid {
        let at = Micros::from_ms(1_723_799_271_000).unwrap();
        derive("arpoone", source, at, fields.iter().copied()).unwrap()
    }

    #[test]
    fn it_carries_the_events_own_time() {
        assert_eq!(id("s", &[]).ms(), 1_723_799_271_000);
    }

    #[test]
    fn without_a_time_it_is_its_fields() {
        let fields = [Some(&b"m1"[..])];
        let id = derive("arpoone", "s", None, fields).unwrap();
        assert_eq!(id.ms(), 0);
        let at = Micros::from_ms(1_723_799_271_000);
        let timed = derive("arpoone", "s", at, fields).unwrap();
        assert_eq!(id.to_bytes()[6..], timed.to_bytes()[6..]);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let a = id("s", &[Some(b"ab"), Some(b"c")]);
        assert_eq!(a, id("s", &[Some(b"ab"), Some(b"c")]));
        assert_ne!(a, id("s", &[Some(b"a"), Some(b"bc")]));
        assert_ne!(a, id("sa", &[Some(b"b"), Some(b"c")]));
        assert_ne!(id("s", &[None]), id("s", &[Some(b"")]));
    }

    /// Stored ids must never change, because an upgrade would then store every retried
    /// event again.
    #[test]
    fn it_is_what_it_always_was() {
        assert_eq!(
            id("sms", &[Some(b"m1"), None]).to_string(),
            "01J5D72XJR53QGQR8N1SV6VZR6"
        );
    }
}
