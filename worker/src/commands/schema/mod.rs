//! `tidings-worker schema SOURCE`: the schema that a source's provider describes by
//! server reflection, as the SQL statement that sets it.
//!
//! The statement is written to stdout, everything else to stderr. The command changes
//! nothing: the owner of the sources runs the statement.

mod statement;

use std::{
    io::{self, Write},
    time::Duration,
};

use prost_reflect::prost_types::FileDescriptorSet;
use tidings_core::wire::{Call, Names};
use tokio::time::timeout;
use tokio_postgres::types::Type;

use self::statement::statement;
use super::{
    check::quoted,
    reach::{self, reach},
    reflect::{Method, ReflectError, Reflection, methods},
};
use crate::{
    dial::options::Dial,
    postgres::{ConnectError, Connector, Session, failure::describe},
    process::exit::Code,
    settings::{Database, SchemaArgs, place},
    sources::{queries::Queries, source::Source},
    stream::desk::Resume,
};

const REFLECTION: Duration = Duration::from_secs(60);
/// Limit on the methods that are shown.
const SHOWN: usize = 40;

/// Why there is no statement.
#[derive(Debug, PartialEq, Eq)]
struct Failed(Code, String);

fn failed(text: impl Into<String>) -> Failed {
    Failed(Code::Findings, text.into())
}

pub(crate) fn main(settings: &SchemaArgs, database: Database) -> Code {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidings-worker: cannot start: {error}");
            return Code::System;
        }
    };
    let answered = runtime.block_on(answer(settings, database));
    // The runtime is not dropped, because that would wait for a name lookup that hangs.
    runtime.shutdown_background();
    print(answered, &mut io::stdout(), &mut io::stderr())
}

fn print(
    answered: Result<Answer, Failed>,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> Code {
    // If nobody reads stderr, the exit code still tells the result.
    match answered {
        Ok(answer) => {
            for line in &answer.notes {
                let _ = writeln!(stderr, "{}", shown(line));
            }
            match writeln!(stdout, "{}", answer.sql).and_then(|()| stdout.flush()) {
                Ok(()) => answer.code,
                Err(error) => {
                    let _ = writeln!(
                        stderr,
                        "tidings-worker: cannot write the statement: {error}"
                    );
                    Code::System
                }
            }
        }
        Err(Failed(code, reason)) => {
            let _ = writeln!(stderr, "tidings-worker: {}", shown(&reason));
            code
        }
    }
}

/// Removes control characters, because the texts of servers must not control a terminal.
pub(super) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    sql: String,
    notes: Vec<String>,
    code: Code,
}

async fn answer(settings: &SchemaArgs, database: Database) -> Result<Answer, Failed> {
    let place = place(&database);
    let connector = Connector::new(database, &settings.database);
    let connector = connector.map_err(|error| Failed(Code::Usage, error.to_string()))?;
    let session = connector.connect(|_| ()).await.map_err(|error| {
        let code = match error {
            ConnectError::Unreachable(_) => Code::Unavailable,
            ConnectError::Incompatible(_) => Code::Incompatible,
        };
        Failed(code, format!("{place}: {error}"))
    })?;
    let own = own(&session, &settings.source).await.map_err(failed)?;
    let queries = Queries::new(session);
    let sources = queries.sources(None).await.map_err(failed)?;
    let source = find(sources, &settings.source)?;
    let dial = Dial::new(&source.provider, &source.options).map_err(failed)?;
    let resume = queries.resume(&source.name).await.map_err(failed)?;
    let (method, names) = own.unzip();
    let call = source.call();
    let wish = Wish {
        source: &source.name,
        call: call.ok_or_else(|| failed("its events do not come by gRPC"))?,
        asked: settings.method.as_deref(),
        own: method.as_deref(),
        names: settings.names.clone().or(names).unwrap_or_default(),
    };
    ask(&wish, &dial, &resume).await
}

/// The method and the names that the source has now.
async fn own(session: &Session, source: &str) -> Result<Option<(String, Names)>, String> {
    let query = "select c.method, c.names from tidings.source s \
                 join tidings.source_schema c on c.source_id = s.id where s.name = $1";
    let row = session.query_opt(query, &[(&source, Type::TEXT)]).await;
    let Some(row) = row.map_err(|error| describe(&error))? else {
        return Ok(None);
    };
    let read = || Ok::<_, tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?));
    let (method, names) = read().map_err(|error| describe(&error))?;
    Ok(Some((
        method,
        serde_json::from_value(names).unwrap_or_default(),
    )))
}

