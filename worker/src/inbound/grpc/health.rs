//! The state of the push services in the standard health service.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    pipeline::taking::{Taking, Trouble},
    sources::source::{Database, Snapshot},
};

/// The two states that the health of the push services follows. A push is opened by a question
/// to Postgres over the control connection, and is never spooled, so that it needs both.
pub(crate) type Postgres = (watch::Receiver<Snapshot>, Taking);

/// Keeps the health of the push services up to date with Postgres. The health of the
/// server as a whole (the empty name) means that the process is alive.
pub(super) struct Health {
    reporter: HealthReporter,
    /// The services that are there whatever the sources are.
    known: BTreeSet<String>,
    told: BTreeSet<String>,
    /// The status that was told of last. Who watches a service hears of changes alone.
    status: ServingStatus,
}

impl Health {
    /// Tells of the push services as they are now.
    pub(super) async fn begin(
        reporter: HealthReporter,
        known: BTreeSet<String>,
        (snapshot, taking): &Postgres,
    ) -> Self {
        let mut health = Self {
            reporter,
            known,
            told: BTreeSet::new(),
            status: ServingStatus::Unknown,
        };
        health.tell(snapshot, &taking.news()).await;
        health
    }

    pub(super) async fn follow(
        mut self,
        (mut snapshot, taking): Postgres,
        stopping: impl Future<Output = ()>,
    ) {
        let mut stopping = std::pin::pin!(stopping);
        let mut trouble = taking.news();
        // It may have changed since the beginning.
        trouble.mark_changed();
        loop {
            tokio::select! {
                changed = snapshot.changed() => if changed.is_err() { break },
                changed = trouble.changed() => if changed.is_err() { break },
                () = &mut stopping => break,
            }
            self.tell(&snapshot, &trouble).await;
        }
        for service in &self.told {
            let stopped = ServingStatus::NotServing;
            self.reporter.set_service_status(service, stopped).await;
        }
    }

    async fn tell(
        &mut self,
        snapshot: &watch::Receiver<Snapshot>,
        trouble: &watch::Receiver<Option<Trouble>>,
    ) {
        let (status, services) = {
            let snapshot = snapshot.borrow();
            let is_taking = trouble.borrow().is_none();
            let status = match snapshot.database {
                Database::Up if is_taking => ServingStatus::Serving,
                Database::Up | Database::Down(_) => ServingStatus::NotServing,
            };
            let mut services = own_services(&snapshot);
            services.extend(self.known.iter().cloned());
            (status, services)
        };
        for gone in self.told.difference(&services) {
            self.reporter.clear_service_status(gone).await;
        }
        let is_news = self.status != status;
        for service in &services {
            if is_news || !self.told.contains(service) {
                self.reporter.set_service_status(service, status).await;
            }
        }
        (self.told, self.status) = (services, status);
    }
}

/// The push services of sources that have a schema of their own.
fn own_services(snapshot: &Snapshot) -> BTreeSet<String> {
    let sources = snapshot.sources.iter().flat_map(|sources| sources.values());
    let own = sources
        .filter(|source| !source.is_dialed())
        .filter_map(|source| source.schema.as_ref());
    own.filter_map(|own| own.usable.as_ref().as_ref().ok())
        .map(|schema| schema.service().to_owned())
        .collect()
}
