//! The checks of the database, and facts about the sources that a running worker does not
//! query.

use std::collections::HashMap;

use tokio_postgres::Error;

use super::{
    findings::{Finding, Printer},
    gaps::{self, OpenGaps},
};
use crate::{
    postgres::{Session, installed, version},
    process::exit::Code,
};

pub(super) async fn findings(
    session: &Session,
    place: &str,
    printer: &mut Printer,
) -> Result<(), Error> {
    let query = "select current_setting('server_version'), current_user::text, pg_is_in_recovery()";
    let row = session.query_one(query, &[]).await?;
    let (server, role): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
    if row.try_get(2)? {
        let advice = "this server is a standby: point DATABASE_URL at the primary, or name all \
                      servers in it, with target_session_attrs=read-write";
        let found = Finding::fail("Postgres", format!("{place}: {advice}"));
        printer.print(&found.code(Code::Unavailable));
        return Ok(());
    }
    let found = format!("{server} at {place} as role {role}");
    printer.print(&Finding::ok("Postgres", found));

    let installed = installed(session).await?;
    if let Err(advice) = version::check(installed.as_deref()) {
        printer.print(&Finding::fail("extension", advice).code(Code::Incompatible));
        return Ok(());
    }
    let found = format!("tidings {}", version::WORKER);
    printer.print(&Finding::ok("extension", found));

    for (right, query) in RIGHTS {
        let held: Option<bool> = session.query_one(query, &[]).await?.try_get(0)?;
        printer.print(&if held == Some(true) {
            Finding::ok("rights", format!("{role} may {right}"))
        } else {
            let advice = format!("run `select tidings.grant_worker('{role}')` as the owner");
            Finding::fail("rights", format!("{role} may not {right}: {advice}"))
        });
    }
    Ok(())
}

/// The privileges that the worker's role needs, and the queries that check them.
const RIGHTS: &[(&str, &str)] = &[
    (
        "ingest",
        "select case when has_schema_privilege('tidings', 'usage') then has_function_privilege( \
            to_regprocedure('tidings.ingest_batch(text[],bytea[],jsonb[])'), 'execute') \
            and has_function_privilege(to_regprocedure('tidings.probe_ingest()'), 'execute') end",
    ),
    (
        "read the sources",
        "select case when has_schema_privilege('tidings', 'usage') then \
            has_table_privilege(to_regclass('tidings.source'), 'select') \
            and has_table_privilege(to_regclass('tidings.source_schema'), 'select') \
            and has_table_privilege(to_regclass('tidings.former_name'), 'select') \
            and has_table_privilege(to_regclass('tidings.source_policy'), 'select') end",
    ),
    (
        "report gaps",
        "select case when has_schema_privilege('tidings', 'usage') then has_function_privilege( \
            to_regprocedure('tidings.report_gap(text,text,text,timestamptz,timestamptz,text,text,bigint)'), 'execute') \
            and has_function_privilege(to_regprocedure('tidings._addressed(text)'), 'execute') \
            and has_table_privilege(to_regclass('tidings.gap'), 'select') end",
    ),
    (
        "wake readers up",
        "select case when has_schema_privilege('tidings', 'usage') then has_function_privilege( \
            to_regprocedure('tidings.wake()'), 'execute') \
            and has_function_privilege(to_regprocedure('tidings.tick()'), 'execute') \
            and has_function_privilege(to_regprocedure('tidings.log_horizon()'), 'execute') end",
    ),
    (
        "see how far consumers are behind",
        "select case when has_schema_privilege('tidings', 'usage') then \
            has_function_privilege(to_regprocedure('tidings._worker_lag()'), 'execute') end",
    ),
    (
        "hold streams and report on them",
        "select case when has_schema_privilege('tidings', 'usage') then has_function_privilege( \
            to_regprocedure('tidings.hold_streams(uuid,text,text[],interval)'), 'execute') \
            and has_function_privilege(to_regprocedure('tidings.release_streams(uuid)'), 'execute') \
            and has_function_privilege( \
            to_regprocedure('tidings.report_stream(text,text,text,int,text,timestamptz,timestamptz)'), 'execute') end",
    ),
];

