//! Comparison of the schema that a server describes with the one in use.

use std::time::Duration;

use tokio::time::timeout;

use super::spoken::Spoken;
use crate::{
    commands::{
        reach::Reached,
        reflect::{ReflectError, Reflection, differences},
    },
    dial::options::Dial,
};

const REFLECTION: Duration = Duration::from_secs(5);
/// Limit on the differences and services that are shown.
const SHOWN: usize = 8;

/// The schema that a server describes.
pub(super) struct Described {
    pub(super) text: String,
    /// The difference from the schema in use, if there is one.
    pub(super) other: Option<Other>,
    /// Whether the server has answered.
    pub(super) answered: bool,
}

impl Described {
    fn only(answered: bool, text: String) -> Self {
        Self {
            text,
            other: None,
            answered,
        }
    }
}

/// A schema that is not the one in use.
pub(super) struct Other {
    /// The problem, as a sentence.
    pub(super) text: &'static str,
    pub(super) details: Vec<String>,
}

/// Asks the server for its schema by reflection, and compares it with the one in use.
pub(super) async fn describe(dial: &Dial, spoken: &Spoken, reached: &Reached) -> Described {
    let asked = timeout(REFLECTION, reflect(dial, spoken, reached)).await;
    match asked {
        Ok(Ok(described)) => described,
        Ok(Err(ReflectError::NotOffered)) => {
            Described::only(true, "not offered, which is fine".to_owned())
        }
        Ok(Err(error)) => Described::only(true, error.to_string()),
        Err(_) => Described::only(false, "not answered".to_owned()),
    }
}

async fn reflect(
    dial: &Dial,
    spoken: &Spoken,
    reached: &Reached,
) -> Result<Described, ReflectError> {
    let requests = reached.connection.requests();
    let mut server = Reflection::open(dial, requests, &reached.token).await?;
    let schema = &spoken.schema;
    let found = server.describe(schema.service()).await?;
    let described = |text: &str| format!("{}, {text}", server.version());
    let differences = found.and_then(|set| differences(&spoken.set, &set, schema.path()));
    let (text, details) = match &differences {
        Some(differences) if differences.is_empty() => {
            return Ok(Described::only(true, described("the same schema")));
        }
        Some(differences) => {
            let mut details: Vec<String> = differences.iter().take(SHOWN).cloned().collect();
            if let Some(more) = differences.len().checked_sub(SHOWN).filter(|n| *n > 0) {
                details.push(format!("and {more} more"));
            }
            (
                "the provider describes another schema than the one in use",
                details,
            )
        }
        None => {
            let services = server.services().iter().take(SHOWN).cloned();
            let services = services.collect::<Vec<_>>().join(", ");
            (
                "the provider describes no such method",
                vec![format!("its services: {services}")],
            )
        }
    };
    Ok(Described {
        text: described("another schema"),
        other: Some(Other { text, details }),
        answered: true,
    })
}
