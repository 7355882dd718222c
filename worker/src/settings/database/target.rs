//! The database and the way to it, made of the values of the keywords.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use tokio_postgres::config::ChannelBinding;

use super::{
    Secret,
    environment::Environment,
    passfile::{self, Wanted},
    tls::{self, Roots, Tls, TlsMode},
    values::{Origin, Values},
};

const DEFAULT_PORT: u16 = 5432;

/// A database, and how to connect to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Database {
    /// The servers, in the order in which they are tried.
    pub(crate) servers: Vec<Server>,
    /// Whether the order is random.
    pub(crate) shuffled: bool,
    /// Whether only a server is taken that accepts writes.
    pub(crate) writable: bool,
    pub(crate) user: Option<String>,
    pub(crate) dbname: Option<String>,
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) tcp: Tcp,
    pub(crate) channel_binding: Option<ChannelBinding>,
    pub(crate) tls: Tls,
    /// The places in which a password was looked for.
    pub(crate) passwords: String,
    /// Warnings about settings.
    pub(crate) notes: Vec<String>,
    /// The origins of the settings, in words.
    pub(crate) origins: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// A name, an address, or the folder of a socket.
    pub(crate) host: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) password: Option<Password>,
}

impl Server {
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/') && self.address.is_none()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) text: Secret,
    pub(crate) origin: Origin,
}

/// The settings of a TCP connection; `None` is the worker's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) keepalives: Option<bool>,
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
    pub(crate) user_timeout: Option<Duration>,
}

impl Database {
    pub(super) fn new(
        mut values: Values,
        ca: Option<&PathBuf>,
        environment: &Environment,
    ) -> Result<Self, String> {
        let mut servers = servers(&values)?;
        let user = values
            .get("user")
            .map(str::to_owned)
            .or(environment.user.clone());
        let dbname = values.get("dbname").map(str::to_owned).or(user.clone());
        let passwords = passwords(&mut servers, (&dbname, &user), &mut values, environment);
        let tls = tls::read(&values, ca, environment)?;
        if tls.mode == TlsMode::VerifyFull && servers.iter().any(|server| server.host.is_empty()) {
            return Err(values.bad(
                "hostaddr",
                "has no host beside it, whose name sslmode=verify-full could verify: name it by host",
            ));
        }
        if tls.mode == TlsMode::Require && tls.roots == Roots::None {
            values.notes.push(
                "sslmode=require encrypts, and does not verify the server's certificate: \
                 use sslmode=verify-full"
                    .to_owned(),
            );
        }
        for server in &mut servers {
            if server.host.is_empty() {
                server.host = server.address.map(|at| at.to_string()).unwrap_or_default();
            }
        }
        let seconds = |keyword: &str| -> Result<Option<Duration>, String> {
            let number = values.number(keyword)?.and_then(|n| u64::try_from(n).ok());
            Ok(number.filter(|n| *n > 0).map(Duration::from_secs))
        };
        let user_timeout = values.number("tcp_user_timeout")?;
        let user_timeout = user_timeout.and_then(|ms| u64::try_from(ms).ok());
        let tcp = Tcp {
            keepalives: values.number("keepalives")?.map(|n| n != 0),
            idle: seconds("keepalives_idle")?,
            interval: seconds("keepalives_interval")?,
            count: values
                .number("keepalives_count")?
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n > 0),
            user_timeout: user_timeout.filter(|ms| *ms > 0).map(Duration::from_millis),
        };
        let name = values.get("application_name");
        let name = name.or_else(|| values.get("fallback_application_name"));
        let shuffled = values.one_of(
            "load_balance_hosts",
            &[("disable", false), ("random", true)],
        );
        let channel_binding = values.one_of(
            "channel_binding",
            &[
                ("disable", ChannelBinding::Disable),
                ("prefer", ChannelBinding::Prefer),
                ("require", ChannelBinding::Require),
            ],
        );
        Ok(Self {
            shuffled: shuffled?.unwrap_or(false),
            writable: writable(&values)?,
            options: values.get("options").map(str::to_owned),
            application_name: name.map(str::to_owned),
            connect_timeout: seconds("connect_timeout")?,
            tcp,
            channel_binding: channel_binding?,
            tls,
            passwords,
            origins: origins(&values, &servers),
            notes: values.notes,
            servers,
            user,
            dbname,
        })
    }

    /// Whether both are the same database, as far as settings say.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        let at = |database: &Self| -> Vec<_> {
            let servers = database.servers.iter();
            servers
                .map(|server| (server.host.clone(), server.address, server.port))
                .collect()
        };
        self.dbname == other.dbname && at(self) == at(other)
    }
}

/// The address and name of the database, without user and password.
pub(crate) fn place(database: &Database) -> String {
    let hosts: Vec<_> = database
        .servers
        .iter()
        .map(|server| server.host.as_str())
        .collect();
    let mut ports: Vec<_> = database
        .servers
        .iter()
        .map(|server| server.port.to_string())
        .collect();
    ports.dedup();
    let name = database.dbname.as_deref().unwrap_or_default();
    format!(
        "{} port {} database {name:?}",
        hosts.join(","),
        ports.join(",")
    )
}

