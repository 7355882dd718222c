//! Connections to Postgres: opened, made safe to write through, and checked to
//! carry the extension of this worker's version.

use std::{future::poll_fn, path::Path, time::Duration};

use tokio_postgres::{AsyncMessage, Client, Config, Connection, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, info};

use crate::{failure::describe, tls, tls::TlsError, version};

/// How long Postgres has for its part of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Knows how to open connections; every part of the worker opens its own.
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    statement_timeout: Duration,
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
    pub(crate) fn new(
        mut config: Config,
        ca: Option<&Path>,
        statement_timeout: Duration,
    ) -> Result<Self, TlsError> {
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
        if ca.is_some() && config.get_ssl_mode() == SslMode::Prefer {
            // Naming the authority and then going on without it helps nobody.
            config.ssl_mode(SslMode::Require);
        }
        let tls = tls::connector(config.get_ssl_mode(), ca)?;
        Ok(Self {
            config,
            tls,
            statement_timeout,
        })
    }

    pub(crate) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Opens a connection, prepares its session and checks the extension's version.
    /// `on_event` hears its notifications, and once that it has closed.
    pub(crate) async fn connect(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Client, ConnectError> {
        let client = self.open(on_event).await?;
        self.prepare(&client).await?;
        Ok(client)
    }

    /// Opens a connection, whatever the server carries.
    pub(crate) async fn open(
        &self,
        on_event: impl FnMut(Event) + Send + 'static,
    ) -> Result<Client, ConnectError> {
        let connect = self.config.connect(self.tls.clone());
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok((client, connection))) => {
                tokio::spawn(drive(connection, on_event));
                Ok(client)
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

    async fn prepare(&self, client: &Client) -> Result<(), ConnectError> {
        let work = async {
            client.batch_execute(&self.session()).await?;
            let server = "select pg_catalog.pg_is_in_recovery(), \
                          pg_catalog.current_setting('server_version_num')::int";
            let server = client.query_one(server, &[]).await?;
            let (standby, version): (bool, i32) = (server.try_get(0)?, server.try_get(1)?);
            client.batch_execute(&without_parameters(version)).await?;
            Ok::<_, tokio_postgres::Error>((standby, installed(client).await?))
        };
        let (standby, installed) = match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
            Ok(result) => result.map_err(|e| ConnectError::Unreachable(describe(&e)))?,
            Err(_) => {
                let reason = "Postgres does not answer".to_owned();
                return Err(ConnectError::Unreachable(reason));
            }
        };
        if standby {
            return Err(ConnectError::Unreachable(
                "this server is a standby: point DATABASE_URL at the primary".to_owned(),
            ));
        }
        version::check(installed.as_deref()).map_err(ConnectError::Incompatible)
    }

    /// What the worker relies on, whatever the role's or the database's defaults are.
    /// By statements rather than the `options` of the startup packet, which poolers
    /// refuse.
    fn session(&self) -> String {
        // `off` would acknowledge what a crash of the server can lose; every other
        // value keeps what was committed, so it is the operator's choice.
        format!(
            "set statement_timeout = {}; \
             set default_transaction_isolation = 'read committed'; \
             select pg_catalog.set_config('synchronous_commit', 'on', false) \
                where pg_catalog.current_setting('synchronous_commit') = 'off'",
            self.statement_timeout.as_millis()
        )
    }
}

/// Keeps headers, and what they prove, out of the log of a server that logs parameters, as
/// far as the role may: that is a right of its own since Postgres 15.
fn without_parameters(server_version: i32) -> String {
    let may = if server_version >= 150_000 {
        "pg_catalog.has_parameter_privilege('log_parameter_max_length', 'set')"
    } else {
        "pg_catalog.current_setting('is_superuser') = 'on'"
    };
    format!(
        "set log_parameter_max_length_on_error = 0; \
         select pg_catalog.set_config('log_parameter_max_length', '0', false) where {may}"
    )
}

/// The installed version of the extension, if it is installed.
pub(crate) async fn installed(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let query = "select extversion from pg_catalog.pg_extension where extname = 'tidings'";
    match client.query_opt(query, &[]).await? {
        Some(row) => Ok(Some(row.try_get(0)?)),
        None => Ok(None),
    }
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
