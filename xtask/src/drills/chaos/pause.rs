//! Paused processes: SIGSTOP, and SIGCONT at the end.

use anyhow::Result;
use rustix::process::Signal;
use tidings_harness::leash;
use tidings_harness::procfs;

/// Stopped processes, which continue when this is dropped.
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
        // The parent is stopped first, so that it starts no more children.
        let mut pause = Self::one(parent)?;
        for child in procfs::children(parent)? {
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
