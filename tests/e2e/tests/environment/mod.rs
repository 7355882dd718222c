//! The worker finds and reaches its database as psql does, from the same environment, service
//! file, password file and certificates.

mod rotation;
mod stage;

use anyhow::{Result, ensure};
use stage::{Case, PASSWORD, Stage};
use std::fs;

use crate::tls::authority::Authority;

const RIGHT: (&str, &str) = ("PGPASSWORD", PASSWORD);

#[test]
fn passwords_are_found_where_psql_finds_them() -> Result<()> {
    Stage::on(|stage| {
        let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
        let port = stage.port();
        let line = |host: &str, user: &str| format!("{host}:{port}:tidings:{user}:{escaped}\n");
        let pgpass = stage.file("pgpass", &line("127.0.0.1", "scram"), 0o600)?;
        let open = stage.file("open", &line("127.0.0.1", "scram"), 0o640)?;
        let other = stage.file("other", &line("localhost", "scram"), 0o600)?;
        let unescaped = stage.file("unescaped", &format!("*:*:*:*:{PASSWORD}\n"), 0o600)?;
        let late = format!("# a comment\n\n{}*:*:*:*:{escaped}\n", line("db", "scram"));
        let late = stage.file("late", &late, 0o600)?;
        let port = port.to_string();
        let url = format!("postgres://scram:pa%3Ass%5Cword@127.0.0.1:{port}/tidings");
        let pairs =
            format!(r"host=127.0.0.1 port={port} dbname=tidings user=scram password='pa:ss\\word'");
        let wrong = format!("postgres://scram:wrong@127.0.0.1:{port}/tidings");
        stage.agree(&[
            Case::of("PGPASSWORD", true, &[RIGHT]),
            Case::of("a wrong PGPASSWORD", false, &[("PGPASSWORD", "wrong")]),
            Case::of("no password", false, &[]),
            Case::of("PGPASSFILE", true, &[("PGPASSFILE", &pgpass)]),
            Case::of(
                "PGPASSFILE that others read",
                false,
                &[("PGPASSFILE", &open)],
            ),
            Case::of(
                "PGPASSFILE of another host",
                false,
                &[("PGPASSFILE", &other)],
            ),
            Case::of(
                "PGPASSFILE without escapes",
                false,
                &[("PGPASSFILE", &unescaped)],
            ),
            Case::of("PGPASSFILE, a later line", true, &[("PGPASSFILE", &late)]),
            Case::of(
                "PGPASSFILE that is missing",
                false,
                &[("PGPASSFILE", "/nowhere")],
            ),
            Case::of(
                "an empty PGPASSWORD",
                true,
                &[("PGPASSWORD", ""), ("PGPASSFILE", &pgpass)],
            ),
            Case::of(
                "PGPASSWORD wins",
                false,
                &[("PGPASSWORD", "wrong"), ("PGPASSFILE", &pgpass)],
            ),
            Case::of("another user", false, &[RIGHT, ("PGUSER", "nobody")]),
            Case::of(
                "another database",
                false,
                &[RIGHT, ("PGDATABASE", "nowhere")],
            ),
            Case::with("the URL", true, &url, &[]),
            Case::with("pairs", true, &pairs, &[]),
            Case::with("the URL wins", false, &wrong, &[RIGHT]),
            Case::with(
                "the URL wins over PGUSER",
                true,
                &url,
                &[("PGUSER", "nobody")],
            ),
        ])?;
        // In the user's home.
        let home = stage.home();
        fs::copy(&pgpass, home.join(".pgpass"))?;
        stage.agree(&[Case::of("~/.pgpass", true, &[])])?;

        let said = stage.check(&Case::of("where from", true, &[]))?;
        ensure!(
            said.out.contains(".pgpass, line 1") && said.out.contains("host from PGHOST"),
            "{}",
            said.out
        );
        let refused = stage.check(&Case::of("whence", false, &[("PGPASSWORD", "wrong")]))?;
        ensure!(
            refused.out.contains("the password is from PGPASSWORD"),
            "{}",
            refused.out
        );
        let missing = stage.check(&Case::of("none", false, &[("PGPASSFILE", "/nowhere")]))?;
        ensure!(
            missing.out.contains("PGPASSWORD and /nowhere"),
            "{}",
            missing.out
        );
        for said in [said, refused, missing] {
            ensure!(!said.all().contains(PASSWORD), "{}", said.all());
        }
        Ok(())
    })
}

