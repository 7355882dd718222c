//! The options of a source, checked when they are set rather than when they are needed.

use serde_json::{Map, Value};

use super::{Provider, Scheme};
use crate::time;

/// An option and what its value must be.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) form: Form,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    Boolean,
    /// An http or https URL.
    Url,
    /// A time zone of the IANA database.
    TimeZone,
    /// A number of seconds.
    Seconds,
}

/// Options that every source takes.
const COMMON: [Spec; 2] = [
    Spec {
        name: "url_token",
        form: Form::Text,
    },
    Spec {
        name: "allow_unauthenticated",
        form: Form::Boolean,
    },
];

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("a source of provider {provider} has no option {name:?}")]
    Unknown {
        provider: &'static str,
        name: String,
        known: String,
    },
    #[error("option {name:?} is not {expected}")]
    Invalid {
        name: String,
        expected: &'static str,
    },
}

impl Provider {
    /// Refuses an option that sources of this provider do not take, by name, and a
    /// value of another form than the option's.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<(), OptionError> {
        for (name, value) in options {
            let Some(spec) = self.specs().find(|spec| spec.name == name) else {
                let known: Vec<_> = self.specs().map(|spec| spec.name).collect();
                return Err(OptionError::Unknown {
                    provider: self.name,
                    name: name.clone(),
                    known: known.join(", "),
                });
            };
            if let Some(expected) = spec.form.refuses(value) {
                return Err(OptionError::Invalid {
                    name: name.clone(),
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Whether its events come over a connection that the worker opens.
    pub fn is_dialed(&self) -> bool {
        self.scheme == Scheme::Dialed
    }

    fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        COMMON.iter().chain(self.options)
    }
}

impl Form {
    /// What was expected, where the value is not of this form.
    fn refuses(self, value: &Value) -> Option<&'static str> {
        let text = value.as_str().filter(|text| !text.is_empty());
        let (fits, expected) = match self {
            Self::Text => (text.is_some(), "a text that is not empty"),
            Self::Boolean => (value.is_boolean(), "true or false"),
            Self::Url => (
                text.is_some_and(|url| {
                    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
                    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                }),
                "a URL that begins with http:// or https://",
            ),
            Self::TimeZone => (
                text.is_some_and(|name| time::zone(name).is_some()),
                "a time zone of the IANA database, such as Europe/Lisbon",
            ),
            Self::Seconds => (value.as_u64().is_some(), "a whole number of seconds"),
        };
        (!fits).then_some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;
    use serde_json::json;

    fn check(provider: &str, options: Value) -> Result<(), String> {
        let options = options.as_object().unwrap().clone();
        provider::find(provider)
            .unwrap()
            .check_options(&options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_checked_by_name_and_form() {
        assert_eq!(
            check(
                "arpoone",
                json!({"timezone": "Europe/Lisbon", "url_token": "t"})
            ),
            Ok(())
        );
        assert_eq!(
            check(
                "ppoppo",
                json!({"endpoint": "http://localhost:1/ext", "overlap": 5})
            ),
            Ok(())
        );
        let error = check("pushwoosh", json!({"timezone": "UTC"})).unwrap_err();
        assert_eq!(
            error,
            r#"a source of provider pushwoosh has no option "timezone""#
        );
        for (provider, options) in [
            ("arpoone", json!({"timezone": "Lisbon"})),
            ("arpoone", json!({"timezone": 1})),
            ("ppoppo", json!({"endpoint": "api.ppoppo.com"})),
            ("ppoppo", json!({"endpoint": "http://"})),
            ("ppoppo", json!({"overlap": -1})),
            ("ppoppo", json!({"token_env": ""})),
            ("pushpushgo", json!({"allow_unauthenticated": "yes"})),
        ] {
            assert!(
                check(provider, options.clone())
                    .unwrap_err()
                    .contains(" is not "),
                "{options}"
            );
        }
    }
}
