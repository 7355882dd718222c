//! Connections to Postgres: opened, made safe to write through, and checked to
//! carry the extension of this worker's version.

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

/// How long Postgres has for its part of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Knows how to open connections; every part of the worker opens its own.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    limits: Limits,
    /// Whether a pooler stands between, which shares sessions among its clients.
    pooled: bool,
}

/// Of every transaction.
#[derive(Clone, Copy, Debug)]
struct Limits {
    statement: Duration,
    lock: Duration,
    /// Whether a commit waits for standbys, where the server has it so.
    replicated: bool,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// It may pass.
    #[error("{0}")]
    Unreachable(String),
    /// The extension is missing or does not fit: an operator must act.
    #[error("{0}")]
    Incompatible(String),
}

/// What a connection says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Notified,
    Closed,
}

impl Connector {
    pub(crate) fn new(mut config: Config, settings: &DatabaseArgs) -> Result<Self, TlsError> {
        config.application_name("tidings-worker");
        // A server that has vanished is noticed in about a minute, not in hours.
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
            // Naming the authority and then going on without it helps nobody.
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

    /// The same for upkeep: it takes as long as there is to do, and bounds its own locks.
    /// While a standby is away nobody must wait for these, and what a failover undoes is
    /// done again.
    pub(crate) fn for_upkeep(&self) -> Self {
        let mut connector = self.clone();
        connector.limits = Limits {
            statement: Duration::ZERO,
            lock: Duration::ZERO,
            replicated: false,
        };
        connector
    }

    /// Opens a connection, prepares its session and checks the extension's version.
    /// `on_event` hears its notifications, and once that it has closed.
    pub(crate) async fn connect(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Session, ConnectError> {
        let session = self.open(on_event).await?;
        self.prepare(session).await
    }

    /// Opens a connection, whatever the server carries.
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

/// What a setting is set for.
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
    /// What the worker relies on, whatever the role's or the database's defaults are.
    /// By statements rather than the `options` of the startup packet, which poolers
    /// refuse.
    fn settings(self, scope: Scope) -> String {
        let (set, local) = (scope.set(), scope.is_local());
        let (statement, lock) = (self.statement.as_millis(), self.lock.as_millis());
        let of_scope = match scope {
            Scope::Session => "set default_transaction_isolation = 'read committed'; ",
            // It has said its isolation when it began. Its statements and its commit are sent
            // at once: one that is left open has lost its worker, and holds locks.
            Scope::Transaction => "set local idle_in_transaction_session_timeout = '10s'; ",
        };
        let commit = if self.replicated {
            // `off` would acknowledge what a crash of the server can lose; every other
            // value keeps what was committed, so it is the operator's choice.
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

/// Keeps headers, and what they prove, out of the log of a server that logs parameters, as
/// far as the role may: that is a right of its own since Postgres 15.
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

/// Whether a commit is done here and may be lost with this server: somebody has ended its
/// wait for a synchronous standby. Postgres says so by a warning alone, and then that all is
/// well. Without an answer it is tried again, finds its events, and waits once more.
/// ([`Limits::settings`] sees to it that the warning is sent.)
fn is_unreplicated(notice: &DbError) -> bool {
    // The only thing about it that is the same in every language.
    notice.routine() == Some("SyncRepWaitForLSN")
}

/// Moves the bytes of one connection until it closes.
async fn drive<S, T>(mut connection: Connection<S, T>, mut on_event: impl FnMut(Event))
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(_))) => on_event(Event::Notified),
            Some(Ok(AsyncMessage::Notice(notice))) if is_unreplicated(&notice) => {
                warn!(%notice, "a commit has not reached the standbys: it is tried again");
                break;
            }
            Some(Ok(AsyncMessage::Notice(notice))) => debug!(%notice, "a notice of Postgres"),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                // Whoever uses the connection meets the error too, and says what follows.
                info!(reason = %describe(&error), "a connection to Postgres was lost");
                break;
            }
            None => break,
        }
    }
    on_event(Event::Closed);
}