const SOURCES: &str = "select s.name, p.scheme, p.secrets, p.url_tokens, p.accepts, c.method, c.descriptor_set \
     from tidings.source s \
     left join tidings.source_policy p on p.name = s.name \
     left join tidings.source_schema c on c.source_id = s.id";
const MAY_READ_STREAMS: &str =
    "select coalesce(has_table_privilege(to_regclass('tidings.stream_status'), 'select'), false)";
/// Only the owner of the extension sees the tokens in the paths.
const MAY_READ_PATHS: &str = "select coalesce(has_function_privilege(to_regprocedure('tidings.webhook_paths(text)'), 'execute') \
     and has_table_privilege(to_regclass('tidings.source_secret'), 'select') \
     and not row_security_active(to_regclass('tidings.source_secret')), false)";
const PATHS: &str =
    "select s.name, array(select tidings.webhook_paths(s.name)) from tidings.source s";
const STREAMS: &str =
    "select source, state, worker, since::text, last_error from tidings.stream_status";

/// Facts about all sources from Postgres.
#[derive(Debug, Default)]
pub(super) struct Known {
    sources: HashMap<String, KnownSource>,
    gaps: HashMap<String, OpenGaps>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct KnownSource {
    pub(super) policy: Policy,
    /// The source's own schema: the method and the descriptor set.
    pub(super) schema: Option<(String, Vec<u8>)>,
    pub(super) stream: Option<StreamNow>,
    /// The paths of its webhook with their tokens; none if they cannot be read.
    pub(super) paths: Vec<String>,
}

/// The demands of a source on a request, from `tidings.source_policy`.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) scheme: String,
    pub(super) secrets: i32,
    pub(super) url_tokens: i32,
    pub(super) accepts: String,
}

/// The state of the source's stream in a running worker.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamNow {
    pub(super) state: String,
    pub(super) worker: Option<String>,
    pub(super) since: Option<String>,
    pub(super) last_error: Option<String>,
}

impl Known {
    pub(super) async fn read(session: &Session) -> Result<Self, Error> {
        let mut sources: HashMap<String, KnownSource> = HashMap::new();
        for row in session.query(SOURCES, &[]).await? {
            let method: Option<String> = row.try_get(5)?;
            let set: Option<Vec<u8>> = row.try_get(6)?;
            let text = |at: usize| {
                Ok::<_, Error>(row.try_get::<_, Option<String>>(at)?.unwrap_or_default())
            };
            let count =
                |at: usize| Ok::<_, Error>(row.try_get::<_, Option<i32>>(at)?.unwrap_or_default());
            let known = KnownSource {
                policy: Policy {
                    scheme: text(1)?,
                    secrets: count(2)?,
                    url_tokens: count(3)?,
                    accepts: text(4)?,
                },
                schema: method.zip(set),
                stream: None,
                paths: Vec::new(),
            };
            sources.insert(row.try_get(0)?, known);
        }
        if session.query_one(MAY_READ_STREAMS, &[]).await?.try_get(0)? {
            for row in session.query(STREAMS, &[]).await? {
                if let Some(known) = sources.get_mut(row.try_get::<_, &str>(0)?) {
                    known.stream = Some(StreamNow {
                        state: row.try_get(1)?,
                        worker: row.try_get(2)?,
                        since: row.try_get(3)?,
                        last_error: row.try_get(4)?,
                    });
                }
            }
        }
        if session.query_one(MAY_READ_PATHS, &[]).await?.try_get(0)? {
            for row in session.query(PATHS, &[]).await? {
                if let Some(known) = sources.get_mut(row.try_get::<_, &str>(0)?) {
                    known.paths = row.try_get(1)?;
                }
            }
        }
        let gaps = gaps::read(session).await?;
        Ok(Self { sources, gaps })
    }

    /// The open gaps of a source, if it has any.
    pub(super) fn gaps_of(&self, source: &str) -> Option<&OpenGaps> {
        self.gaps.get(source)
    }

    pub(super) fn of(&self, source: &str) -> Option<KnownSource> {
        self.sources.get(source).cloned()
    }
}
