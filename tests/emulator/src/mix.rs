//! Who plays how many of the events.

use clap::ValueEnum;

/// What is played, in the order in which the ledger lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Provider {
    Ppoppo,
    Pushwoosh,
    PushwooshGrpc,
    Arpoone,
    Pushpushgo,
    /// Ppoppo's second stream: the messages in the app's channels.
    PpoppoChannels,
}

impl Provider {
    /// The providers that the worker dials.
    pub(crate) const STREAMS: [Self; 2] = [Self::Ppoppo, Self::PpoppoChannels];

    /// Percent of the events when the five of the default are played.
    fn weight(self) -> u64 {
        match self {
            Self::Ppoppo => 25,
            Self::Pushwoosh | Self::PushwooshGrpc => 20,
            Self::Arpoone => 30,
            Self::Pushpushgo => 5,
            Self::PpoppoChannels => 10,
        }
    }

    /// The word that `--only` takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ppoppo => "ppoppo",
            Self::Pushwoosh => "pushwoosh",
            Self::PushwooshGrpc => "pushwoosh-grpc",
            Self::Arpoone => "arpoone",
            Self::Pushpushgo => "pushpushgo",
            Self::PpoppoChannels => "ppoppo-channels",
        }
    }
}

/// Shares `events` out by weight, without losing one to rounding.
pub(crate) fn share_out(events: u32, only: &[Provider]) -> Vec<(Provider, u32)> {
    let mut played = only.to_vec();
    played.sort_unstable();
    played.dedup();
    let mut weight: u64 = played.iter().map(|provider| provider.weight()).sum();
    let mut left = events;
    let mut shares = Vec::with_capacity(played.len());
    for provider in played {
        // Each takes its part of what is left, so that the last one takes the rest.
        let part = u64::from(left) * provider.weight() / weight.max(1);
        let part = u32::try_from(part).unwrap_or(left);
        weight -= provider.weight();
        left -= part;
        shares.push((provider, part));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Provider] = &[
        Provider::Ppoppo,
        Provider::Pushwoosh,
        Provider::PushwooshGrpc,
        Provider::Arpoone,
        Provider::Pushpushgo,
    ];

    #[test]
    fn every_event_has_a_player() {
        for events in [1, 7, 99, 1000, 123_457] {
            for only in [
                ALL,
                &[Provider::Arpoone],
                &[Provider::Arpoone, Provider::Ppoppo],
            ] {
                let shares = share_out(events, only);
                assert_eq!(shares.len(), only.len());
                assert_eq!(shares.iter().map(|share| share.1).sum::<u32>(), events);
            }
        }
    }

    #[test]
    fn the_default_mix_is_by_weight() {
        let counts: Vec<u32> = share_out(1000, ALL).iter().map(|share| share.1).collect();
        assert_eq!(counts, [250, 200, 200, 300, 50]);
    }

    #[test]
    fn a_provider_named_twice_plays_once() {
        let twice = [Provider::Ppoppo, Provider::Ppoppo];
        assert_eq!(share_out(10, &twice), [(Provider::Ppoppo, 10)]);
    }
}
