//! Connections to Postgres: opening them, setting what safe writes need, and checking
//! that the extension has the worker's version.

pub(crate) mod backends;
mod connect;
pub(crate) mod failure;
pub(crate) mod json;
mod session;
mod source;
pub(crate) mod tls;
pub(crate) mod upkeep;
mod verify;
pub(crate) mod version;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_postgres::{AsyncMessage, Connection, error::DbError};
use tracing::{debug, info, warn};

pub(crate) use self::session::{Param, Session};
use self::{
    backends::{Backend, Backends, Place},
    connect::Target,
    failure::describe,
    source::Source,
    tls::TlsError,
};
use crate::settings::{Database, DatabaseArgs};

/// Time limit for a server when a connection is opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections; every part of the worker opens its own.
#[derive(Clone)]
pub(crate) struct Connector {
    source: Arc<Source>,
    limits: Limits,
    /// Whether there is a pooler in between, which shares sessions among its clients.
    pooled: bool,
    backends: Backends,
    /// Whether the start is over: a connection was opened, or could not be.
    is_settled: Arc<AtomicBool>,
    /// Whether a pooler was looked for.
    is_looked: Arc<AtomicBool>,
}

/// Limits of every transaction.
#[derive(Clone, Copy, Debug)]
struct Limits {
    statement: Duration,
    lock: Duration,
    /// Whether a commit waits for the standbys, if the server is configured so.
    replicated: bool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// A transient failure.
    #[error("{0}")]
    Unreachable(String),
    /// The extension is missing or has another version, as the first connection of the process
    /// shows: an operator must act. Later the same is [`ConnectError::Unreachable`], because a
    /// database may be made anew in an outage, and its extension a moment after it.
    #[error("{0}")]
    Incompatible(String),
}

/// An event of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Notified,
    Closed,
}

impl Connector {
    pub(crate) fn new(database: Database, settings: &DatabaseArgs) -> Result<Self, TlsError> {
        Ok(Self {
            source: Arc::new(Source::new(Target::new(database)?, settings)),
            limits: Limits {
                statement: settings.statement_timeout,
                lock: settings.lock_timeout,
                replicated: true,
            },
            pooled: settings.pooled,
            backends: Backends::default(),
            is_settled: Arc::default(),
            is_looked: Arc::default(),
        })
    }

    /// Reads the files of the settings again, for the connections to come. The open ones
    /// stay, because Postgres does not end them when a password changes.
    pub(crate) async fn reload(&self) {
        self.source.read().await;
    }

    pub(crate) fn statement_timeout(&self) -> Duration {
        self.limits.statement
    }

    /// The same connector for upkeep, which takes as long as it needs and bounds its own
    /// locks. Its commits do not wait for a standby, because nothing may wait for its
    /// locks, and work that a failover undoes is repeated.
    pub(crate) fn for_upkeep(&self) -> Self {
        let mut connector = self.clone();
        connector.limits = Limits {
            statement: Duration::ZERO,
            lock: Duration::ZERO,
            replicated: false,
        };
        connector
    }

