//! The backends behind the worker's connections, which show a pooler that nobody mentioned.
//!
//! Without `--pooled` each connection has a backend of its own until it is closed. Behind a
//! pooler in transaction mode two open connections have the same one, or one connection has
//! another one from a transaction to the next. Then settings of the session reach other clients
//! or are lost, LISTEN hears nothing, and prepared statements are missing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

/// The advice for a pooler that was found.
pub(crate) const ADVICE: &str = "DATABASE_URL leads through a pooler in transaction mode: set --pooled \
     (TIDINGS_POOLED=true), or connect to Postgres itself";

/// A backend of a server. Two servers may use the same process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Backend {
    pub(super) pid: i32,
    /// The time at which the server was started, in microseconds since 1970.
    pub(super) server: i64,
}

/// The backends of all open connections of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Backends(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    open: HashMap<Backend, usize>,
    is_told: bool,
}

impl Backends {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a connection that is being opened.
    pub(super) fn place(&self) -> Place {
        Place {
            backends: self.clone(),
            backend: Arc::default(),
        }
    }

    /// Warns of the pooler, once.
    pub(super) fn tell(&self) {
        if !std::mem::replace(&mut self.lock().is_told, true) {
            warn!("{ADVICE}");
        }
    }
}

/// The place of one connection among the backends.
#[derive(Clone, Debug)]
pub(super) struct Place {
    backends: Backends,
    backend: Arc<Mutex<Option<Backend>>>,
}

impl Place {
    /// Notes the backend that answers on this connection, and returns whether that shows a
    /// pooler.
    pub(super) fn see(&self, now: Backend) -> bool {
        let before = self.own().replace(now);
        let is_shared = {
            let mut known = self.backends.lock();
            if let Some(before) = before {
                known.remove(before);
            }
            let count = known.open.entry(now).or_default();
            *count += 1;
            *count > 1
        };
        is_shared || before.is_some_and(|before| before != now)
    }

    /// The connection is closed, so that another one may get its backend's process id.
    pub(super) fn leave(&self) {
        if let Some(backend) = self.own().take() {
            self.backends.lock().remove(backend);
        }
    }

    fn own(&self) -> MutexGuard<'_, Option<Backend>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remove(&mut self, backend: Backend) {
        if let Some(count) = self.open.get_mut(&backend) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&backend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: i32) -> Backend {
        Backend { pid, server: 1 }
    }

    #[test]
    fn each_connection_with_a_backend_of_its_own_is_no_pooler() {
        let backends = Backends::default();
        let (one, two) = (backends.place(), backends.place());
        assert!(!one.see(backend(1)) && !two.see(backend(2)) && !one.see(backend(1)));
        let elsewhere = Backend {
            server: 2,
            ..backend(1)
        };
        assert!(!backends.place().see(elsewhere), "of another server");
        one.leave();
        assert!(!backends.place().see(backend(1)), "the first one is closed");
    }

    #[test]
    fn a_backend_of_two_connections_is_a_pooler_and_is_warned_of_once() {
        let log = crate::testing::Log::default();
        let _listening = log.listen();
        let backends = Backends::default();
        let (one, two) = (backends.place(), backends.place());
        assert!(!one.see(backend(1)));
        assert!(two.see(backend(1)));
        assert!(two.see(backend(2)), "another one than before");
        for _ in 0..2 {
            backends.tell();
        }
        assert_eq!(log.text().matches("--pooled").count(), 1);
    }
}
