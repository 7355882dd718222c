//! The values of the keywords and where each comes from. As with libpq, the URL wins over a
//! service, and a service over the environment.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use super::{
    Secret, conninfo,
    environment::Environment,
    keyword::{self, KEYWORDS, OTHER_VARIABLES, Use},
    service,
};

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Url,
    UrlFile(PathBuf),
    Service(String, PathBuf),
    Variable(&'static str),
    /// A line of the password file.
    PasswordFile(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("DATABASE_URL"),
            Self::UrlFile(file) => write!(f, "{}", file.display()),
            Self::Service(name, file) => write!(f, "the service {name:?} in {}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::PasswordFile(file, line) => write!(f, "{}, line {line}", file.display()),
        }
    }
}

/// A connection string, and where it is.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) text: Secret,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) text: Secret,
    pub(super) origin: Origin,
}

/// All values that are set, by keyword.
#[derive(Debug, Default)]
pub(super) struct Values {
    values: BTreeMap<&'static str, Value>,
    /// Warnings about what has no effect.
    pub(super) notes: Vec<String>,
}

impl Values {
    pub(super) fn gather(given: Option<&Given>, environment: &Environment) -> Result<Self, String> {
        let mut all = Self::default();
        if let Some(given) = given {
            all.learn_string(given)?;
        }
        let service = all.or_variable("service", "PGSERVICE", environment);
        if let Some(name) = service {
            let file = all.or_variable("servicefile", "PGSERVICEFILE", environment);
            let service = service::find(&name, file.as_deref(), environment)?;
            let origin = Origin::Service(name, service.file);
            for (keyword, text) in service.values {
                all.learn(keyword, text, &origin);
            }
        }
        for keyword in KEYWORDS {
            let Some(variable) = keyword.variable else {
                continue;
            };
            if let Some(text) = environment.get(variable) {
                all.learn(keyword.name, text.to_owned(), &Origin::Variable(variable));
            }
        }
        // Deprecated, and still heeded by libpq.
        let requires = environment.get("PGREQUIRESSL");
        if requires.is_some_and(|value| value.starts_with('1')) {
            let origin = Origin::Variable("PGREQUIRESSL");
            all.learn("sslmode", "require".to_owned(), &origin);
        }
        all.judge()?;
        for (variable, setting) in OTHER_VARIABLES {
            if environment.get(variable).is_some() {
                all.notes.push(format!(
                    "{variable} has no effect on the worker: to set {setting} for it, use \
                     ALTER ROLE .. SET {setting}"
                ));
            }
        }
        Ok(all)
    }

    fn learn_string(&mut self, given: &Given) -> Result<(), String> {
        let Given { text, origin } = given;
        let unusable = |reason: &str| {
            format!(
                "{origin} cannot be used ({reason}): write it as \
                 postgres://user:password@host/database"
            )
        };
        for (name, text) in conninfo::parse(&text.0).map_err(|reason| unusable(&reason))? {
            let Some(keyword) = keyword::find(&name) else {
                // A name that is none may be a part of a mistyped password.
                let is_name =
                    name.len() <= 30 && name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
                let name = if is_name {
                    format!(" {name}")
                } else {
                    String::new()
                };
                return Err(unusable(&format!("unknown keyword{name}")));
            };
            let origin = origin.clone();
            let text = Secret(text);
            // The last one counts.
            self.values.insert(keyword.name, Value { text, origin });
        }
        Ok(())
    }

    /// Keeps a value unless a stronger one is known.
    fn learn(&mut self, keyword: &'static str, text: String, origin: &Origin) {
        self.values.entry(keyword).or_insert_with(|| Value {
            text: Secret(text),
            origin: origin.clone(),
        });
    }

    fn or_variable(
        &self,
        keyword: &str,
        variable: &str,
        environment: &Environment,
    ) -> Option<String> {
        let value = self.text(keyword).or_else(|| environment.get(variable));
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Refuses what the worker cannot do, and warns about what has no effect.
    fn judge(&mut self) -> Result<(), String> {
        for keyword in KEYWORDS {
            let Some(Value { text, origin }) = self.values.get(keyword.name) else {
                continue;
            };
            if text.0.is_empty() {
                continue;
            }
            let name = keyword.name;
            match keyword.is {
                Use::Used => {}
                Use::Ignored(why) => {
                    let note = format!("{name} from {origin} has no effect: {why}");
                    self.notes.push(note);
                }
                Use::Only(accepted, _) if accepted.contains(&text.0.as_str()) => {}
                Use::Only(accepted, instead) => {
                    let accepted = accepted.join(", ");
                    return Err(format!(
                        "{name} from {origin} is none of {accepted}: {instead}"
                    ));
                }
                Use::Refused(instead) => {
                    return Err(format!("{name} from {origin} is not supported: {instead}"));
                }
            }
        }
        Ok(())
    }

    /// The value of a keyword, even an empty one.
    pub(super) fn text(&self, keyword: &str) -> Option<&str> {
        self.values.get(keyword).map(|value| value.text.0.as_str())
    }

    /// The value of a keyword, unless it is empty.
    pub(super) fn get(&self, keyword: &str) -> Option<&str> {
        self.text(keyword).filter(|text| !text.is_empty())
    }

    pub(super) fn origin(&self, keyword: &str) -> Option<&Origin> {
        self.values.get(keyword).map(|value| &value.origin)
    }

    /// The keywords that are set, in the order of their names.
    pub(super) fn origins(&self) -> impl Iterator<Item = (&'static str, &Origin)> {
        let set = self
            .values
            .iter()
            .filter(|(_, value)| !value.text.0.is_empty());
        set.map(|(keyword, value)| (*keyword, &value.origin))
    }

    /// An error about the value of a keyword, which it does not show.
    pub(super) fn bad(&self, keyword: &str, reason: &str) -> String {
        match self.origin(keyword) {
            Some(origin) => format!("{keyword} from {origin} {reason}"),
            None => format!("{keyword} {reason}"),
        }
    }

    /// A value that is one of these words.
    pub(super) fn one_of<T: Copy>(
        &self,
        keyword: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(keyword) else {
            return Ok(None);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.bad(keyword, &format!("is none of {}", words.join(", ")))
        })
    }

    pub(super) fn number(&self, keyword: &str) -> Result<Option<i64>, String> {
        let text = self.get(keyword).map(str::trim);
        let number = text.map(str::parse).transpose();
        number.map_err(|_| self.bad(keyword, "is not a number"))
    }
}
