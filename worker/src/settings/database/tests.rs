use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{keyword::KEYWORDS, *};

/// An environment with a home of its own.
fn environment(variables: &[(&str, &str)], home: &Path) -> Environment {
    let variables = variables.iter();
    Environment {
        variables: variables
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        home: Some(home.to_owned()),
        user: Some("os-user".to_owned()),
    }
}

fn args(url: Option<&str>) -> DatabaseArgs {
    DatabaseArgs {
        database_url: url.map(|url| Secret(url.to_owned())),
        database_url_file: None,
        database_ca: None,
        statement_timeout: Duration::from_secs(15),
        lock_timeout: Duration::from_secs(10),
        pooled: false,
    }
}

fn read(url: Option<&str>, variables: &[(&str, &str)]) -> Result<Database, String> {
    let home = tempfile::tempdir().unwrap();
    args(url).database_in(&environment(variables, home.path()))
}

fn passwords(database: &Database) -> Vec<Option<&str>> {
    let servers = database.servers.iter();
    servers
        .map(|server| server.password.as_ref().map(|it| it.text.expose()))
        .collect()
}

#[test]
fn the_url_wins_over_a_service_and_a_service_over_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let service = "[app]\nhost=of-service\ndbname=of-service\nsslmode=require\n";
    fs::write(home.path().join(".pg_service.conf"), service).unwrap();
    let variables = [
        ("PGSERVICE", "app"),
        ("PGHOST", "of-environment"),
        ("PGDATABASE", "of-environment"),
        ("PGUSER", "of-environment"),
        ("PGSSLMODE", "disable"),
    ];
    let environment = environment(&variables, home.path());
    let database = args(Some("postgres://of-url"))
        .database_in(&environment)
        .unwrap();
    assert_eq!(place(&database), "of-url port 5432 database \"of-service\"");
    assert_eq!(database.user.as_deref(), Some("of-environment"));
    assert_eq!(database.tls.mode, TlsMode::Require);
    for part in [
        "host from DATABASE_URL",
        "dbname, sslmode from the service \"app\" in ",
        "user from PGUSER",
    ] {
        assert!(database.origins.contains(part), "{}", database.origins);
    }
}

#[test]
fn each_variable_of_libpq_is_used_or_refused_or_warned_about_by_name() {
    let plain = read(Some("postgres://db/app"), &[]).unwrap();
    for keyword in KEYWORDS {
        let Some(variable) = keyword.variable else {
            continue;
        };
        // Two values, one of which at least is none of a default.
        let values: &[&str] = match keyword.name {
            "service" | "servicefile" | "passfile" | "sslcrl" => continue, // files: see below
            "host" | "dbname" => continue,                                 // the URL has them
            "hostaddr" => &["192.0.2.1"],
            "port" => &["6432"],
            "connect_timeout" => &["7"],
            "target_session_attrs" => &["read-write"],
            "load_balance_hosts" => &["random"],
            "channel_binding" => &["require"],
            "sslmode" => &["verify-full"],
            "sslnegotiation" => &["direct"],
            "sslrootcert" => &["system"],
            "sslcert" => &["client.crt"],
            "sslkey" => &["engine:key"],
            "sslsni" => &["0"],
            "ssl_min_protocol_version" => &["TLSv1.3"],
            "ssl_max_protocol_version" => &["TLSv1.2"],
            _ => &["other"],
        };
        for value in values {
            let mut variables = vec![(variable, *value)];
            if keyword.name == "sslkey" {
                variables.push(("PGSSLCERT", "client.crt"));
            }
            match read(Some("postgres://db/app"), &variables) {
                Err(reason) => assert!(reason.contains(variable), "{variable}: {reason}"),
                Ok(database) => {
                    let is_heeded = Database {
                        origins: plain.origins.clone(),
                        ..database.clone()
                    } != plain;
                    assert!(is_heeded, "{variable} is passed over in silence");
                }
            }
        }
    }
    for variable in ["PGTZ", "PGDATESTYLE", "PGGEQO"] {
        let database = read(Some("postgres://db/app"), &[(variable, "x")]).unwrap();
        assert!(database.notes[0].contains(variable), "{:?}", database.notes);
    }
}

