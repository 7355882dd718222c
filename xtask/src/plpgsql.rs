//! plpgsql_check over every PL/pgSQL function of the extension: what would fail or mislead
//! only when a function runs.

use crate::install;
use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::server::Server;
use tidings_harness::step::Missing;

const DATABASE: &str = "checked";

/// All findings, one line each. A trigger's function is checked for each table that has it.
///
/// Left out, with reasons:
/// - performance: the casts are of one number in a call, and the functions that could be
///   STABLE are VOLATILE so that each of their statements sees what was committed meanwhile;
/// - a declaration's default that is a constant in quotes: its type's input function reads it
///   in each call, so that any test of the function would see it fail;
/// - security in two functions whose statements format() puts together in a subquery, which
///   plpgsql_check does not follow: each name is a %I, and each value a %L;
/// - a column of a composite type in a set of rows, which is meant.
const FINDINGS: &str = "
    select format('%s, line %s: %s: %s%s', p.oid::regprocedure, c.lineno, c.level, c.message,
      ' (' || coalesce(c.query, c.detail, c.hint) || ')')
    from pg_proc p
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
    join pg_extension e on d.refclassid = 'pg_extension'::regclass and e.oid = d.refobjid
      and e.extname = 'tidings'
    left join (select distinct tgfoid, tgrelid from pg_trigger) t on t.tgfoid = p.oid
    cross join lateral plpgsql_check_function_tb(p.oid, coalesce(t.tgrelid, 0),
      fatal_errors => false, other_warnings => true, extra_warnings => true,
      security_warnings => true, compatibility_warnings => true) c
    where not (c.statement = 'statement block' and c.sqlstate = '42804' and c.detail like 'cast \"text\" value to %')
      and not (c.message like 'composite OUT variable % is not single argument' and p.proretset)
      and not (c.level = 'security' and p.proname in ('_attach_partitions', '_build_partition'))
    order by 1";

/// A function that compiles and cannot work: its column does not exist.
const BROKEN: &str = "
    create function tidings._broken() returns bigint language plpgsql as
      'begin return (select no_such_column from tidings.source); end';
    alter extension tidings add function tidings._broken()";
const MENDED: &str = "
    alter extension tidings drop function tidings._broken();
    drop function tidings._broken()";

/// Fails with a line for each finding.
pub(crate) fn check(server: &Server) -> Result<()> {
    let control = server.sharedir.join("extension/plpgsql_check.control");
    if !control.exists() {
        let major = server.major;
        return Err(Missing::new(format!(
            "{} is missing: install postgresql-{major}-plpgsql-check",
            control.display()
        ))
        .into());
    }
    install::run(server)?;
    let cluster = Cluster::start(server, Durability::Fast)?;
    cluster.create_database(DATABASE)?;
    let mut client = cluster.connect(DATABASE)?;
    client.batch_execute("create extension tidings; create extension plpgsql_check")?;

    // Otherwise silence would say nothing.
    client.batch_execute(BROKEN)?;
    let found = findings(&mut client)?;
    ensure!(
        found.iter().any(|line| line.contains("no_such_column")),
        "the check overlooks a function that cannot work: {found:?}"
    );
    client.batch_execute(MENDED)?;
    let found = findings(&mut client)?;
    if found.is_empty() {
        return Ok(());
    }
    bail!("{} findings\n  {}", found.len(), found.join("\n  "))
}

fn findings(client: &mut Client) -> Result<Vec<String>> {
    client
        .query(FINDINGS, &[])
        .context("plpgsql_check cannot check")?
        .iter()
        .map(|row| Ok(row.try_get(0)?))
        .collect()
}
