//! The way to a server: which servers are tried in which order, and how each is tried.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Error, Socket,
    config::{SslMode, SslNegotiation, TargetSessionAttrs},
    error::SqlState,
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::{
    CONNECT_TIMEOUT,
    failure::describe,
    tls::{self, TlsError},
};
use crate::settings::{Database, Server, TlsMode};

/// Time for one address of a server, unless `connect_timeout` is set.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
const APPLICATION: &str = "tidings-worker";

/// An open connection, and what drives it.
type Connected = (
    Client,
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>,
);

/// A database with everything that its settings name, read and checked.
pub(super) struct Target {
    pub(super) database: Database,
    tls: MakeRustlsConnect,
}

/// One try at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Plain,
    /// TLS if the server offers it.
    Offered,
    Encrypted,
}

impl Target {
    pub(super) fn new(database: Database) -> Result<Self, TlsError> {
        let tls = tls::connector(&database.tls)?;
        Ok(Self { database, tls })
    }

    /// Connects to the first server that lets the worker in; an error says why none does.
    pub(super) async fn connect(&self) -> Result<Connected, String> {
        let mut servers: Vec<&Server> = self.database.servers.iter().collect();
        if self.database.shuffled {
            servers.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let mut reasons = Vec::new();
        for server in servers {
            match self.connect_to(server).await {
                Ok(connected) => return Ok(connected),
                Err(reason) => reasons.push((server, reason)),
            }
        }
        Err(match <[_; 1]>::try_from(reasons) {
            Ok([(_, reason)]) => reason,
            Err(reasons) => {
                let reasons = reasons.iter();
                let reasons: Vec<_> = reasons
                    .map(|(server, reason)| {
                        format!("{} port {}: {reason}", server.host, server.port)
                    })
                    .collect();
                reasons.join("; ")
            }
        })
    }

    async fn connect_to(&self, server: &Server) -> Result<Connected, String> {
        let limit = self
            .database
            .connect_timeout
            .unwrap_or_default()
            .max(CONNECT_TIMEOUT);
        let mut reasons = Vec::new();
        for step in steps(self.database.tls.mode, server.is_socket()) {
            let connect = self.config(server, *step);
            let connect = timeout(limit, connect.connect(self.tls.clone())).await;
            let Ok(connected) = connect else {
                reasons.push("Postgres does not complete the connection".to_owned());
                break;
            };
            match connected {
                Ok(connected) => return Ok(connected),
                Err(error) => {
                    reasons.push(self.explained(server, &error));
                    if !may_be_by(*step, &error) {
                        break;
                    }
                }
            }
        }
        // What was refused over TLS tells more than what was refused without.
        let first = self.database.tls.mode == TlsMode::Prefer;
        let reason = if first {
            reasons.first()
        } else {
            reasons.last()
        };
        Err(reason.cloned().unwrap_or_default())
    }

    fn config(&self, server: &Server, step: Step) -> Config {
        let Database {
            user,
            dbname,
            options,
            application_name,
            connect_timeout,
            tcp,
            channel_binding,
            tls,
            writable,
            ..
        } = &self.database;
        let mut config = Config::new();
        config.host(&server.host).port(server.port);
        if let Some(address) = server.address {
            config.hostaddr(address);
        }
        if let Some(user) = user {
            config.user(user);
        }
        if let Some(password) = &server.password {
            config.password(password.text.expose());
        }
        if let Some(dbname) = dbname {
            config.dbname(dbname);
        }
        if let Some(options) = options {
            config.options(options);
        }
        if let Some(channel_binding) = channel_binding {
            config.channel_binding(*channel_binding);
        }
        if *writable {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config
            .application_name(application_name.as_deref().unwrap_or(APPLICATION))
            .connect_timeout(connect_timeout.unwrap_or(ADDRESS_TIMEOUT))
            .ssl_mode(match step {
                Step::Plain => SslMode::Disable,
                Step::Offered => SslMode::Prefer,
                Step::Encrypted => SslMode::Require,
            });
        if tls.direct {
            config.ssl_negotiation(SslNegotiation::Direct);
        }
        // A server that has vanished is detected within about a minute rather than hours.
        config
            .keepalives(tcp.keepalives.unwrap_or(true))
            .keepalives_idle(tcp.idle.unwrap_or(Duration::from_secs(30)))
            .keepalives_interval(tcp.interval.unwrap_or(Duration::from_secs(10)))
            .keepalives_retries(tcp.count.unwrap_or(3))
            .tcp_user_timeout(tcp.user_timeout.unwrap_or(Duration::from_secs(60)));
        config
    }

    /// The error in one line, with what to do about it.
    fn explained(&self, server: &Server, error: &Error) -> String {
        if let Some(advice) = tls::advice(error) {
            return advice;
        }
        let described = describe(error);
        if error.code() == Some(&SqlState::INVALID_PASSWORD)
            && let Some(password) = &server.password
        {
            return format!("{described}; the password is from {}", password.origin);
        }
        let cause = std::error::Error::source(error).map(ToString::to_string);
        match cause.as_deref() {
            Some("password missing") => format!(
                "Postgres asks for a password, and there is none for {}: looked into {}",
                self.database.user.as_deref().unwrap_or("the role"),
                self.database.passwords,
            ),
            Some("unsupported authentication method") => "Postgres asks for GSSAPI, Kerberos or \
                 SSPI, which the worker does not have: allow scram-sha-256 or cert for its role \
                 in pg_hba.conf"
                .to_owned(),
            _ => described,
        }
    }
}

/// The tries at a server, in their order, as libpq makes them.
fn steps(mode: TlsMode, is_socket: bool) -> &'static [Step] {
    // Nobody listens in on a socket, and Postgres offers no TLS there.
    if is_socket {
        return &[Step::Plain];
    }
    match mode {
        TlsMode::Disable => &[Step::Plain],
        TlsMode::Allow => &[Step::Plain, Step::Encrypted],
        TlsMode::Prefer => &[Step::Offered, Step::Plain],
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => &[Step::Encrypted],
    }
}

/// Whether the error may be a consequence of TLS, or of its absence.
fn may_be_by(step: Step, error: &Error) -> bool {
    // pg_hba.conf may treat the two differently.
    let is_refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    is_refused || (step == Step::Offered && error.to_string().contains("TLS handshake"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_promise_nothing_go_on_without_tls() {
        for (mode, tries) in [
            (TlsMode::Disable, &[Step::Plain][..]),
            (TlsMode::Allow, &[Step::Plain, Step::Encrypted]),
            (TlsMode::Prefer, &[Step::Offered, Step::Plain]),
            (TlsMode::Require, &[Step::Encrypted]),
            (TlsMode::VerifyCa, &[Step::Encrypted]),
            (TlsMode::VerifyFull, &[Step::Encrypted]),
        ] {
            assert_eq!(steps(mode, false), tries, "{mode:?}");
            assert_eq!(steps(mode, true), [Step::Plain], "{mode:?}");
        }
    }
}