#[test]
fn what_the_worker_cannot_do_is_refused_with_what_to_do() {
    for (variable, value, words) in [
        ("PGREQUIREPEER", "postgres", "PGREQUIREPEER"),
        ("PGREQUIREAUTH", "scram-sha-256", "channel_binding=require"),
        ("PGGSSENCMODE", "require", "sslmode=verify-full"),
        ("PGTARGETSESSIONATTRS", "standby", "read-write"),
        ("PGSSLCERTMODE", "require", "pg_hba.conf"),
        ("PGSSLMODE", "verify_full", "verify-full"),
        ("PGSSLMODE", "", "verify-full"),
        ("PGSSLMODE", "verify-ca", "sslrootcert"),
        ("PGCHANNELBINDING", "yes", "require"),
        ("PGPORT", "70000", "PGPORT"),
        ("PGPORT", "0", "PGPORT"),
        ("PGPORT", "1,2", "PGPORT"),
        ("PGHOSTADDR", "db", "PGHOSTADDR"),
        ("PGCONNECT_TIMEOUT", "soon", "PGCONNECT_TIMEOUT"),
        ("PGSSLNEGOTIATION", "direct", "sslmode=verify-full"),
        ("PGSSLMAXPROTOCOLVERSION", "TLSv1.1", "TLSv1.2"),
        ("PGSERVICE", "nowhere", "[nowhere]"),
    ] {
        let reason = read(Some("postgres://db/app"), &[(variable, value)]).unwrap_err();
        assert!(reason.contains(words), "{variable}={value}: {reason}");
    }
    for (url, words) in [
        (
            "postgres://db/app?sslmode=require&sslrootcert=system",
            "verify-full",
        ),
        ("postgres://db/app?replication=database", "replication"),
        ("host=@socket dbname=app", "abstract"),
        ("host=a,b hostaddr=192.0.2.1 dbname=app", "hostaddr"),
        (
            "hostaddr=192.0.2.1 dbname=app sslmode=verify-full",
            "hostaddr",
        ),
        ("host=a,,b dbname=app", "names no host"),
        ("dbname=app", "DATABASE_URL names no host"),
        ("postgres://db/app?sslpassword=x", "openssl pkey"),
        ("postgres://db/app?colour=red", "unknown keyword colour"),
    ] {
        let reason = read(Some(url), &[]).unwrap_err();
        assert!(reason.contains(words), "{url}: {reason}");
    }
    assert!(
        read(None, &[("PGDATABASE", "app")])
            .unwrap_err()
            .contains("DATABASE_URL")
    );
    assert!(read(None, &[("PGHOST", "db")]).is_ok());
}