    /// Opens a connection, prepares its session and checks the version of the extension.
    /// `on_event` gets the notifications, and one event when the connection has closed.
    pub(crate) async fn connect(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Session, ConnectError> {
        let connected = self.connect_now(on_event).await;
        match connected {
            Err(ConnectError::Incompatible(reason)) if self.is_settled.load(Ordering::Relaxed) => {
                Err(ConnectError::Unreachable(reason))
            }
            Err(ConnectError::Incompatible(_)) => connected,
            Ok(_) | Err(ConnectError::Unreachable(_)) => {
                self.is_settled.store(true, Ordering::Relaxed);
                connected
            }
        }
    }

    async fn connect_now(
        &self,
        mut on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Session, ConnectError> {
        let place = self.backends.place();
        let leaving = place.clone();
        let session = self.open(move |event| {
            if event == Event::Closed {
                leaving.leave();
            }
            on_event(event);
        });
        self.prepare(session.await?, &place).await
    }

    /// Warns of a pooler that the settings do not mention. It is looked for once.
    pub(crate) async fn warn_of_pooler(&self) {
        if self.is_looked.swap(true, Ordering::Relaxed) {
            return;
        }
        match self.finds_pooler().await {
            Ok(true) => self.backends.tell(),
            Ok(false) => {}
            // Too many connections, perhaps: the next one to ask looks.
            Err(_) => self.is_looked.store(false, Ordering::Relaxed),
        }
    }

    /// Whether a pooler in transaction mode is found although `--pooled` is not set: over two
    /// connections, the second of which is in a transaction while the first is asked again.
    pub(crate) async fn finds_pooler(&self) -> Result<bool, ConnectError> {
        if self.pooled {
            return Ok(false);
        }
        let backends = Backends::default();
        let (one, two) = (self.open(|_| ()).await?, self.open(|_| ()).await?);
        let (of_one, of_two) = (backends.place(), backends.place());
        let found = async {
            let first = of_one.see(backend(&one).await?);
            two.execute("begin").await?;
            let second = of_two.see(backend(&two).await?);
            let third = of_one.see(backend(&one).await?);
            two.execute("rollback").await?;
            Ok::<_, tokio_postgres::Error>(first || second || third)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, found).await {
            Ok(found) => found.map_err(|e| ConnectError::Unreachable(describe(&e))),
            Err(_) => Err(ConnectError::Unreachable(
                "Postgres does not answer".to_owned(),
            )),
        }
    }

    /// Opens a connection, whatever extension the server has.
    pub(crate) async fn open(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Session, ConnectError> {
        let target = self.source.read().await;
        let (client, connection) = target.connect().await.map_err(ConnectError::Unreachable)?;
        tokio::spawn(drive(connection, on_event));
        Ok(if self.pooled {
            Session::shared(client, &self.limits.settings(Scope::Transaction))
        } else {
            Session::own(client)
        })
    }

    async fn prepare(&self, session: Session, place: &Place) -> Result<Session, ConnectError> {
        let work = async {
            if !self.pooled {
                let settings = self.limits.settings(Scope::Session);
                session.execute(&settings).await?;
            }
            let server = "select pg_catalog.pg_is_in_recovery(), \
                          pg_catalog.current_setting('server_version_num')::int";
            let server = session.query_one(server, &[]).await?;
            let (standby, version): (bool, i32) = (server.try_get(0)?, server.try_get(1)?);
            self.look(&session, place).await?;
            let installed = installed(&session).await?;
            let session = session
                .with(&without_parameters(version, self.scope()))
                .await?;
            self.look(&session, place).await?;
            Ok::<_, tokio_postgres::Error>((standby, installed, session))
        };
        let (standby, installed, session) = match tokio::time::timeout(CONNECT_TIMEOUT, work).await
        {
            Ok(result) => result.map_err(|e| ConnectError::Unreachable(describe(&e)))?,
            Err(_) => {
                let reason = "Postgres does not answer".to_owned();
                return Err(ConnectError::Unreachable(reason));
            }
        };
        if standby {
            return Err(ConnectError::Unreachable(
                "this server is a standby: point DATABASE_URL at the primary, or name all servers \
                 in it, with target_session_attrs=read-write"
                    .to_owned(),
            ));
        }
        version::check(installed.as_deref()).map_err(ConnectError::Incompatible)?;
        Ok(session)
    }

    /// Looks at the backend behind a connection, which may show a pooler.
    async fn look(&self, session: &Session, place: &Place) -> Result<(), tokio_postgres::Error> {
        if !self.pooled && place.see(backend(session).await?) {
            self.backends.tell();
        }
        Ok(())
    }

    fn scope(&self) -> Scope {
        if self.pooled {
            Scope::Transaction
        } else {
            Scope::Session
        }
    }
}

/// The scope of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Session,
    Transaction,
}

impl Scope {
    fn set(self) -> &'static str {
        match self {
            Self::Session => "set",
            Self::Transaction => "set local",
        }
    }

    fn is_local(self) -> bool {
        self == Self::Transaction
    }
}

impl Limits {
    /// The settings that the worker relies on, whatever the defaults of the role or the
    /// database. They are set by statements rather than by the `options` of the startup
    /// packet, which poolers refuse.
    fn settings(self, scope: Scope) -> String {
        let (set, local) = (scope.set(), scope.is_local());
        let (statement, lock) = (self.statement.as_millis(), self.lock.as_millis());
        let of_scope = match scope {
            Scope::Session => "set default_transaction_isolation = 'read committed'; ",
            // The isolation level was set by BEGIN. The statements and the commit are
            // sent together, so that a transaction which is left open has lost its worker
            // and holds locks.
            Scope::Transaction => "set local idle_in_transaction_session_timeout = '10s'; ",
        };
        let commit = if self.replicated {
            // With `off`, an acknowledged event could be lost in a crash of the server.
            // Every other value keeps what was committed, so that the choice is the
            // operator's.
            format!(
                "select pg_catalog.set_config('synchronous_commit', 'on', {local}) \
                    where pg_catalog.current_setting('synchronous_commit') = 'off'"
            )
        } else {
            format!("{set} synchronous_commit = local")
        };
        format!(
            "{set} client_min_messages = warning; {set} statement_timeout = {statement}; \
             {set} lock_timeout = {lock}; {of_scope}{commit}"
        )
    }
}

/// Keeps headers and their secrets out of the log of a server that logs parameters, if
/// the role is allowed to: since Postgres 15 there is a privilege for it.
fn without_parameters(server_version: i32, scope: Scope) -> String {
    let may = if server_version >= 150_000 {
        "pg_catalog.has_parameter_privilege('log_parameter_max_length', 'set')"
    } else {
        "pg_catalog.current_setting('is_superuser') = 'on'"
    };
    let (set, local) = (scope.set(), scope.is_local());
    format!(
        "{set} log_parameter_max_length_on_error = 0; \
         select pg_catalog.set_config('log_parameter_max_length', '0', {local}) where {may}"
    )
}

/// The backend that answers.
async fn backend(session: &Session) -> Result<Backend, tokio_postgres::Error> {
    let query = "select pg_catalog.pg_backend_pid(), \
                 (1e6 * extract(epoch from pg_catalog.pg_postmaster_start_time()))::int8";
    let row = session.query_one(query, &[]).await?;
    Ok(Backend {
        pid: row.try_get(0)?,
        server: row.try_get(1)?,
    })
}

/// The installed version of the extension, if it is installed.
pub(crate) async fn installed(session: &Session) -> Result<Option<String>, tokio_postgres::Error> {
    let query = "select extversion from pg_catalog.pg_extension where extname = 'tidings'";
    match session.query_opt(query, &[]).await? {
        Some(row) => Ok(Some(row.try_get(0)?)),
        None => Ok(None),
    }
}

/// Whether a commit is done on this server only and may be lost with it, because somebody
/// has cancelled its wait for a synchronous standby. Postgres reports that by a warning
/// alone, and then reports success. The worker therefore drops the connection and
/// retries: the retry finds its events, and waits once more. ([`Limits::settings`]
/// ensures that the warning is sent.)
fn is_unreplicated(notice: &DbError) -> bool {
    // The routine is the only part of the warning that is the same in every language.
    notice.routine() == Some("SyncRepWaitForLSN")
}

/// Transfers the bytes of one connection until it closes.
async fn drive<S, T>(mut connection: Connection<S, T>, mut on_event: impl FnMut(Event))
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => on_event(Event::Notified),
            Some(Ok(AsyncMessage::Notice(notice))) if is_unreplicated(&notice) => {
                warn!(%notice, "a commit was not confirmed by the standbys; retrying");
                break;
            }
            Some(Ok(AsyncMessage::Notice(notice))) => debug!(%notice, "a notice of Postgres"),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // The user of the connection gets the error too, and reports what
                // follows.
                info!(reason = %describe(&error), "a connection to Postgres was lost");
                break;
            }
            None => break,
        }
    }
    on_event(Event::Closed);
}
