//! Processes that stand still: SIGSTOP, and SIGCONT when it is over.

use crate::leash;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::fs;

/// Stopped processes, which go on when it is dropped.
#[derive(Debug)]
pub(super) struct Pause {
    pids: Vec<u32>,
}

impl Pause {
    pub(super) fn one(pid: u32) -> Result<Self> {
        leash::signal(pid, Signal::STOP)?;
        Ok(Self { pids: vec![pid] })
    }

    /// A process and its children.
    pub(super) fn all(parent: u32) -> Result<Self> {
        // The parent first: it then has no more of them.
        let mut pause = Self::one(parent)?;
        for child in children(parent)? {
            // Gone meanwhile, or stopped.
            if leash::signal(child, Signal::STOP).is_ok() {
                pause.pids.push(child);
            }
        }
        Ok(pause)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        for &pid in self.pids.iter().rev() {
            let _ = leash::signal(pid, Signal::CONT);
        }
    }
}

fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Gone meanwhile.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if parent_of(&stat) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// `pid (name) state ppid ..`, where the name may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("12 (postgres) S 34 12 12"), Some(34));
        assert_eq!(parent_of("12 (a) S 9 (b) T 34 12 12"), Some(34));
        assert_eq!(parent_of("12"), None);
    }
}
