//! The commands of the documents are run as they stand, and print what the documents say.
//!
//! A block of `sql` runs in psql; a block of `sh` with `curl` in it runs in a shell, against
//! a real worker, which is started where the document first starts one. If a block of
//! `text` follows, the command must have printed that text; receipt ids are masked, because
//! they differ from run to run. The blocks of a document run in their order, in one fresh
//! database. With `DOCUMENTS=write` in the environment the texts are written instead of
//! compared.

use anyhow::{Context as _, Result, ensure};
use std::process::{Command, Output, Stdio};
use std::{env, fs};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::paths;
use tidings_harness::server::Server;
use tidings_harness::worker::{ANY_PORT, Worker};

const DATABASE: &str = "document";

#[test]
fn the_sql_of_the_readme_prints_what_it_says() -> Result<()> {
    check("README.md")
}

#[test]
fn the_queries_print_what_they_say() -> Result<()> {
    check("docs/queries.md")
}

#[test]
fn following_the_log_prints_what_it_says() -> Result<()> {
    check("docs/consumers.md")
}

#[test]
fn the_providers_page_prints_what_it_says() -> Result<()> {
    check("docs/providers.md")
}

#[test]
fn upkeep_prints_what_it_says() -> Result<()> {
    check("docs/upkeep.md")
}

#[test]
fn security_prints_what_it_says() -> Result<()> {
    check("docs/security.md")
}

#[test]
fn ingesting_by_sql_prints_what_it_says() -> Result<()> {
    check("docs/ingest-by-sql.md")
}

/// The address at which the documents reach the worker, which listens elsewhere here.
const WORKER: &str = "localhost:8080";
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

fn check(name: &str) -> Result<()> {
    let cluster = Cluster::start(&Server::from_env()?, Durability::Fast)?;
    cluster.create_database(DATABASE)?;
    let path = paths::root().join(name);
    let document = fs::read_to_string(&path)?;

    let write = env::var_os("DOCUMENTS").is_some_and(|wish| wish == "write");
    let mut worker = None;
    let mut written = String::new();
    let mut compared = 0;
    let mut rest = document.as_str();
    while let Some((before, language, commands, after)) = next_commands(rest) {
        written.push_str(before);
        written.push_str(commands);
        rest = after;
        let output = match (language, &worker) {
            ("sql", _) => run_sql(&cluster, commands),
            ("sh", Some(worker)) if commands.contains("curl") => run_shell(worker, commands),
            ("sh", None) if commands.contains("tidings-worker run") => {
                worker = Some(start_worker(&cluster)?);
                continue;
            }
            _ => continue,
        };
        let output = output.with_context(|| format!("in {name}:\n{commands}"))?;
        if let Some((between, text, after)) = block(rest, "text")
            && between == "```\n\n```text\n"
        {
            let is_same = masked(text) == masked(&output);
            ensure!(
                write || is_same,
                "{commands}\nprints\n{output}\nand not\n{text}"
            );
            written.push_str(between);
            written.push_str(if is_same { text } else { &output });
            compared += 1;
            rest = after;
        }
    }
    written.push_str(rest);
    ensure!(compared >= 3, "only {compared} outputs were compared");
    if write {
        fs::write(&path, written)?;
    }
    Ok(())
}

/// The next block of commands, in whichever language: the text before it, the language, the
/// commands, and the text from the closing fence on.
fn next_commands(text: &str) -> Option<(&str, &'static str, &str, &str)> {
    let found = ["sql", "sh"].into_iter().filter_map(|language| {
        let (before, commands, after) = block(text, language)?;
        Some((before, language, commands, after))
    });
    found.min_by_key(|(before, ..)| before.len())
}

/// The text before the first block of a language (its fence included), the text in the
/// block, and the text from its closing fence on.
fn block<'a>(text: &'a str, language: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let start = text.find(&fence)? + fence.len();
    let (before, from) = text.split_at(start);
    let end = from.find("```")?;
    let (inside, after) = from.split_at(end);
    Some((before, inside, after))
}

/// The output of psql, each statement in a transaction of its own.
fn run_sql(cluster: &Cluster, sql: &str) -> Result<String> {
    let script = cluster.folder().join("document.sql");
    fs::write(&script, sql)?;
    let mut psql = cluster.client_program("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", DATABASE, "-f"])
        .arg(&script)
        .env("PGTZ", "UTC");
    printed(psql.stdin(Stdio::null()).output()?)
}

/// The output of a shell, whose requests reach this worker.
fn run_shell(worker: &Worker, commands: &str) -> Result<String> {
    ensure!(commands.contains(WORKER), "no request to {WORKER}");
    let commands = commands.replace(WORKER, &worker.http.to_string());
    let mut shell = Command::new("sh");
    shell.args(["-ec", &commands]);
    printed(shell.stdin(Stdio::null()).output()?)
}

fn printed(output: Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the command failed: {errors}");
    let printed = String::from_utf8(output.stdout)?;
    Ok(format!("{}\n", printed.trim_end()))
}

/// A worker that connects as the role that the document made for it.
fn start_worker(cluster: &Cluster) -> Result<Worker> {
    let (host, port) = (cluster.host(), cluster.port());
    let url = format!("postgres://tidings_worker@{host}:{port}/{DATABASE}");
    let log = cluster.folder().join("worker.log");
    let mut worker = Worker::start(&url, ANY_PORT, ANY_PORT, &log)?;
    worker.wait_ready()?;
    Ok(worker)
}

/// The text with each UUID replaced.
fn masked(text: &str) -> String {
    let is_uuid = |word: &str| {
        let is_hex = |group: &str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        word.split('-').map(str::len).eq(UUID_GROUPS) && word.split('-').all(is_hex)
    };
    let mut masked = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let rest = piece.get(word.len()..).unwrap_or_default();
        masked.push_str(if is_uuid(word) { "(uuid)" } else { word });
        masked.push_str(rest);
    }
    masked
}
