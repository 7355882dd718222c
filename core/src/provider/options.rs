//! The options of a source, checked when they are set rather than when they are needed.

use serde_json::{Map, Value};

use super::{Provider, Scheme};
use crate::time;

/// An option, what its value must be, and which other option it is nothing without.
#[derive(Debug)]
pub(super) struct Spec {
    name: &'static str,
    form: Form,
    needs: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    Boolean,
    /// An http or https URL.
    Url,
    /// A time zone of the IANA database.
    TimeZone,
    /// A strptime format that reads what it writes.
    TimeFormat,
    /// A number of seconds.
    Seconds,
}

impl Spec {
    pub(super) const fn new(name: &'static str, form: Form) -> Self {
        Self {
            name,
            form,
            needs: None,
        }
    }

    pub(super) const fn needing(name: &'static str, form: Form, needs: &'static str) -> Self {
        Self {
            name,
            form,
            needs: Some(needs),
        }
    }
}

/// Options that every source takes.
const COMMON: [Spec; 2] = [
    Spec::new("url_token", Form::Text),
    Spec::new("allow_unauthenticated", Form::Boolean),
];

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("options are not a JSON object")]
    NotAnObject(String),
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
    #[error("option {name:?} needs option {needs:?}")]
    Alone {
        name: &'static str,
        needs: &'static str,
    },
}

impl OptionError {
    /// What to do about it, as a sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAnObject(_) => r#"Write them as '{"name": "value"}'."#.to_owned(),
            Self::Unknown { known, .. } => format!("Its options are {known}."),
            Self::Invalid { .. } => "Correct the option's value.".to_owned(),
            Self::Alone { name, needs } => format!("Set {needs:?} as well, or leave out {name:?}."),
        }
    }
}

impl Provider {
    /// Refuses an option that sources of this provider do not take, by name, a value of
    /// another form than the option's, and an option without the one that it needs.
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
            spec.form.check(name, value)?;
            if let Some(needs) = spec.needs.filter(|needs| !options.contains_key(*needs)) {
                return Err(OptionError::Alone {
                    name: spec.name,
                    needs,
                });
            }
        }
        Ok(())
    }

    /// Whether its events come over a connection that the worker opens.
    pub fn is_dialed(&self) -> bool {
        self.scheme == Scheme::Dialed
    }

    /// The names of the options that its sources take.
    pub fn option_names(&self) -> impl Iterator<Item = &'static str> {
        self.specs().map(|spec| spec.name)
    }

    fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        COMMON.iter().chain(self.options)
    }
}

impl Form {
    /// Refuses a value that is not of this form.
    pub(super) fn check(self, name: &str, value: &Value) -> Result<(), OptionError> {
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
            Self::TimeFormat => (
                text.is_some_and(time::is_format),
                "a format that a date and a time can be read with, such as %d/%m/%Y %H:%M:%S",
            ),
            // More would overflow the clocks that it is added to.
            Self::Seconds => (
                value.as_u64().is_some_and(|s| s <= u64::from(u32::MAX)),
                "a whole number of seconds, at most 4294967295",
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(OptionError::Invalid {
                name: name.to_owned(),
                expected,
            })
        }
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
        for (provider, options) in [
            (
                "arpoone",
                json!({"timezone": "Europe/Lisbon", "url_token": "t"}),
            ),
            ("arpoone", json!({"time_format": "%d/%m/%Y %H:%M:%S"})),
            (
                "ppoppo",
                json!({"endpoint": "http://localhost:1/ext", "overlap": 5}),
            ),
            (
                "ppoppo",
                json!({"keepalive": 0, "idle_limit": 900, "ca_file": "/etc/ca.pem"}),
            ),
            (
                "ppoppo",
                json!({"token_url": "https://accounts.ppoppo.com/oauth/token", "client_id": "c", "scope": "messaging"}),
            ),
        ] {
            assert_eq!(check(provider, options), Ok(()));
        }
        let error = check("pushwoosh", json!({"timezone": "UTC"})).unwrap_err();
        assert_eq!(
            error,
            r#"a source of provider pushwoosh has no option "timezone""#
        );
        for (provider, options) in [
            ("arpoone", json!({"timezone": "Lisbon"})),
            ("arpoone", json!({"timezone": 1})),
            ("arpoone", json!({"time_format": "%d/%m/%Y %Z"})),
            ("arpoone", json!({"time_format": "HH:mm"})),
            ("ppoppo", json!({"endpoint": "api.ppoppo.com"})),
            ("ppoppo", json!({"endpoint": "http://"})),
            ("ppoppo", json!({"overlap": -1})),
            ("ppoppo", json!({"overlap": u64::MAX})),
            ("ppoppo", json!({"keepalive": "5s"})),
            ("ppoppo", json!({"token_env": ""})),
            ("ppoppo", json!({"token_url": "accounts", "client_id": "c"})),
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

    #[test]
    fn options_of_one_flow_need_each_other() {
        for (options, needs) in [
            (json!({"token_url": "https://a/token"}), "client_id"),
            (json!({"client_id": "c"}), "token_url"),
            (json!({"scope": "messaging"}), "token_url"),
        ] {
            let error = check("ppoppo", options).unwrap_err();
            assert!(
                error.ends_with(&format!(" needs option {needs:?}")),
                "{error}"
            );
        }
    }
}
