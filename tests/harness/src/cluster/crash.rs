//! The end of a machine: no process of the server outlives another, as backends
//! outlive a postmaster that is killed alone.

use super::Cluster;
use crate::leash;
use crate::procfs;
use anyhow::Result;
use rustix::process::Signal;

impl Cluster {
    /// SIGKILL of all processes, none of which does anything after another's end.
    pub fn crash(&mut self) -> Result<()> {
        let postmaster = self.postmaster.id();
        // It starts nothing more, and none of its children is waited for.
        leash::signal(postmaster, Signal::STOP)?;
        for child in procfs::children(postmaster)? {
            leash::signal(child, Signal::KILL)?;
        }
        self.kill()
    }
}