fn find(sources: Vec<Source>, name: &str) -> Result<Source, Failed> {
    let dialed = sources.iter().filter(|source| source.is_dialed());
    let dialed: Vec<String> = dialed.map(|source| source.name.to_string()).collect();
    let dialed = match dialed.as_slice() {
        [] => "there is none that is dialed".to_owned(),
        some => format!("those that are dialed: {}", some.join(", ")),
    };
    let found = sources.into_iter().find(|source| *source.name == *name);
    let source =
        found.ok_or_else(|| Failed(Code::Usage, format!("there is no source {name}; {dialed}")))?;
    if source.is_dialed() {
        return Ok(source);
    }
    let name = quoted(name);
    let advice = format!(
        "give its .proto text by `select tidings.set_source_schema('{name}', method => .., proto => ..)`"
    );
    let advice = match source.call() {
        Some(_) => format!("if its schema is another one, {advice}"),
        None => "it sends JSON, which needs no schema".to_owned(),
    };
    let provider = &source.provider;
    let text = format!("{provider} sends to the worker, so there is no server to ask; {advice}");
    Err(Failed(Code::Usage, text))
}

/// The request to a server.
struct Wish<'a> {
    source: &'a str,
    call: &'static Call,
    /// The method that the user requested.
    asked: Option<&'a str>,
    /// The method of the source's own schema.
    own: Option<&'a str>,
    names: Names,
}

async fn ask(wish: &Wish<'_>, dial: &Dial, resume: &Resume) -> Result<Answer, Failed> {
    let reached = reach(wish.source, dial, resume).await.map_err(failed)?;
    let asking = async {
        let requests = reached.connection.requests();
        let mut server = Reflection::open(dial, requests, &reached.token).await?;
        let found = found(&mut server, wish).await?;
        Ok((found, server.version()))
    };
    let endpoint = reach::endpoint(dial);
    let asked = timeout(REFLECTION, asking).await;
    let asked = asked.map_err(|_| failed(format!("{endpoint} does not answer in time")))?;
    let (found, version) = asked.map_err(|error| match error {
        ReflectError::NotOffered => failed(format!(
            "{endpoint} does not offer reflection; ask the provider for its .proto file, and give it by tidings.set_source_schema"
        )),
        other => {
            let from = reach::credential(dial, resume);
            let text = format!("{endpoint}: {other} (the token is from {from})");
            failed(reached.tokens.redact(&text))
        }
    })?;
    let (set, method, how) = match found {
        Found::One(set, method, how) => (set, method, how),
        Found::None(text) => return Err(failed(text)),
    };
    let path = &method.path;
    let note = format!("{how} {path}, as {endpoint} describes it by {version}");
    statement(wish, &set, &method, note)
}

enum Found {
    One(FileDescriptorSet, Method, &'static str),
    /// Not found, with the methods that exist.
    None(String),
}

/// The method that the user requested; otherwise the source's own or the documented one;
/// otherwise a method with the name of the documented one.
async fn found(server: &mut Reflection<'_>, wish: &Wish<'_>) -> Result<Found, ReflectError> {
    let known = [
        (wish.asked, "the method that was asked for:"),
        (
            wish.own.filter(|_| wish.asked.is_none()),
            "the method that the source has:",
        ),
        (
            Some(wish.call.method).filter(|_| wish.asked.is_none()),
            "the documented method:",
        ),
    ];
    for (path, how) in known
        .into_iter()
        .filter_map(|(path, how)| Some((path?, how)))
    {
        let path = format!("/{}", path.trim().trim_start_matches('/'));
        let service = path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        if let Some(set) = server.describe(service).await?
            && let Some(method) = methods(&set).into_iter().find(|m| m.path == path)
        {
            return Ok(Found::One(set, method, how));
        }
    }
    let name = wish.call.method_name();
    let (mut streams, mut named) = (Vec::new(), Vec::new());
    for service in server.services().to_vec() {
        let Some(set) = server.describe(&service).await? else {
            continue;
        };
        let prefix = format!("/{service}/");
        for method in methods(&set) {
            if !method.is_stream || !method.path.starts_with(&prefix) {
                continue;
            }
            streams.push(method.path.clone());
            if method.name == name {
                named.push((set.clone(), method));
            }
        }
    }
    if wish.asked.is_none()
        && named.len() == 1
        && let Some((set, method)) = named.pop()
    {
        return Ok(Found::One(set, method, "a method of the documented name:"));
    }
    streams.truncate(SHOWN);
    let missing = match wish.asked {
        Some(path) => format!("the server describes no method {path}"),
        None => "the server describes no method of the documented name, or several".to_owned(),
    };
    Ok(Found::None(match streams.as_slice() {
        [] => format!(
            "{missing}, nor any other that streams its response; its services: {}",
            server.services().join(", ")
        ),
        streams => format!("{missing}; choose one by --method: {}", streams.join(", ")),
    }))
}

#[cfg(test)]
mod tests;