#[test]
fn a_service_is_read_as_psql_reads_it() -> Result<()> {
    Stage::on(|stage| {
        let port = stage.port();
        let service = format!(
            "# ours\n[whole]\nhost=127.0.0.1\nport={port}\ndbname=tidings\nuser=scram\npassword={PASSWORD}\n\
             [half]\nuser=scram\nuser=nobody\n[spaced]\nuser = scram\n[nested]\nservice=whole\n\
             [unknown]\ncolour=red\n"
        );
        let file = stage.file("service.conf", &service, 0o644)?;
        let system = stage.file(
            "pg_service.conf",
            &format!("[system]\nuser=scram\npassword={PASSWORD}\n"),
            0o644,
        )?;
        let folder = system
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        let of = |name: &'static str, service: &'static str, connects| {
            Case::of(
                name,
                connects,
                &[
                    RIGHT,
                    ("PGSERVICEFILE", &file),
                    ("PGSERVICE", service),
                    ("PGUSER", "nobody"),
                ],
            )
        };
        stage.agree(&[
            of("a service wins over the environment", "whole", true),
            of("its first value counts", "half", true),
            of("spaces around =", "spaced", false),
            of("a nested service", "nested", false),
            of("an unknown keyword", "unknown", false),
            of("an unknown service", "who", false),
            Case::with(
                "the URL names the service",
                true,
                "postgres://?service=whole",
                &[("PGSERVICEFILE", &file), ("PGUSER", "nobody")],
            ),
            Case::with(
                "the URL wins over the service",
                false,
                "postgres://nobody@/?service=whole",
                &[("PGSERVICEFILE", &file)],
            ),
            Case::of(
                "the system's file comes second",
                true,
                &[
                    ("PGSERVICEFILE", &file),
                    ("PGSYSCONFDIR", &folder),
                    ("PGSERVICE", "system"),
                ],
            ),
            Case::of(
                "a named file that is missing",
                false,
                &[
                    ("PGSERVICEFILE", "/nowhere"),
                    ("PGSYSCONFDIR", &folder),
                    ("PGSERVICE", "system"),
                ],
            ),
        ])
    })
}

