//! The environment that settings come from. Tests have one of their own.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub(super) variables: HashMap<String, String>,
    pub(super) home: Option<PathBuf>,
    pub(super) user: Option<String>,
}

impl Environment {
    pub(super) fn of_process() -> Self {
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name
                .into_string()
                .ok()
                .filter(|name| name.starts_with("PG"))?;
            // A value that is not UTF-8 must not look like one that is missing.
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self {
            variables: variables.collect(),
            home: std::env::home_dir(),
            user: whoami::username().ok(),
        }
    }

    pub(super) fn get(&self, variable: &str) -> Option<&str> {
        self.variables.get(variable).map(String::as_str)
    }

    /// A file in the home folder of the process's user.
    pub(super) fn at_home(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let home = self
            .home
            .as_ref()
            .filter(|home| !home.as_os_str().is_empty())?;
        Some(home.join(path))
    }
}
