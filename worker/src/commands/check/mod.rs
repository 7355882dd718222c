//! `tidings-worker check`: what works, and what needs fixing.
//!
//! The command changes nothing: a stream that it opens reads from the stored cursor,
//! which only a commit moves. Sources are checked concurrently, and every step that waits
//! is bounded in time.

mod database;
mod described;
mod dialed;
mod event;
mod findings;
mod gaps;
mod served;
mod server;
mod spoken;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use self::{
    database::Known,
    findings::{Finding, Printer},
    spoken::Spoken,
};
use crate::{
    dial::options::Dial,
    postgres::{Connector, Session, backends::ADVICE, failure::describe},
    process::exit::Code,
    settings::{CheckArgs, Database, place},
    sources::{queries::Queries, source::Source},
};

/// Number of sources that are checked concurrently.
const AT_ONCE: usize = 64;
/// Time limit for all queries about the database itself.
const DATABASE: Duration = Duration::from_secs(30);

/// Prints each finding as a line on stdout; the exit code tells whether anything needs
/// fixing.
pub(crate) fn main(settings: &CheckArgs, database: Database) -> Code {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(check(settings, database));
            // The runtime is not dropped, because that would wait for a name lookup that
            // hangs.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("tidings-worker: cannot start: {error}");
            Code::System
        }
    }
}

async fn check(settings: &CheckArgs, database: Database) -> Code {
    let mut printer = Printer::new(settings.json);
    let place = place(&database);
    printer.print(&connection(&database));
    for note in &database.notes {
        printer.print(&Finding::warn("connection", note));
    }
    let connector = match Connector::new(database, &settings.database) {
        Ok(connector) => connector,
        Err(error) => {
            printer.print(&Finding::fail("settings", error).code(Code::Usage));
            return printer.code();
        }
    };
    let session = match connector.open(|_| ()).await {
        Ok(session) => session,
        Err(error) => {
            let advice = "check that Postgres is running and that DATABASE_URL is right";
            let found = format!("{place}: {error}; {advice}");
            printer.print(&Finding::fail("Postgres", found).code(Code::Unavailable));
            return printer.code();
        }
    };
    let looked = async {
        pooler(&connector, &mut printer).await;
        database::findings(&session, &place, &mut printer).await
    };
    let looked = timeout(DATABASE, looked).await;
    let failed = match looked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(describe(&error)),
        Err(_) => Some("it does not answer".to_owned()),
    };
    if let Some(reason) = failed {
        printer.print(&Finding::fail("Postgres", reason).code(Code::Unavailable));
    }
    if printer.code() == Code::Clean {
        server(&session, &mut printer).await;
        sources(session, settings.wait, &mut printer).await;
    }
    printer.code()
}

/// The origins of the settings of the connection. No value that may be secret is shown.
fn connection(database: &Database) -> Finding {
    let mode = database.tls.mode.as_str();
    let found = format!("sslmode {mode}; {}", database.origins);
    Finding::ok("connection", found)
}

/// Prints a warning if there is a pooler that the settings do not mention.
async fn pooler(connector: &Connector, printer: &mut Printer) {
    // A failure to connect is a finding of its own elsewhere.
    if let Ok(true) = connector.finds_pooler().await {
        printer.print(&Finding::warn("pooler", ADVICE));
    }
}

/// Prints advice on the server's settings. It never fails the check, even if the settings
/// cannot be read.
async fn server(session: &Session, printer: &mut Printer) {
    let found = match timeout(DATABASE, server::findings(session)).await {
        Ok(found) => found,
        Err(_) => vec![Finding::warn(
            "server settings",
            "not checked, because Postgres does not answer; run check again",
        )],
    };
    for finding in &found {
        printer.print(finding);
    }
}

async fn sources(session: Session, wait: Duration, printer: &mut Printer) {
    let known = match timeout(DATABASE, Known::read(&session)).await {
        Ok(known) => known.map_err(|error| describe(&error)),
        Err(_) => Err("Postgres does not answer".to_owned()),
    };
    let queries = Queries::new(session);
    let listed = async { Ok((known?, queries.sources(None).await?)) };
    let (known, mut sources) = match listed.await {
        Ok(listed) => listed,
        Err::<_, String>(reason) => {
            printer.print(&Finding::fail("sources", reason));
            return;
        }
    };
    if sources.is_empty() {
        let advice = "none yet: add one with `select tidings.add_source(..)`";
        printer.print(&Finding::ok("sources", advice));
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let looks = stream::iter(&sources).map(|source| look(source, &queries, &known, wait));
    let mut looks = std::pin::pin!(looks.buffered(AT_ONCE));
    while let Some(findings) = looks.next().await {
        for finding in &findings {
            printer.print(finding);
        }
    }
}

async fn look(source: &Source, queries: &Queries, known: &Known, wait: Duration) -> Vec<Finding> {
    let mut findings = look_at(source, queries, known, wait).await;
    let gaps = known.gaps_of(&source.name);
    findings.extend(gaps.map(|gaps| gaps.finding(source)));
    findings
}

async fn look_at(
    source: &Source,
    queries: &Queries,
    known: &Known,
    wait: Duration,
) -> Vec<Finding> {
    let subject = format!("source {}", source.name);
    let provider = &source.provider;
    if !source.enabled {
        let name = quoted(&source.name);
        let advice = format!("select tidings.set_source_enabled('{name}', true)");
        let found = format!("{provider}, disabled (`{advice}` enables it)");
        return vec![Finding::ok(subject, found)];
    }
    let known = known.of(&source.name);
    if !source.is_dialed() {
        return served::findings(source, known.as_ref());
    }
    let prepared = async {
        let dial = Dial::new(&source.provider, &source.options)?;
        let spoken = Spoken::of(source, known.as_ref())?;
        let resume = queries.resume(&source.name).await?;
        Ok::<_, String>((dial, spoken, resume))
    };
    match prepared.await {
        Ok((dial, spoken, resume)) => {
            let look = dialed::Look {
                source,
                dial: &dial,
                spoken: &spoken,
                resume: &resume,
                stream: known.as_ref().and_then(|known| known.stream.as_ref()),
                wait,
            };
            look.findings().await
        }
        Err(reason) => vec![Finding::fail(subject, format!("{provider}: {reason}"))],
    }
}

/// A name, quoted for use inside a literal in SQL.
pub(crate) fn quoted(name: &str) -> String {
    name.replace('\'', "''")
}

#[cfg(test)]
mod tests;