#[test]
fn each_sslmode_is_libpqs() -> Result<()> {
    Stage::on(|stage| {
        let (right, wrong) = (Authority::new("right")?, Authority::new("wrong")?);
        let (ca, not) = (
            stage.file("right.pem", &right.pem(), 0o644)?,
            stage.file("wrong.pem", &wrong.pem(), 0o644)?,
        );
        stage.agree(&[
            Case::of(
                "no TLS there: prefer",
                true,
                &[RIGHT, ("PGSSLMODE", "prefer")],
            ),
            Case::of(
                "no TLS there: require",
                false,
                &[RIGHT, ("PGSSLMODE", "require")],
            ),
            Case::of(
                "no TLS there: PGREQUIRESSL",
                false,
                &[RIGHT, ("PGREQUIRESSL", "1")],
            ),
            Case::of(
                "no such mode",
                false,
                &[RIGHT, ("PGSSLMODE", "verify_full")],
            ),
            Case::of("an empty mode", false, &[RIGHT, ("PGSSLMODE", "")]),
        ])?;
        stage.serve(&right.issue(&["127.0.0.1"])?, "address")?;
        for (mode, none, with_right, with_wrong) in [
            ("disable", true, true, true),
            ("allow", true, true, true),
            ("prefer", true, true, true), // goes on without TLS
            ("require", true, true, false),
            ("verify-ca", false, true, false),
            ("verify-full", false, true, false),
        ] {
            let mode = ("PGSSLMODE", mode);
            stage.agree(&[
                Case::of("no authority", none, &[RIGHT, mode]),
                Case::of(
                    "the right one",
                    with_right,
                    &[RIGHT, mode, ("PGSSLROOTCERT", &ca)],
                ),
                Case::of(
                    "a wrong one",
                    with_wrong,
                    &[RIGHT, mode, ("PGSSLROOTCERT", &not)],
                ),
            ])?;
        }
        stage.agree(&[
            Case::of(
                "only over TLS: allow",
                true,
                &[RIGHT, ("PGUSER", "sslonly"), ("PGSSLMODE", "allow")],
            ),
            Case::of(
                "only over TLS: disable",
                false,
                &[RIGHT, ("PGUSER", "sslonly"), ("PGSSLMODE", "disable")],
            ),
            Case::of(
                "never over TLS: prefer",
                true,
                &[RIGHT, ("PGUSER", "plainonly"), ("PGSSLMODE", "prefer")],
            ),
            Case::of(
                "never over TLS: require",
                false,
                &[RIGHT, ("PGUSER", "plainonly"), ("PGSSLMODE", "require")],
            ),
            Case::of(
                "channel binding",
                true,
                &[RIGHT, ("PGCHANNELBINDING", "require")],
            ),
            Case::of(
                "channel binding without TLS",
                false,
                &[
                    RIGHT,
                    ("PGCHANNELBINDING", "require"),
                    ("PGSSLMODE", "disable"),
                ],
            ),
            Case::of(
                "TLS 1.3",
                true,
                &[
                    RIGHT,
                    ("PGSSLMODE", "require"),
                    ("PGSSLMINPROTOCOLVERSION", "TLSv1.3"),
                ],
            ),
            Case::of(
                "no such version",
                false,
                &[RIGHT, ("PGSSLMINPROTOCOLVERSION", "TLSv9")],
            ),
        ])?;
        // The variable counts although the URL says nothing of TLS.
        let url = format!("postgres://scram@127.0.0.1:{}/tidings", stage.port());
        stage.agree(&[
            Case::with(
                "verify-full beside a URL",
                false,
                &url,
                &[RIGHT, ("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", &not)],
            ),
            Case::with(
                "the URL's mode wins",
                true,
                &format!("{url}?sslmode=disable"),
                &[RIGHT, ("PGSSLMODE", "verify-full")],
            ),
        ])?;
        // Another name than the certificate's.
        stage.serve(&right.issue(&["db.example"])?, "name")?;
        let full = ("PGSSLMODE", "verify-full");
        let root = ("PGSSLROOTCERT", ca.as_str());
        stage.agree(&[
            Case::of("the name is another", false, &[RIGHT, full, root]),
            Case::of(
                "verify-ca does not look",
                true,
                &[RIGHT, ("PGSSLMODE", "verify-ca"), root],
            ),
            Case::of(
                "host beside hostaddr",
                true,
                &[
                    RIGHT,
                    full,
                    root,
                    ("PGHOST", "db.example"),
                    ("PGHOSTADDR", "127.0.0.1"),
                ],
            ),
            Case::of(
                "another host beside it",
                false,
                &[
                    RIGHT,
                    full,
                    root,
                    ("PGHOST", "db.other"),
                    ("PGHOSTADDR", "127.0.0.1"),
                ],
            ),
        ])?;
        let named = [
            RIGHT,
            full,
            root,
            ("PGHOST", "db.example"),
            ("PGHOSTADDR", "127.0.0.1"),
        ];
        stage.serve(&right.issue_named("*.example")?, "common")?;
        stage.agree(&[Case::of("a common name", true, &named)])?;
        stage.serve(&right.issue_named("db.other")?, "common-other")?;
        stage.agree(&[Case::of("another common name", false, &named)])?;
        // A certificate that is its own authority, as Postgres' manual makes one.
        stage.serve(&right.own(), "own")?;
        stage.agree(&[
            Case::of(
                "its own authority",
                true,
                &[RIGHT, ("PGSSLMODE", "verify-ca"), root],
            ),
            Case::of(
                "another authority",
                false,
                &[RIGHT, ("PGSSLMODE", "verify-ca"), ("PGSSLROOTCERT", &not)],
            ),
        ])?;
        // In the user's home.
        fs::create_dir(stage.home().join(".postgresql"))?;
        fs::write(stage.home().join(".postgresql/root.crt"), wrong.pem())?;
        stage.agree(&[
            Case::of(
                "~/.postgresql/root.crt",
                false,
                &[RIGHT, ("PGSSLMODE", "require")],
            ),
            Case::of(
                "a file that is named wins",
                true,
                &[RIGHT, ("PGSSLMODE", "verify-ca"), root],
            ),
        ])
    })
}

