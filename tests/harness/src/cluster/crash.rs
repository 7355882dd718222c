//! The crash of a machine: all processes of the server end together, whereas backends
//! outlive a postmaster that is killed alone.

use super::Cluster;
use crate::leash;
use crate::procfs;
use anyhow::Result;
use rustix::process::Signal;

impl Cluster {
    /// Kills all processes with SIGKILL; none of them acts after the end of another.
    pub fn crash(&mut self) -> Result<()> {
        let postmaster = self.postmaster.id();
        // The postmaster then starts no process and waits for no child.
        leash::signal(postmaster, Signal::STOP)?;
        for child in procfs::children(postmaster)? {
            leash::signal(child, Signal::KILL)?;
        }
        self.kill()
    }
}
