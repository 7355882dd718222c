//! The SQL of the documents is run as it stands, and prints what they say it prints.
//!
//! A block of `sql` that is followed by a block of `text` must print that text, as psql
//! shows it. The blocks of a document run in their order, in one fresh database. With
//! `DOCUMENTS=write` in the environment the texts are written instead of compared.

use anyhow::{Context as _, Result, ensure};
use std::{env, fs, process::Stdio};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::paths;
use tidings_harness::server::Server;

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

fn check(name: &str) -> Result<()> {
    let cluster = Cluster::start(&Server::from_env()?, Durability::Fast)?;
    cluster.create_database(DATABASE)?;
    let path = paths::root().join(name);
    let document = fs::read_to_string(&path)?;

    let write = env::var_os("DOCUMENTS").is_some_and(|wish| wish == "write");
    let mut written = String::new();
    let mut compared = 0;
    let mut rest = document.as_str();
    while let Some((before, sql, after)) = block(rest, "sql") {
        written.push_str(before);
        written.push_str(sql);
        rest = after;
        let output = run(&cluster, sql).with_context(|| format!("in {name}:\n{sql}"))?;
        if let Some((between, text, after)) = block(rest, "text")
            && between == "```\n\n```text\n"
        {
            ensure!(
                write || text == output,
                "{sql}\nprints\n{output}\nand not\n{text}"
            );
            written.push_str(between);
            written.push_str(&output);
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

/// What stands before the first block of a language (its fence included), in it, and
/// from its closing fence on.
fn block<'a>(text: &'a str, language: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let start = text.find(&fence)? + fence.len();
    let (before, from) = text.split_at(start);
    let end = from.find("```")?;
    let (inside, after) = from.split_at(end);
    Some((before, inside, after))
}

/// What psql prints, each statement in a transaction of its own.
fn run(cluster: &Cluster, sql: &str) -> Result<String> {
    let script = cluster.folder().join("document.sql");
    fs::write(&script, sql)?;
    let output = cluster
        .client_program("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", DATABASE, "-f"])
        .arg(&script)
        .env("PGTZ", "UTC")
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql failed: {errors}");
    let printed = String::from_utf8(output.stdout)?;
    Ok(format!("{}\n", printed.trim_end()))
}