fn servers(values: &Values) -> Result<Vec<Server>, String> {
    let list = |keyword: &str| -> Vec<String> {
        let text = values.get(keyword);
        text.map_or(Vec::new(), |text| {
            text.split(',').map(str::to_owned).collect()
        })
    };
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = hosts.len().max(addresses.len());
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        return Err(values.bad("hostaddr", "names another number of servers than host does"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(values.bad("port", "names another number of ports than there are hosts"));
    }
    let nowhere = || {
        let url = match values.origin("dbname").or(values.origin("user")) {
            Some(Origin::Variable(_)) | None => "the environment".to_owned(),
            Some(origin) => origin.to_string(),
        };
        format!(
            "{url} names no host: write postgres://user@host/database into DATABASE_URL, or \
             ?host=/run/postgresql for a socket, or set PGHOST"
        )
    };
    if count == 0 {
        return Err(nowhere());
    }
    (0..count)
        .map(|at| {
            let host = hosts.get(at).cloned().unwrap_or_default();
            if host.starts_with('@') {
                return Err(values.bad(
                    "host",
                    "is an abstract socket, to which the worker cannot connect: name a folder",
                ));
            }
            let address = addresses.get(at).filter(|address| !address.is_empty());
            let address = address.map(|address| address.parse()).transpose();
            let address = address.map_err(|_| values.bad("hostaddr", "is no IP address"))?;
            if host.is_empty() && address.is_none() {
                return Err(nowhere());
            }
            let port = ports
                .get(at)
                .or(ports.first())
                .map_or("", |port| port.trim());
            let port = match port {
                "" => DEFAULT_PORT,
                port => port
                    .parse()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| values.bad("port", "is no port"))?,
            };
            Ok(Server {
                host,
                address,
                port,
                password: None,
            })
        })
        .collect()
}

/// Gives each server its password, and returns where passwords were looked for.
fn passwords(
    servers: &mut [Server],
    (database, user): (&Option<String>, &Option<String>),
    values: &mut Values,
    environment: &Environment,
) -> String {
    if let (Some(text), Some(origin)) = (values.get("password"), values.origin("password")) {
        for server in servers {
            server.password = Some(Password {
                text: Secret(text.to_owned()),
                origin: origin.clone(),
            });
        }
        return String::new();
    }
    let file = match values.get("passfile") {
        Some(file) => Some(PathBuf::from(file)),
        None => environment.at_home(".pgpass"),
    };
    let Some(file) = file else {
        return "DATABASE_URL and PGPASSWORD".to_owned();
    };
    let looked = format!("DATABASE_URL, PGPASSWORD and {}", file.display());
    let text = match passfile::read(&file) {
        Ok(text) => text,
        Err(None) => return looked,
        Err(Some(ignored)) => {
            values.notes.push(ignored.clone());
            return format!("DATABASE_URL and PGPASSWORD; {ignored}");
        }
    };
    for server in servers {
        let address = server.address.map(|at| at.to_string()).unwrap_or_default();
        let wanted = Wanted {
            host: if server.host.is_empty() {
                &address
            } else {
                &server.host
            },
            port: server.port,
            database: database.as_deref().unwrap_or_default(),
            user: user.as_deref().unwrap_or_default(),
        };
        server.password = passfile::find(&text, wanted).map(|(line, text)| Password {
            text: Secret(text),
            origin: Origin::PasswordFile(file.clone(), line),
        });
    }
    looked
}

/// Whether the server must accept writes. A worker can store nothing in any other.
fn writable(values: &Values) -> Result<bool, String> {
    match values.text("target_session_attrs") {
        None | Some("any") => Ok(false),
        Some("read-write" | "primary") => Ok(true),
        Some("read-only" | "standby" | "prefer-standby") => Err(values.bad(
            "target_session_attrs",
            "asks for a server that accepts no writes: use read-write",
        )),
        Some(_) => Err(values.bad(
            "target_session_attrs",
            "is none of any, read-write, primary",
        )),
    }
}

/// The origins of the settings, such as "dbname, host from DATABASE_URL; sslmode from
/// PGSSLMODE".
fn origins(values: &Values, servers: &[Server]) -> String {
    let mut by_origin = BTreeMap::<&Origin, Vec<&str>>::new();
    for (keyword, origin) in values.origins() {
        by_origin.entry(origin).or_default().push(keyword);
    }
    for server in servers {
        if let Some(Password {
            origin: origin @ Origin::PasswordFile(..),
            ..
        }) = &server.password
        {
            by_origin.entry(origin).or_insert_with(|| vec!["password"]);
        }
    }
    let parts = by_origin.into_iter();
    let parts: Vec<_> = parts
        .map(|(origin, keywords)| format!("{} from {origin}", keywords.join(", ")))
        .collect();
    parts.join("; ")
}
