//! A cluster whose roles need passwords, and the question whether psql and the worker reach it.

use anyhow::{Context as _, Result, ensure};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tidings_e2e::{eventually, on_cluster};
use tidings_harness::cluster::{Cluster, without_pg_variables};
use tidings_harness::paths;
use tidings_harness::stage::DATABASE;

use crate::tls::authority::{Authority, Pair};
use crate::tls::postgres::serve;

/// A colon and a backslash are escaped in a password file.
pub(super) const PASSWORD: &str = r"pa:ss\word";

const HBA: &str = "\
local all all trust
host all postgres 127.0.0.1/32 trust
host all scram 127.0.0.1/32 scram-sha-256
hostssl all sslonly 127.0.0.1/32 scram-sha-256
hostnossl all plainonly 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
";

pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    home: PathBuf,
}

/// An environment, and whether a database is reached from it.
pub(super) struct Case {
    name: String,
    connects: bool,
    conninfo: Option<String>,
    variables: Vec<(String, String)>,
}

/// The output of `tidings-worker check`.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl Case {
    pub(super) fn of(name: &str, connects: bool, variables: &[(&str, &str)]) -> Self {
        let variables = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Self {
            name: name.to_owned(),
            connects,
            conninfo: None,
            variables: variables.collect(),
        }
    }

    /// The same, with a connection string.
    pub(super) fn with(
        name: &str,
        connects: bool,
        conninfo: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        Self {
            conninfo: Some(conninfo.to_owned()),
            ..Self::of(name, connects, variables)
        }
    }
}

impl Stage<'_> {
    pub(super) fn on(test: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
        on_cluster(|cluster| {
            let home = cluster.folder().join("home");
            fs::create_dir(&home)?;
            let stage = Stage { cluster, home };
            stage.prepare()?;
            test(&stage)
        })
    }

    fn prepare(&self) -> Result<()> {
        let mut client = self.cluster.connect(DATABASE)?;
        let literal = PASSWORD.replace('\'', "''");
        for role in ["scram", "sslonly", "plainonly", "certified"] {
            client.batch_execute(&format!(
                "set password_encryption = 'scram-sha-256'; \
                 create role {role} login password '{literal}'; \
                 select tidings.grant_worker('{role}')"
            ))?;
        }
        fs::write(self.cluster.folder().join("data/pg_hba.conf"), HBA)?;
        client.batch_execute("select pg_reload_conf()")?;
        eventually("the server asks for passwords", || {
            let rules = client.query_one(
                "select count(*) from pg_hba_file_rules where auth_method = 'cert'",
                &[],
            )?;
            let refused = self.check(&Case::of("none", false, &[]))?;
            Ok((rules.get::<_, i64>(0) == 1 && refused.code == Some(69)).then_some(()))
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// A port on which nothing listens.
    pub(super) fn closed_port(&self) -> Result<u16> {
        Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Writes a file, and returns its path.
    pub(super) fn file(&self, name: &str, text: &str, mode: u32) -> Result<String> {
        let path = self.cluster.folder().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path.to_str().context("not UTF-8")?.to_owned())
    }

    pub(super) fn serve(&self, pair: &Pair, name: &str) -> Result<()> {
        serve(self.cluster, pair, name)
    }

    /// Makes the server accept certificates of this authority.
    pub(super) fn trust(&self, authority: &Authority) -> Result<()> {
        let file = self.file("server-ca.pem", &authority.pem(), 0o644)?;
        let mut client = self.cluster.connect("postgres")?;
        client.batch_execute(&format!("alter system set ssl_ca_file = '{file}'"))?;
        client.batch_execute("select pg_reload_conf()")?;
        eventually("the server has the authority", || {
            let mut client = self.cluster.connect("postgres")?;
            let row = client.query_one("select current_setting('ssl_ca_file') = $1", &[&file])?;
            Ok(row.get::<_, bool>(0).then_some(()))
        })
    }

    /// Fails unless psql and the worker both reach the database, or both do not.
    pub(super) fn agree(&self, cases: &[Case]) -> Result<()> {
        for case in cases {
            let Case { name, connects, .. } = case;
            let mut psql = Command::new(self.cluster.server().program("psql"));
            self.prepare_command(&mut psql, case);
            psql.args(["-X", "-w", "-At", "-c", "select 1"])
                .args(&case.conninfo);
            let psql = psql.output()?;
            let text = String::from_utf8_lossy(&psql.stderr);
            ensure!(psql.status.success() == *connects, "{name}: psql: {text}");
            let said = self.check(case)?;
            let reached = matches!(said.code, Some(0 | 1));
            ensure!(
                reached == *connects,
                "{name}: psql says {connects}, and the worker {said:?}"
            );
            if !reached {
                ensure!(matches!(said.code, Some(64 | 69)), "{name}: {said:?}");
                ensure!(!said.all().contains(PASSWORD), "{name}: {said:?}");
            }
        }
        Ok(())
    }

    pub(super) fn check(&self, case: &Case) -> Result<Said> {
        let mut command = Command::new(paths::program("tidings-worker")?);
        command
            .env_remove("DATABASE_URL")
            .env_remove("DATABASE_URL_FILE");
        self.prepare_command(&mut command, case);
        command.args(["check", "--json"]);
        if let Some(conninfo) = &case.conninfo {
            command.env("DATABASE_URL", conninfo);
        }
        let output = command.stdin(Stdio::null()).output()?;
        Ok(Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    fn prepare_command(&self, command: &mut Command, case: &Case) {
        without_pg_variables(command)
            .env("HOME", &self.home)
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port().to_string())
            .env("PGDATABASE", DATABASE)
            .env("PGUSER", "scram")
            .envs(case.variables.iter().map(|(k, v)| (k, v)));
    }
}
