//! The raw figures, kept as JSON, so that a row can be measured anew beside the others.

use super::machine::{Commit, Machine};
use crate::contest::Played;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// When, to the minute.
    pub(crate) at: String,
    pub(crate) rounds: usize,
    pub(crate) long: bool,
    pub(crate) played: Vec<Played>,
    pub(crate) seconds: u64,
    /// Why it could not be measured.
    pub(crate) failed: Option<String>,
}

/// All rows of one commit on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) commit: Commit,
    pub(crate) machine: Machine,
    pub(crate) rows: BTreeMap<String, Measured>,
}

impl Results {
    /// None if there are none, or they are not readable by this version.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().context("a file without a folder")?;
        fs::create_dir_all(folder)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether rows of this commit and machine may stand beside these. Files that differ from
    /// the commit may differ from each other, too, unless the caller knows better.
    pub(crate) fn goes_with(&self, commit: &Commit, machine: &Machine, changed_too: bool) -> bool {
        let is_known = !self.commit.changed && !commit.changed;
        self.commit.id == commit.id && (is_known || changed_too) && self.machine == *machine
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::figures::Figures;

    pub(crate) fn machine() -> Machine {
        Machine {
            cpu: "A CPU".to_owned(),
            cores: 2,
            memory_gib: 24,
            kernel: "6.1".to_owned(),
            disk: "/dev/sda, ext4".to_owned(),
            postgres: "PostgreSQL 15.1 on x86_64".to_owned(),
            settings: vec![("fsync".to_owned(), "on".to_owned())],
        }
    }

    pub(crate) fn results(row: &str, figures: &[(&str, &[f64])]) -> Results {
        let played = figures.iter().map(|(contender, rates)| Played {
            contender: (*contender).to_owned(),
            rounds: rates
                .iter()
                .map(|&rate| Figures::default().with("rate", rate))
                .collect(),
            absent: None,
        });
        let measured = Measured {
            at: "2026-12-01 00:00 UTC".to_owned(),
            rounds: 3,
            long: false,
            played: played.collect(),
            seconds: 9,
            failed: None,
        };
        Results {
            commit: Commit {
                id: "abc".to_owned(),
                changed: false,
            },
            machine: machine(),
            rows: BTreeMap::from([(row.to_owned(), measured)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/results.json");
        let results = testing::results("row", &[("tidings", &[1.5, 2.5])]);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path), Some(results));
        fs::write(&path, "{}").unwrap();
        assert_eq!(Results::read(&path), None);
    }

    #[test]
    fn rows_of_another_commit_or_a_changed_one_do_not_stand_side_by_side() {
        let results = testing::results("row", &[]);
        let machine = testing::machine();
        let goes = |commit: &Commit| results.goes_with(commit, &machine, false);
        assert!(goes(&results.commit));
        let other = Commit {
            id: "abd".to_owned(),
            changed: false,
        };
        assert!(!goes(&other) && !results.goes_with(&other, &machine, true));
        let changed = Commit {
            changed: true,
            ..results.commit.clone()
        };
        assert!(!goes(&changed) && results.goes_with(&changed, &machine, true));
        let mut changed_then = results.clone();
        changed_then.commit.changed = true;
        assert!(!changed_then.goes_with(&results.commit, &machine, false));
    }
}
