//! What a server says of its schema, beside the one that is in use.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    dialed::Look,
    findings::{Finding, Word},
};
use crate::commands::{
    reach::Reached,
    reflect::{ReflectError, Reflection, differences},
};

const REFLECTION: Duration = Duration::from_secs(5);
/// Of differences and services.
const SHOWN: usize = 8;

pub(super) struct Described {
    pub(super) text: String,
    /// Where it is not the schema in use.
    pub(super) other: Option<Finding>,
    /// Whether the server has said anything.
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

impl Look<'_> {
    /// What the server says of its schema.
    pub(super) async fn describe(&self, reached: &Reached) -> Described {
        let asked = timeout(REFLECTION, self.reflect(reached)).await;
        match asked {
            Ok(Ok(described)) => described,
            Ok(Err(ReflectError::NotOffered)) => {
                Described::only(true, "not offered, which is fine".to_owned())
            }
            Ok(Err(error)) => Described::only(true, error.to_string()),
            Err(_) => Described::only(false, "not answered".to_owned()),
        }
    }

    async fn reflect(&self, reached: &Reached) -> Result<Described, ReflectError> {
        let requests = reached.connection.requests();
        let mut server = Reflection::open(self.dial, requests, &reached.token).await?;
        let schema = &self.spoken.schema;
        let found = server.describe(schema.service()).await?;
        let described = |text: &str| format!("{}, {text}", server.version());
        let differences = found.and_then(|set| differences(&self.spoken.set, &set, schema.path()));
        let (text, what) = match &differences {
            Some(differences) if differences.is_empty() => {
                return Ok(Described::only(true, described("the same schema")));
            }
            Some(differences) => {
                let mut what: Vec<String> = differences.iter().take(SHOWN).cloned().collect();
                if let Some(more) = differences.len().checked_sub(SHOWN).filter(|n| *n > 0) {
                    what.push(format!("and {more} more"));
                }
                (
                    "the provider describes another schema than the one in use",
                    what,
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
        let name = &self.source.name;
        let advice = format!("{text}: `tidings-worker schema {name}` prints what takes it over");
        Ok(Described {
            text: described("another schema"),
            other: Some(self.found(Word::Warn, advice).details(what)),
            answered: true,
        })
    }
}