#[test]
fn a_role_may_have_a_certificate() -> Result<()> {
    Stage::on(|stage| {
        let authority = Authority::new("right")?;
        stage.serve(&authority.issue(&["127.0.0.1"])?, "address")?;
        stage.trust(&authority)?;
        let pair = authority.issue_named("certified")?;
        let other = authority.issue_named("other")?;
        let cert = stage.file("client.crt", &pair.cert, 0o644)?;
        let key = stage.file("client.key", &pair.key, 0o600)?;
        let open = stage.file("open.key", &pair.key, 0o644)?;
        let (not, its) = (
            stage.file("other.crt", &other.cert, 0o644)?,
            stage.file("other.key", &other.key, 0o600)?,
        );
        let role = ("PGUSER", "certified");
        let case = |name, connects, cert: &str, key: &str| {
            Case::of(
                name,
                connects,
                &[role, ("PGSSLCERT", cert), ("PGSSLKEY", key)],
            )
        };
        stage.agree(&[
            case("its certificate", true, &cert, &key),
            case("another one's", false, &not, &its),
            case("a key that others read", false, &cert, &open),
            case("a key of another certificate", false, &cert, &its),
            case("no key", false, &cert, "/nowhere"),
            Case::of("no certificate", false, &[role]),
        ])
    })
}

#[test]
fn other_settings_are_heeded_or_refused_as_by_psql() -> Result<()> {
    Stage::on(|stage| {
        let port = stage.port().to_string();
        let closed = stage.closed_port()?.to_string();
        let two = format!("{closed},{port}");
        let hosts = ("PGHOST", "127.0.0.1,127.0.0.1");
        let url = format!(
            "postgres://scram@127.0.0.1:{closed},127.0.0.1:{port}/tidings?target_session_attrs=read-write"
        );
        stage.agree(&[
            Case::of("a second server", true, &[RIGHT, hosts, ("PGPORT", &two)]),
            Case::of(
                "one port for two",
                false,
                &[RIGHT, hosts, ("PGPORT", &closed)],
            ),
            Case::of("two ports for one", false, &[RIGHT, ("PGPORT", &two)]),
            Case::with("the one that takes writes", true, &url, &[RIGHT]),
            Case::of(
                "read-write",
                true,
                &[RIGHT, ("PGTARGETSESSIONATTRS", "read-write")],
            ),
            Case::of(
                "no such demand",
                false,
                &[RIGHT, ("PGTARGETSESSIONATTRS", "fast")],
            ),
            Case::of("a time limit", true, &[RIGHT, ("PGCONNECT_TIMEOUT", "5")]),
            Case::of(
                "no time limit",
                false,
                &[RIGHT, ("PGCONNECT_TIMEOUT", "soon")],
            ),
            Case::of("no port", false, &[RIGHT, ("PGPORT", "x")]),
            Case::of(
                "an address",
                true,
                &[RIGHT, ("PGHOSTADDR", "127.0.0.1"), ("PGHOST", "db.example")],
            ),
            Case::of("no address", false, &[RIGHT, ("PGHOSTADDR", "db.example")]),
            Case::of("options", true, &[RIGHT, ("PGOPTIONS", "-c work_mem=8MB")]),
            Case::of("bad options", false, &[RIGHT, ("PGOPTIONS", "-c nonsense")]),
            Case::of(
                "GSSAPI if there is any",
                true,
                &[RIGHT, ("PGGSSENCMODE", "prefer")],
            ),
            Case::of("GSSAPI", false, &[RIGHT, ("PGGSSENCMODE", "require")]),
            Case::of(
                "an encoding",
                true,
                &[RIGHT, ("PGCLIENTENCODING", "LATIN1")],
            ),
            Case::of(
                "a name of the service",
                true,
                &[RIGHT, ("PGKRBSRVNAME", "postgres")],
            ),
            Case::with(
                "an unknown keyword",
                false,
                "postgres://127.0.0.1/tidings?colour=red",
                &[RIGHT],
            ),
        ])?;
        // What psql would heed, and the worker cannot, is refused by name.
        for (variable, value) in [("PGREQUIREPEER", "postgres"), ("PGSSLCRLDIR", "/nowhere")] {
            let said = stage.check(&Case::of("refused", false, &[RIGHT, (variable, value)]))?;
            ensure!(
                said.code == Some(64) && said.err.contains(variable),
                "{said:?}"
            );
        }
        // What has no effect is said.
        let said = stage.check(&Case::of(
            "an encoding",
            true,
            &[RIGHT, ("PGCLIENTENCODING", "LATIN1")],
        ))?;
        ensure!(
            said.out.contains("PGCLIENTENCODING has no effect"),
            "{said:?}"
        );
        Ok(())
    })
}
