use std::time::Duration;

use clap::CommandFactory;

use super::{units::Bytes, *};

const URL: &str = "postgres://tidings:s3cret@db.internal:5433/app";

fn run(arguments: &[&str]) -> Result<(Command, Database), Stop> {
    let url = ["tidings-worker", "run", "--database-url", URL];
    parse(url.iter().chain(arguments))
}

fn complaint(result: Result<(Command, Database), Stop>) -> String {
    match result {
        Err(Stop::Bad(text)) => text,
        other => panic!("expected a complaint, not {other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_as_documented() {
    let Ok((Command::Run(run), config)) = run(&[]) else {
        panic!("defaults are refused");
    };
    assert_eq!(run.http_listen.to_string(), "127.0.0.1:8080");
    assert_eq!(run.grpc_listen.to_string(), "127.0.0.1:8081");
    assert_eq!(run.admin_listen.to_string(), "127.0.0.1:8082");
    assert!(run.trusted_proxies.is_empty());
    assert_eq!(run.limits.max_body, Bytes(8 << 20));
    assert_eq!(run.limits.connections, 2);
    assert_eq!(run.patience, Duration::from_secs(20));
    assert_eq!(place(&config), "db.internal port 5433 database \"app\"");
}

#[test]
fn bad_settings_are_refused_by_name() {
    for (arguments, word) in [
        (&["--http-listen", "nowhere"][..], "--http-listen"),
        (&["--grpc-listen", "127.0.0.1"], "--grpc-listen"),
        (&["--admin-listen", "8082"], "--admin-listen"),
        (&["--trusted-proxies", "10.0.0.1/8"], "10.0.0.0/8"),
        (
            &["--trusted-proxies", "127.0.0.1,proxy"],
            "--trusted-proxies",
        ),
        (&["--connections", "0"], "--connections"),
        (&["--max-body", "8MB"], "KiB"),
        (&["--max-body", "100"], "--max-body"),
        (
            &["--max-body", "600MiB", "--pending-bytes", "1GiB"],
            "--max-body",
        ),
        (
            &["--max-body", "1MiB", "--pending-bytes", "512KiB"],
            "--pending-bytes",
        ),
        (&["--max-body", "33MiB"], "--source-share"),
        (&["--source-share", "0"], "--source-share"),
        (&["--source-share", "101"], "--source-share"),
        (&["--head-timeout", "0s"], "--head-timeout"),
        (&["--grpc-streams", "0"], "--grpc-streams"),
        (
            &["--spool-dir", "x", "--spool-bytes", "31MiB"],
            "--spool-bytes",
        ),
        (&["--patience", "soon"], "--patience"),
        (&["--tls-cert", "cert.pem"], "--tls-key"),
        (&["--tls-key", "key.pem"], "--tls-cert"),
        (&["--drain-timeout", "0s"], "--drain-timeout"),
        (&["--log", "=nonsense="], "--log"),
        (&["--unheard-of"], "--unheard-of"),
    ] {
        let text = complaint(run(arguments));
        assert!(text.contains(word), "{arguments:?}: {text}");
    }
}

#[test]
fn a_bad_url_is_refused_without_showing_its_password() {
    for url in [
        "postgres://tidings:s3cret@host:port/app",
        "tidings:s3cret@host/app?sslmode=require",
        "postgres://tidings:s3cret@host/app?sslmode=s3cret",
        "postgres://tidings:s3cret@host/app?s3cret:x=1",
        "postgres:///app",
        "",
    ] {
        let text = complaint(parse(["tidings-worker", "check", "--database-url", url]));
        assert!(text.contains("DATABASE_URL"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn nothing_shows_the_password() {
    let (command, config) = run(&[]).unwrap();
    assert!(!format!("{command:?} {config:?} {}", place(&config)).contains("s3cret"));
}

#[test]
fn help_is_asked_for_and_no_error() {
    for arguments in [
        &["tidings-worker", "--help"][..],
        &["tidings-worker", "run", "--help"],
    ] {
        assert!(matches!(parse(arguments), Err(Stop::Asked(_))));
    }
}

#[test]
fn the_manual_lists_the_methods_that_providers_call() {
    let text = manual();
    assert!(!text.contains("{methods}"), "{text}");
    for (_, call) in wire::served() {
        assert!(text.contains(&format!("  {}\n", call.method)), "{text}");
    }
}

/// A flag, and behind it in parentheses or after a comma its default, as the documents
/// have it: "`--lease-time` (10 s)".
#[test]
fn the_documents_state_the_defaults_of_the_flags() {
    use crate::testing::documents::{states, text};

    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let default = |flag: &str| {
        let argument = run.get_arguments().find(|it| it.get_long() == Some(flag));
        let argument = argument.unwrap_or_else(|| panic!("there is no --{flag}"));
        argument.get_default_values()[0]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut compared = 0;
    for document in [
        "README.md",
        "docs/outages.md",
        "docs/security.md",
        "docs/upkeep.md",
    ] {
        let text = text(document);
        for (at, _) in text.match_indices("`--") {
            let rest = &text[at + 3..];
            let Some((flag, rest)) = rest.split_once('`') else {
                continue;
            };
            let stated = rest.strip_prefix(" (").or_else(|| rest.strip_prefix(", "));
            let stated = stated.filter(|it| it.starts_with(|sign: char| sign.is_ascii_digit()));
            let Some(stated) = stated.and_then(|it| it.split([')', ',']).next()) else {
                continue;
            };
            let stated = stated.replace([' ', '%'], "");
            assert_eq!(stated, default(flag), "{document}, --{flag}");
            compared += 1;
        }
    }
    assert!(compared >= 7, "only {compared} defaults were found");

    let (http, grpc) = (default("http-connections"), default("grpc-connections"));
    let (thousands, rest) = http.split_at(http.len() - 3);
    states(
        "docs/security.md",
        &format!("{thousands},{rest} HTTP connections are kept"),
    );
    states(
        "docs/security.md",
        &format!("{grpc} gRPC connections are kept"),
    );
}
