//! How the process ends, and what can end it.
//!
//! Nothing is restarted inside the process. An actor that panicked has lost its state,
//! and only the providers can send its unanswered requests again. The process therefore
//! ends with one clear line in the log, and its supervisor restarts it.

use tokio::sync::mpsc;

/// Exit codes, after `sysexits.h` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Everything in flight was finished.
    Clean = 0,
    /// `check` or `schema` found something to fix; `spool drain` left requests behind, or
    /// `reconcile` got no answer about some.
    Findings = 1,
    /// A setting is missing or invalid.
    Usage = 64,
    /// The provider cannot be asked about the events of this source.
    Unaskable = 65,
    /// `check`, `schema`, `reconcile` or `spool drain` could not reach Postgres.
    Unavailable = 69,
    /// A part of the worker stopped unexpectedly: a bug.
    Internal = 70,
    /// The operating system refused something, such as a port.
    System = 71,
    /// The spool cannot be used: held by another process, damaged, or not writable.
    Spool = 73,
    /// The drain did not end in time: the requests in flight were not acknowledged.
    Unfinished = 75,
    /// The extension is missing, or is of another version, as the first connection shows. A
    /// worker that has been connected, or could not be at first, keeps looking instead.
    Incompatible = 78,
}

/// Why the process ends, other than by a signal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: Code,
    pub(crate) reason: String,
}

impl Exit {
    pub(crate) fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// A handle that can end the process. The first reason counts.
#[derive(Clone, Debug)]
pub(crate) struct Fatal(mpsc::Sender<Exit>);

impl Fatal {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Exit>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    pub(crate) fn exit(&self, exit: Exit) {
        // Full means that another reason came first, closed that the process is ending
        // already.
        let _ = self.0.try_send(exit);
    }

    /// A guard for a part without which the worker must not go on.
    pub(crate) fn vital(&self, name: impl Into<String>) -> Vital {
        Vital {
            name: name.into(),
            fatal: Some(self.clone()),
        }
    }

    /// Runs a part without which the worker must not go on.
    pub(crate) fn spawn<F>(&self, name: &str, part: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let vital = self.vital(name);
        tokio::spawn(async move {
            part.await;
            drop(vital);
        });
    }
}

/// Ends the process when it is dropped, as happens when an actor or a task panics:
/// nothing would restart the part, and the rest of the worker would go on without it.
///
/// A part that may end releases its guard itself when it ends cleanly, but not in
/// `Actor::stopped`, which also runs while a panic unwinds.
#[derive(Debug)]
pub(crate) struct Vital {
    name: String,
    fatal: Option<Fatal>,
}

impl Vital {
    /// From here on the part may end.
    pub(crate) fn release(&mut self) {
        self.fatal = None;
    }
}

impl Drop for Vital {
    fn drop(&mut self) {
        if let Some(fatal) = self.fatal.take() {
            fatal.exit(Exit::new(
                Code::Internal,
                format!("{} stopped unexpectedly", self.name),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_guard_ends_the_process_unless_released() {
        let (fatal, mut exits) = Fatal::channel();
        let mut released = fatal.vital("released");
        released.release();
        drop(released);
        assert!(exits.try_recv().is_err());

        drop(fatal.vital("the batcher"));
        drop(fatal.vital("a later one"));
        let exit = exits.try_recv().unwrap();
        assert_eq!(exit.code, Code::Internal);
        assert_eq!(exit.reason, "the batcher stopped unexpectedly");
        assert!(exits.try_recv().is_err(), "only the first reason counts");
    }

    #[tokio::test]
    async fn a_part_that_panics_or_ends_ends_the_process() {
        let ends: [fn(); 2] = [|| panic!("as the test wants"), || {}];
        for end in ends {
            let (fatal, mut exits) = Fatal::channel();
            fatal.spawn("the part", async move { end() });
            drop(fatal);
            let exit = exits.recv().await.unwrap();
            assert_eq!(exit.reason, "the part stopped unexpectedly");
        }
    }
}
