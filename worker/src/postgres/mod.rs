//! Connections to Postgres: opening them, setting what safe writes need, and checking
//! that the extension has the worker's version.

pub(crate) mod failure;
pub(crate) mod json;
mod session;
pub(crate) mod tls;
pub(crate) mod upkeep;
pub(crate) mod version;

use std::{future::poll_fn, time::Duration};

use tokio_postgres::{AsyncMessage, Config, Connection, config::SslMode, error::DbError};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, info, warn};

pub(crate) use self::session::{Param, Session};
use self::{failure::describe, tls::TlsError};
use crate::settings::DatabaseArgs;

/// Time limit for Postgres when a connection is opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections; every part of the worker opens its own.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    limits: Limits,
    /// Whether there is a pooler in between, which shares sessions among its clients.
    pooled: bool,
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
    /// The extension is missing or has another version: an operator must act.
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
    pub(crate) fn new(mut config: Config, settings: &DatabaseArgs) -> Result<Self, TlsError> {
        config.application_name("tidings-worker");
        // A server that has vanished is detected within about a minute rather than hours.
        config
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(60));
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        let ca = settings.database_ca.as_deref();
        if ca.is_some() && config.get_ssl_mode() == SslMode::Prefer {
            // A certificate authority is useless if the connection may go on without TLS.
            config.ssl_mode(SslMode::Require);
        }
        let tls = tls::connector(config.get_ssl_mode(), ca)?;
        Ok(Self {
            config,
            tls,
            limits: Limits {
                statement: settings.statement_timeout,
                lock: settings.lock_timeout,
                replicated: true,
            },
            pooled: settings.pooled,
        })
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
        let session = self.open(on_event).await?;
        self.prepare(session).await
    }

    /// Opens a connection, whatever extension the server has.
    pub(crate) async fn open(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Session, ConnectError> {
        let connect = self.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok((client, connection))) => {
                tokio::spawn(drive(connection, on_event));
                Ok(if self.pooled {
                    Session::shared(client, &self.limits.settings(Scope::Transaction))
                } else {
                    Session::own(client)
                })
            }
            Ok(Err(error)) => {
                let reason = tls::advice(&error).unwrap_or_else(|| describe(&error));
                Err(ConnectError::Unreachable(reason))
            }
            Err(_) => Err(ConnectError::Unreachable(
                "Postgres does not complete the connection".to_owned(),
            )),
        }
    }

    async fn prepare(&self, session: Session) -> Result<Session, ConnectError> {
        let work = async {
            if !self.pooled {
                let settings = self.limits.settings(Scope::Session);
                session.execute(&settings).await?;
            }
            let server = "select pg_catalog.pg_is_in_recovery(), \
                          pg_catalog.current_setting('server_version_num')::int";
            let server = session.query_one(server, &[]).await?;
            let (standby, version): (bool, i32) = (server.try_get(0)?, server.try_get(1)?);
            let installed = installed(&session).await?;
            let session = session
                .with(&without_parameters(version, self.scope()))
                .await?;
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
