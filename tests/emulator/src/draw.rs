//! Chance, repeatable: one ChaCha stream for each purpose, all from one seed.

use rand::{Rng as _, RngCore as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::mix::Provider;

/// What is drawn for; each has numbers of its own, so that playing one provider alone,
/// or making more of one, changes nothing for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Ppoppo,
    PpoppoChannels,
    Pushwoosh,
    PushwooshGrpc,
    Arpoone,
    Pushpushgo,
    /// How the nth stream of the Ppoppo server ends.
    PpoppoEnding(u32),
    /// In which form a provider writes what was drawn.
    Forms(Provider),
    /// How the faults asked for are dealt.
    Faults,
    Tokens,
}

#[derive(Clone, Debug)]
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(match purpose {
            Purpose::Ppoppo => 1,
            Purpose::Pushwoosh => 2,
            Purpose::PushwooshGrpc => 3,
            Purpose::Arpoone => 4,
            Purpose::Pushpushgo => 5,
            Purpose::PpoppoChannels => 6,
            Purpose::Forms(provider) => 11 + provider as u64,
            Purpose::Faults => 21,
            Purpose::Tokens => 22,
            Purpose::PpoppoEnding(stream) => 1000 + u64::from(stream),
        });
        Self(rng)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.random_bool(probability.clamp(0.0, 1.0))
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u32, most: u32) -> u32 {
        self.0.random_range(least..=most.max(least))
    }

    /// An index into something of this length; 0 when it is empty.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length.max(1))
    }

    pub(crate) fn word(&mut self, words: &[&'static str]) -> &'static str {
        words.choose(&mut self.0).copied().unwrap_or_default()
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Version 4, random.
    pub(crate) fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.0.random()).into_uuid()
    }

    /// 24 hex digits, as MongoDB's ids are written.
    pub(crate) fn object_id(&mut self) -> String {
        hex::encode(self.0.random::<[u8; 12]>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_each_purpose_its_own() {
        let first = |seed, purpose| Draw::new(seed, purpose).bits();
        assert_eq!(first(7, Purpose::Arpoone), first(7, Purpose::Arpoone));
        assert_ne!(first(7, Purpose::Arpoone), first(8, Purpose::Arpoone));
        assert_ne!(first(7, Purpose::Arpoone), first(7, Purpose::Ppoppo));
        let ending = |stream| first(7, Purpose::PpoppoEnding(stream));
        assert_ne!(ending(0), ending(1));
    }

    #[test]
    fn uuids_are_version_4() {
        let uuid = Draw::new(1, Purpose::Arpoone).uuid();
        assert_eq!(uuid.get_version_num(), 4);
    }
}
