//! `tidings-worker check`: what works, and what to do about the rest.

use std::fmt::Display;

use tokio_postgres::{Client, Config};

use crate::{
    control::Control,
    database::{Connector, installed},
    dial,
    exit::Code,
    failure::describe,
    settings::{CheckArgs, place},
    source::{Dial, Source},
    version,
};

/// Prints one line a finding on stdout; the code says whether all is well.
pub(crate) fn main(settings: &CheckArgs, database: Config) -> Code {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(check(settings, database)),
        Err(error) => {
            eprintln!("tidings-worker: cannot start: {error}");
            Code::System
        }
    }
}

/// What has been found so far.
#[derive(Debug)]
struct Findings {
    code: Code,
}

impl Findings {
    fn good(&self, what: &str, found: impl Display) {
        println!("ok    {what:<24} {found}");
    }

    fn bad(&mut self, what: &str, found: impl Display, code: Code) {
        println!("FAIL  {what:<24} {found}");
        // The first one is at the root of those that follow.
        if self.code == Code::Clean {
            self.code = code;
        }
    }
}

async fn check(settings: &CheckArgs, database: Config) -> Code {
    let mut findings = Findings { code: Code::Clean };
    let place = place(&database);
    let args = &settings.database;
    let connector = Connector::new(
        database,
        args.database_ca.as_deref(),
        args.statement_timeout,
    );
    let connector = match connector {
        Ok(connector) => connector,
        Err(error) => {
            findings.bad("settings", error, Code::Usage);
            return findings.code;
        }
    };
    let client = match connector.open(|_| ()).await {
        Ok(client) => client,
        Err(error) => {
            let advice = "is it running, and is DATABASE_URL right?";
            findings.bad(
                "Postgres",
                format!("{place}: {error}; {advice}"),
                Code::Unavailable,
            );
            return findings.code;
        }
    };
    if let Err(error) = database_findings(&client, &place, &mut findings).await {
        findings.bad("Postgres", describe(&error), Code::Unavailable);
    }
    if findings.code != Code::Clean {
        return findings.code;
    }
    let control = Control::new(client);
    match control.sources().await {
        Ok(mut sources) => {
            sources.sort_by(|a, b| a.name.cmp(&b.name));
            if sources.is_empty() {
                let advice = "none yet: add one with `select tidings.add_source(..)`";
                findings.good("sources", advice);
            }
            for source in &sources {
                source_findings(&control, source, &mut findings).await;
            }
        }
        Err(reason) => findings.bad("sources", reason, Code::Findings),
    }
    findings.code
}

async fn database_findings(
    client: &Client,
    place: &str,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let query = "select current_setting('server_version'), current_user::text, pg_is_in_recovery()";
    let row = client.query_one(query, &[]).await?;
    let (server, role): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    if row.try_get(2)? {
        let advice = "this server is a standby: point DATABASE_URL at the primary";
        findings.bad("Postgres", format!("{place}: {advice}"), Code::Unavailable);
        return Ok(());
    }
    findings.good("Postgres", format!("{server} at {place} as role {role}"));

    let installed = installed(client).await?;
    if let Err(advice) = version::check(installed.as_deref()) {
        findings.bad("extension", advice, Code::Incompatible);
        return Ok(());
    }
    findings.good("extension", format!("tidings {}", version::WORKER));

    for (right, query) in RIGHTS {
        let held: Option<bool> = client.query_one(*query, &[]).await?.try_get(0)?;
        if held == Some(true) {
            findings.good("rights", format!("{role} may {right}"));
        } else {
            let advice = format!("run `select tidings.grant_worker('{role}')` as the owner");
            let found = format!("{role} may not {right}: {advice}");
            findings.bad("rights", found, Code::Findings);
        }
    }
    Ok(())
}

/// What the worker's role needs, and how to ask whether it has it.
const RIGHTS: &[(&str, &str)] = &[
    (
        "ingest",
        "select case when has_schema_privilege('tidings', 'usage') then has_function_privilege( \
            to_regprocedure('tidings.ingest_batch(text[],bytea[],jsonb[])'), 'execute') end",
    ),
    (
        "read the sources",
        "select case when has_schema_privilege('tidings', 'usage') then \
            has_table_privilege(to_regclass('tidings.source'), 'select') end",
    ),
];

async fn source_findings(control: &Control, source: &Source, findings: &mut Findings) {
    let what = format!("source {}", source.name);
    let provider = &source.provider;
    if !source.enabled {
        let advice = format!("select tidings.set_source_enabled('{}', true)", source.name);
        findings.good(
            &what,
            format!("{provider}, disabled (`{advice}` enables it)"),
        );
        return;
    }
    if !source.is_dialed() {
        let path = format!("POST /hooks/{}", source.name);
        findings.good(&what, format!("{provider}, enabled, receives at {path}"));
        return;
    }
    match dialed_findings(control, source).await {
        Ok(found) => findings.good(&what, format!("{provider}, enabled, {found}")),
        Err(reason) => findings.bad(&what, format!("{provider}: {reason}"), Code::Findings),
    }
}

async fn dialed_findings(control: &Control, source: &Source) -> Result<String, String> {
    let plan = Dial::new(&source.options)?;
    let resume = control.resume(&source.name).await?;
    let stored = resume.secret.is_some();
    dial::token(&plan, resume.secret)?;
    dial::connect(&plan)
        .await
        .map_err(|reason| format!("cannot dial {}: {reason}", plan.origin))?;
    let token = if stored {
        "the stored secret"
    } else {
        "an option"
    };
    let from = resume.cursor.as_deref().unwrap_or("the start");
    Ok(format!(
        "its endpoint {} answers, its token comes from {token}, it resumes from {from}",
        plan.origin
    ))
}