#[test]
fn no_mode_that_verifies_becomes_one_that_does_not() {
    let home = tempfile::tempdir().unwrap();
    let none = environment(&[], home.path());
    let tls = |url: &str, ca: Option<&str>| {
        let args = DatabaseArgs {
            database_ca: ca.map(PathBuf::from),
            ..args(Some(url))
        };
        args.database_in(&none)
            .map(|database| (database.tls.mode, database.tls.roots))
    };
    let file = |name: &str| Roots::File(name.into());
    for (url, ca, expected) in [
        ("postgres://db", None, (TlsMode::Prefer, Roots::None)),
        (
            "postgres://db?sslmode=verify-full",
            None,
            (TlsMode::VerifyFull, Roots::System),
        ),
        (
            "postgres://db?sslrootcert=system",
            None,
            (TlsMode::VerifyFull, Roots::System),
        ),
        (
            "postgres://db?sslmode=verify-ca&sslrootcert=ca",
            None,
            (TlsMode::VerifyCa, file("ca")),
        ),
        (
            "postgres://db?sslmode=require&sslrootcert=ca",
            None,
            (TlsMode::Require, file("ca")),
        ),
        (
            "postgres://db?sslmode=require",
            Some("ca"),
            (TlsMode::VerifyFull, file("ca")),
        ),
        (
            "postgres://db?sslmode=allow",
            Some("ca"),
            (TlsMode::VerifyFull, file("ca")),
        ),
        (
            "postgres://db",
            Some("ca"),
            (TlsMode::VerifyFull, file("ca")),
        ),
        (
            "postgres://db?sslmode=verify-ca",
            Some("ca"),
            (TlsMode::VerifyCa, file("ca")),
        ),
    ] {
        assert_eq!(tls(url, ca), Ok(expected), "{url} {ca:?}");
    }
    let reason = tls("postgres://db?sslmode=disable", Some("ca")).unwrap_err();
    assert!(reason.contains("--database-ca"), "{reason}");
    // The user's own authority is found without being named.
    fs::create_dir(home.path().join(".postgresql")).unwrap();
    let own = home.path().join(".postgresql/root.crt");
    fs::write(&own, "").unwrap();
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        let (_, roots) = tls(&format!("postgres://db?sslmode={mode}"), None).unwrap();
        assert_eq!(roots, Roots::File(own.clone()), "{mode}");
    }
    let unverified = read(Some("postgres://db?sslmode=require"), &[]).unwrap();
    assert!(
        unverified.notes[0].contains("verify-full"),
        "{:?}",
        unverified.notes
    );
}

#[test]
fn each_server_has_the_password_of_its_line() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    fs::write(
        &file,
        "db1:*:app:me:one\n*:6000:app:me:two\nlocalhost:*:*:*:local\n",
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let read = |url: &str, variables: &[(&str, &str)]| {
        let environment = environment(variables, home.path());
        args(Some(url)).database_in(&environment).unwrap()
    };
    let database = read("postgres://me@db1,db2:6000,db3/app", &[]);
    assert_eq!(passwords(&database), [Some("one"), Some("two"), None]);
    let origin = &database.servers[0].password.as_ref().unwrap().origin;
    assert_eq!(origin.to_string(), format!("{}, line 1", file.display()));
    assert!(
        database.origins.contains(".pgpass, line 2"),
        "{}",
        database.origins
    );

    let database = read("postgres:///app?host=/var/run/postgresql", &[]);
    assert_eq!(passwords(&database), [Some("local")]);
    // A password that is given wins; an empty one is none.
    let database = read("postgres://me@db1/app", &[("PGPASSWORD", "given")]);
    assert_eq!(passwords(&database), [Some("given")]);
    let database = read("postgres://me@db1/app", &[("PGPASSWORD", "")]);
    assert_eq!(passwords(&database), [Some("one")]);

    // One that others can read is not used, and says so.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let database = read("postgres://me@db1/app", &[]);
    assert_eq!(passwords(&database), [None]);
    assert!(
        database.notes[0].contains("chmod 600"),
        "{:?}",
        database.notes
    );
}

#[test]
fn a_file_may_have_the_url() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("url");
    let args = DatabaseArgs {
        database_url_file: Some(file.clone()),
        ..args(None)
    };
    let read = || args.database_in(&environment(&[], home.path()));
    assert!(read().unwrap_err().contains("DATABASE_URL_FILE"));
    fs::write(&file, "\n").unwrap();
    assert!(read().unwrap_err().contains("write the URL into it"));
    fs::write(&file, "postgres://me:s3cret@db/app\n").unwrap();
    let database = read().unwrap();
    assert_eq!(place(&database), "db port 5432 database \"app\"");
    assert_eq!(passwords(&database), [Some("s3cret")]);
    assert!(!format!("{database:?}").contains("s3cret"));
    fs::write(&file, "postgres://me:s3cret@db:port/app\n").unwrap();
    let reason = read().unwrap_err();
    assert!(
        reason.contains(file.to_str().unwrap()) && !reason.contains("s3cret"),
        "{reason}"
    );
}
