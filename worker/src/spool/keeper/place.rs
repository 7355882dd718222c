//! The file in its place, so that the next process finds what this one acknowledges.

use std::time::Instant;

use tidings_spool::SpoolError;
use tracing::{error, info, warn};

use super::{Keeper, PAUSE};

impl Keeper {
    /// Puts the file back if it has lost its place. Returns whether what it holds was counted
    /// anew.
    pub(super) fn be_in_place(&mut self) -> Result<bool, SpoolError> {
        if self.file.displaced().is_none() {
            self.unplaced = None;
            return Ok(false);
        }
        if let Some((until, failure)) = &self.unplaced
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        if self.doubtful {
            self.recover()?;
        }
        let began = Instant::now();
        let put_back = self.file.put_back(self.next).inspect_err(|failure| {
            // An attempt may have copied all that fits on the disk.
            let pause = PAUSE.max(began.elapsed() * 10);
            self.unplaced = Some((Instant::now() + pause, failure.clone()));
        })?;
        let Some(put_back) = put_back else {
            return Ok(false);
        };
        let (what, requests, found) = (put_back.what, put_back.requests, put_back.found);
        warn!(path = %self.file.path().display(), requests, found, "the spool's file was {what}; the requests in it were written to a new file, so do not drain the one that was moved away");
        self.losses.moved(put_back.is_other_folder);
        self.count().inspect_err(|_| self.doubtful = true)?;
        self.tell();
        Ok(true)
    }

    /// Looks whether the file and the notes beside it are still in their place.
    pub(super) fn look(&mut self) {
        let known = self.failure.borrow().clone();
        match self.be_in_place() {
            Ok(is_put_back) => {
                self.losses.look_after();
                if is_put_back || self.is_displaced() {
                    info!("the spool's file is in its place again");
                    self.refuse(None);
                }
            }
            Err(failure) => {
                if known.as_ref() != Some(&failure) {
                    error!(reason = %failure, "the spool does not take requests");
                }
                self.refuse(Some(failure));
            }
        }
    }

    /// Whether puts are refused because the file has lost its place.
    pub(super) fn is_displaced(&self) -> bool {
        let refused = self.refusing.as_ref().map(|(_, failure)| failure);
        matches!(refused, Some(SpoolError::Displaced { .. }))
    }
}
