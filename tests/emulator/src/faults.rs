//! What a run is asked to go through, and how often each of it happened.
//!
//! A fault may have several parts (one for each provider that plays it, one for each
//! form of a hint): each is counted by itself, and one that never happened fails the
//! run, so that a test cannot pass for want of what it is about.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;

use crate::{mix::Provider, ppoppo::REFUSALS};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    TokenExpiry,
    Exhausted,
    HalfOpen,
    Wedged,
    Goaway,
    #[value(name = "clean-100")]
    Clean100,
    CursorExpired,
    Disorder,
    Refusals,
    EqualEvents,
    LostAnswers,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A stream ended when its token did.
    TokenExpiredInStream,
    /// A call showed a token that had ended with an earlier stream.
    TokenExpiredAtCall,
    HintInSeconds,
    HintInTrailers,
    HintInMessage,
    HalfOpen,
    Wedged,
    Goaway,
    Clean100,
    CursorExpired,
    /// An event appeared before the place that a stream resumed from.
    Disorder,
    /// By its place in the list of refusals.
    Refusal(usize),
    EqualEvents,
    LostAnswer(Provider),
    /// A call before a hint was over: not asked for, and wrong.
    TooEarly,
}

impl Part {
    fn word(self) -> String {
        match self {
            Self::TokenExpiredInStream => "token-expiry in stream".to_owned(),
            Self::TokenExpiredAtCall => "token-expiry at call".to_owned(),
            Self::HintInSeconds => "exhausted by seconds".to_owned(),
            Self::HintInTrailers => "exhausted by trailers".to_owned(),
            Self::HintInMessage => "exhausted by message".to_owned(),
            Self::HalfOpen => "half-open".to_owned(),
            Self::Wedged => "wedged".to_owned(),
            Self::Goaway => "goaway".to_owned(),
            Self::Clean100 => "clean-100".to_owned(),
            Self::CursorExpired => "cursor-expired".to_owned(),
            Self::Disorder => "disorder".to_owned(),
            Self::Refusal(at) => {
                let code = REFUSALS.get(at).map(|refusal| refusal.0);
                format!("refusal {:?}", code.unwrap_or(tonic::Code::Unknown))
            }
            Self::EqualEvents => "equal-events".to_owned(),
            Self::LostAnswer(provider) => format!("lost-answers {}", provider.word()),
            Self::TooEarly => "too early".to_owned(),
        }
    }
}

impl Fault {
    /// Its parts, where these providers are played; none when none of them plays it.
    fn parts(self, played: &[Provider]) -> Vec<Part> {
        let of = |provider: Provider, parts: &[Part]| {
            if played.contains(&provider) {
                parts.to_vec()
            } else {
                Vec::new()
            }
        };
        // Each of Ppoppo's streams plays its faults.
        let ppoppo = |parts: &[Part]| {
            if Provider::STREAMS
                .iter()
                .any(|stream| played.contains(stream))
            {
                parts.to_vec()
            } else {
                Vec::new()
            }
        };
        match self {
            Self::TokenExpiry => ppoppo(&[Part::TokenExpiredInStream, Part::TokenExpiredAtCall]),
            Self::Exhausted => ppoppo(&[
                Part::HintInSeconds,
                Part::HintInTrailers,
                Part::HintInMessage,
            ]),
            Self::HalfOpen => ppoppo(&[Part::HalfOpen]),
            Self::Wedged => ppoppo(&[Part::Wedged]),
            Self::Goaway => ppoppo(&[Part::Goaway]),
            Self::Clean100 => ppoppo(&[Part::Clean100]),
            Self::CursorExpired => ppoppo(&[Part::CursorExpired]),
            Self::Disorder => of(Provider::Ppoppo, &[Part::Disorder]),
            Self::Refusals => {
                let refusals: Vec<Part> = (0..REFUSALS.len()).map(Part::Refusal).collect();
                ppoppo(&refusals)
            }
            Self::EqualEvents => of(Provider::Pushwoosh, &[Part::EqualEvents]),
            Self::LostAnswers => {
                let pushes = played
                    .iter()
                    .filter(|provider| !Provider::STREAMS.contains(provider));
                pushes.map(|provider| Part::LostAnswer(*provider)).collect()
            }
        }
    }

    /// Whether one of these providers plays it.
    pub(crate) fn is_played_by(self, played: &[Provider]) -> bool {
        !self.parts(played).is_empty()
    }

    /// The word that `--faults` takes.
    pub(crate) fn word(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What was asked for, and what happened.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    asked: Vec<Fault>,
    counts: Mutex<BTreeMap<Part, u64>>,
}

impl Faults {
    pub(crate) fn new(asked: &[Fault], played: &[Provider]) -> Arc<Self> {
        let parts = asked.iter().flat_map(|fault| fault.parts(played));
        let mut counts: BTreeMap<Part, u64> = parts.map(|part| (part, 0)).collect();
        if asked.contains(&Fault::Exhausted) {
            counts.insert(Part::TooEarly, 0);
        }
        Arc::new(Self {
            asked: asked.to_vec(),
            counts: Mutex::new(counts),
        })
    }

    pub(crate) fn asks(&self, fault: Fault) -> bool {
        self.asked.contains(&fault)
    }

    pub(crate) fn happened(&self, part: Part) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(part).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(part, &times)| (part.word(), times))
            .collect()
    }

    /// The parts that never happened.
    pub(crate) fn missing(&self) -> Vec<String> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .filter(|&(&part, &times)| times == 0 && part != Part::TooEarly)
            .map(|(part, _)| part.word())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_fault_must_happen() {
        let played = [Provider::Ppoppo, Provider::Arpoone];
        let faults = Faults::new(&[Fault::Exhausted, Fault::LostAnswers], &played);
        faults.happened(Part::HintInSeconds);
        faults.happened(Part::HintInTrailers);
        assert_eq!(
            faults.missing(),
            ["exhausted by message", "lost-answers arpoone"]
        );
        faults.happened(Part::HintInMessage);
        faults.happened(Part::LostAnswer(Provider::Arpoone));
        assert!(faults.missing().is_empty());
        assert_eq!(faults.counts().get("too early"), Some(&0));
    }

    #[test]
    fn a_fault_needs_its_provider() {
        assert!(!Fault::Goaway.is_played_by(&[Provider::Arpoone]));
        assert!(!Fault::LostAnswers.is_played_by(&[Provider::Ppoppo]));
        assert!(!Fault::EqualEvents.is_played_by(&[Provider::PushwooshGrpc]));
        assert_eq!(Fault::Clean100.word(), "clean-100");
    }
}
