//! The end of a machine: no process of the server outlives another, as backends
//! outlive a postmaster that is killed alone.

use super::Cluster;
use crate::leash;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::fs;

impl Cluster {
    /// SIGKILL of all processes, none of which does anything after another's end.
    pub fn crash(&mut self) -> Result<()> {
        let postmaster = self.postmaster.id();
        // It starts nothing more, and none of its children is waited for.
        leash::signal(postmaster, Signal::STOP)?;
        for child in children(postmaster)? {
            leash::signal(child, Signal::KILL)?;
        }
        self.kill()
    }
}

fn children(of: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list the processes")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // Gone meanwhile: not ours, for the parent of ours stands still.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // `pid (name) state parent ..`, where a name may hold anything.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| {
            let parent = rest.split_whitespace().nth(1)?;
            parent.parse::<u32>().ok()
        });
        if parent == Some(of) {
            found.push(pid);
        }
    }
    Ok(found)
}
