//! An installation that was upgraded is what a new one is, and has kept its data.

mod catalog;
mod past;

use self::past::{AS_BEFORE, EVENTS, SOURCES};
use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use postgres::error::SqlState;
use tidings_e2e::on_cluster;
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;
use tidings_harness::step;

/// Every released version: an upgrade may start at any.
pub(crate) const RELEASED: [&str; 4] = ["0.1.0", "0.2.0", "0.3.0", "0.4.0"];
const UPGRADE: &str = "alter extension tidings update";

const ROLES: &str = "create role upgrade_reader; create role upgrade_worker";
const GRANTS: &str = "
    select tidings.grant_reader('upgrade_reader'), tidings.grant_worker('upgrade_worker');
";

/// What was there before must be there afterwards, unchanged but for what [`rows`] leaves out.
const KEPT: [&str; 5] = [
    "tidings.event",
    "tidings.source",
    "tidings.source_secret",
    "tidings.stream",
    "tidings.rejected",
];
const STATE: [&str; 5] = [
    // Kinds that this version knows better.
    "(select event_id, kind as kind_now from tidings.event)",
    "tidings.message",
    "tidings.consent",
    "tidings.subscriber",
    "tidings.request_summary",
];

#[test]
fn an_upgrade_keeps_the_data_and_makes_the_state() -> Result<()> {
    on_cluster(|cluster| {
        let mut fresh = cluster.connect(DATABASE)?;
        fresh.batch_execute(ROLES)?;
        fresh.batch_execute(SOURCES)?;
        fresh.batch_execute(EVENTS)?;
        let expected = rows(&mut fresh, &STATE)?;
        ensure!(
            expected.iter().all(|table| !table.is_empty()),
            "a table of the state is empty"
        );
        for version in RELEASED {
            let mut client = installed(cluster, version)?;
            client.batch_execute(SOURCES)?;
            client.batch_execute(EVENTS)?;
            client.batch_execute(AS_BEFORE)?;
            client.batch_execute(GRANTS)?;
            let before = rows(&mut client, &KEPT)?;
            client.batch_execute(UPGRADE)?;
            same("data", &before, &rows(&mut client, &KEPT)?)?;
            let state = rows(&mut client, &STATE)?;
            same("state as of a new installation", &expected, &state)?;
            client.batch_execute("select tidings.rebuild_state()")?;
            same("state rebuilt", &state, &rows(&mut client, &STATE)?)?;
            it_goes_on(&mut client).context(version)?;
        }
        Ok(())
    })
}

/// Retention removes events and keeps what came of them.
#[test]
fn an_upgrade_keeps_the_state_whose_events_are_gone() -> Result<()> {
    on_cluster(|cluster| {
        let version = RELEASED.last().context("nothing was released")?;
        let mut client = installed(cluster, version)?;
        client.batch_execute(SOURCES)?;
        client.batch_execute(EVENTS)?;
        client.batch_execute(AS_BEFORE)?;
        client.batch_execute("delete from tidings.event")?;
        let state = |client: &mut Client| -> Result<String> {
            let row = client.query_one(
                "select string_agg(row, chr(10) order by row collate \"C\") from (
                   select jsonb_strip_nulls(to_jsonb(t))::text as row from tidings.message t
                   union all select jsonb_strip_nulls(to_jsonb(t))::text from tidings.consent t
                   union all select jsonb_strip_nulls(to_jsonb(t))::text from tidings.subscriber t
                   union all select jsonb_strip_nulls(to_jsonb(t))::text from tidings.request_summary t) t",
                &[],
            )?;
            Ok(row.try_get(0)?)
        };
        let before = state(&mut client)?;
        client.batch_execute(UPGRADE)?;
        let difference = catalog::lines_of_difference(&before, &state(&mut client)?);
        ensure!(difference.is_empty(), "{difference}");
        Ok(())
    })
}

#[test]
fn an_upgraded_installation_is_what_a_new_one_is() -> Result<()> {
    on_cluster(|cluster| {
        let mut fresh = cluster.connect(DATABASE)?;
        fresh.batch_execute(ROLES)?;
        fresh.batch_execute(GRANTS)?;
        let new = catalog::read(&mut fresh)?;
        for version in RELEASED {
            let mut client = installed(cluster, version)?;
            client.batch_execute(GRANTS)?;
            let old = catalog::read(&mut client)?;
            // Who publishes all tables is refused to update one that has no key.
            client.batch_execute("create publication everything for all tables")?;
            client.batch_execute(UPGRADE)?;
            client.batch_execute("drop publication everything")?;
            // What is new.
            client.batch_execute(GRANTS)?;
            is_the_same(&new, &mut client).with_context(|| format!("upgraded from {version}"))?;
            ensure!(
                !catalog::difference(&new, &old).is_empty(),
                "{version} is no other version"
            );
            every_change_is_seen(&mut client, &new)?;
            is_the_same(&new, &mut restored(cluster, version)?)
                .with_context(|| format!("upgraded from {version}, dumped and restored"))?;
        }
        Ok(())
    })
}

/// Their rights were swallowed by earlier upgrades: a dump then revoked what nobody had.
#[test]
fn roles_that_are_gone_leave_no_trace() -> Result<()> {
    on_cluster(|cluster| {
        let mut fresh = cluster.connect(DATABASE)?;
        a_role_comes(&mut fresh, "gone")?;
        a_role_goes(&mut fresh, "gone")?;
        let new = catalog::read(&mut fresh)?;
        let before_this = RELEASED.last().context("nothing was released")?;
        for version in RELEASED {
            let mut client = installed(cluster, version)?;
            a_role_comes(&mut client, "gone_before")?;
            a_role_comes(&mut client, "gone_after")?;
            client.batch_execute(&format!("{UPGRADE} to '{before_this}'"))?;
            a_role_goes(&mut client, "gone_before")?;
            client.batch_execute(UPGRADE)?;
            grant_all(&mut client, "gone_after")?;
            a_role_goes(&mut client, "gone_after")?;
            is_the_same(&new, &mut client).with_context(|| format!("upgraded from {version}"))?;
            restored(cluster, version)?;
        }
        Ok(())
    })
}

/// Rights that a new installation does not give: also none, where the owner or PUBLIC has
/// one there, and on a function that is not the extension's.
const RIGHTS: &str = "
    create function tidings.own() returns int language sql security definer as 'select 1';
    revoke all on function tidings.own() from public;
    grant execute on function tidings.own() to upgrade_reader;
    grant execute on function tidings.add_source(text, text, text, jsonb) to upgrade_reader;
    revoke all on function tidings.drop_source(text) from postgres;
    grant execute on function tidings.drop_source(text) to upgrade_reader;
    grant execute on function tidings.set_source_enabled(text, boolean) to upgrade_worker with grant option;
    set role upgrade_worker;
    grant execute on function tidings.set_source_enabled(text, boolean) to public;
    reset role;
";

/// Earlier upgrades took them for the extension's own, which a dump leaves out.
#[test]
fn a_dump_carries_the_rights_that_were_given_and_taken() -> Result<()> {
    on_cluster(|cluster| {
        cluster.connect(DATABASE)?.batch_execute(ROLES)?;
        for version in RELEASED {
            let mut client = installed(cluster, version)?;
            client.batch_execute(RIGHTS)?;
            client
                .batch_execute(UPGRADE)
                .with_context(|| format!("upgrade from {version}"))?;
            let upgraded = catalog::read(&mut client)?;
            is_the_same(&upgraded, &mut restored(cluster, version)?)
                .with_context(|| format!("upgraded from {version}, dumped and restored"))?;
            let kept = kept_roles(&mut client)?;
            ensure!(kept.is_empty(), "initial rights of {kept:?}");
        }
        Ok(())
    })
}

/// A reader was granted its rights, and has them by default as well.
#[test]
fn rights_by_default_end_with_an_upgrade_and_those_of_readers_do_not() -> Result<()> {
    on_cluster(|cluster| {
        let mut fresh = cluster.connect(DATABASE)?;
        fresh.batch_execute("create role upgrade_report; create role upgrade_both")?;
        let new = rights(&mut fresh)?;
        for version in RELEASED {
            let database = format!("defaults_{version}");
            let mut client = with_rights_by_default(cluster, &database, "upgrade_report", version)?;
            client.batch_execute(SOURCES)?;
            client.batch_execute("update tidings.source set name = name || '.renamed'")?;
            client.batch_execute(UPGRADE)?;
            let rights = rights(&mut client)?;
            let difference = catalog::lines_of_difference(&new, &rights);
            ensure!(
                difference.is_empty(),
                "upgraded from {version}: {difference}"
            );

            let database = format!("both_{version}");
            let mut client = with_rights_by_default(cluster, &database, "upgrade_both", version)?;
            client.batch_execute("select tidings.grant_reader('upgrade_both')")?;
            client.batch_execute(UPGRADE)?;
            let reads = |client: &mut Client, table: &str| -> Result<bool> {
                let row = client.query_one(
                    "select has_table_privilege('upgrade_both', $1::text, 'select')",
                    &[&table],
                )?;
                Ok(row.try_get(0)?)
            };
            ensure!(
                reads(&mut client, "tidings.event")?,
                "upgraded from {version}"
            );
            for secret in ["source_secret", "_policy", "rejected"] {
                let has = reads(&mut client, &format!("tidings.{secret}"))?;
                ensure!(!has, "upgraded from {version}: {secret}");
            }
        }
        Ok(())
    })
}

/// A database in which a role has rights in all new objects, and then a released version.
fn with_rights_by_default(
    cluster: &Cluster,
    database: &str,
    role: &str,
    version: &str,
) -> Result<Client> {
    cluster.create_database(database)?;
    let mut client = cluster.connect(database)?;
    client.batch_execute(&format!(
        "alter default privileges grant select on tables to {role};
         alter default privileges grant all on sequences to {role};
         alter default privileges grant execute on functions to {role};
         create extension tidings version '{version}'"
    ))?;
    let row = client.query_one(
        "select has_table_privilege($1::text, 'tidings.source_secret', 'select')",
        &[&role],
    )?;
    ensure!(
        row.try_get::<_, bool>(0)?,
        "{version} gives no right by default"
    );
    Ok(client)
}

/// All rights in the objects of the extension.
fn rights(client: &mut Client) -> Result<String> {
    let row = client.query_one(
        "select string_agg(format('%s: %s may %s', x.name, case a.grantee when 0 then 'PUBLIC' else a.grantee::regrole::text end, a.privilege_type), chr(10)
           order by x.name collate \"C\", a.grantee, a.privilege_type)
         from (
           select pg_describe_object(d.classid, d.objid, 0) as name,
             coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::\"char\", c.relowner)) as acl
           from pg_depend d join pg_class c on d.classid = 'pg_class'::regclass and c.oid = d.objid
           where d.refobjid = (select oid from pg_extension where extname = 'tidings') and d.deptype = 'e' and c.relkind in ('r', 'p', 'v', 'S')
           union all
           select pg_describe_object(d.classid, d.objid, 0), coalesce(p.proacl, acldefault('f', p.proowner))
           from pg_depend d join pg_proc p on d.classid = 'pg_proc'::regclass and p.oid = d.objid
           where d.refobjid = (select oid from pg_extension where extname = 'tidings') and d.deptype = 'e') x,
           aclexplode(x.acl) a",
        &[],
    )?;
    Ok(row.try_get(0)?)
}

/// The roles, besides the server's own, that Postgres 17 and later keeps from being dropped
/// for the initial rights that they have, once for each object.
fn kept_roles(client: &mut Client) -> Result<Vec<String>> {
    let rows = client.query(
        "select refobjid::regrole::text || ': ' || pg_describe_object(classid, objid, objsubid)
         from pg_shdepend s join pg_database d on d.oid = s.dbid
         where s.deptype = 'i' and d.datname = current_database() order by 1",
        &[],
    )?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

fn a_role_comes(client: &mut Client, role: &str) -> Result<()> {
    client.batch_execute(&format!("create role {role}"))?;
    grant_all(client, role)
}

fn grant_all(client: &mut Client, role: &str) -> Result<()> {
    client.batch_execute(&format!(
        "select tidings.grant_reader('{role}'), tidings.grant_worker('{role}')"
    ))?;
    Ok(())
}

fn a_role_goes(client: &mut Client, role: &str) -> Result<()> {
    client.batch_execute(&format!("drop owned by {role}; drop role {role}"))?;
    Ok(())
}

/// What it makes would belong to him, and be worth no more than his rights are.
#[test]
fn only_the_owner_upgrades() -> Result<()> {
    on_cluster(|cluster| {
        let version = RELEASED.last().context("nothing was released")?;
        let mut client = installed(cluster, version)?;
        client.batch_execute("create role another superuser; set role another")?;
        is_refused(&mut client, "postgres", "First run SET ROLE postgres.")?;
        client.batch_execute("reset role")?;
        client.batch_execute(UPGRADE)?;

        // One who may not any more.
        let database = "of_an_ordinary_role";
        cluster.create_database(database)?;
        let mut client = cluster.connect(database)?;
        client.batch_execute(&format!(
            "set role another; create extension tidings version '{version}';
             reset role; alter role another nosuperuser"
        ))?;
        is_refused(
            &mut client,
            "another",
            "First run ALTER ROLE another SUPERUSER and SET ROLE another; afterwards ALTER ROLE another NOSUPERUSER.",
        )?;
        client.batch_execute("alter role another superuser; set role another")?;
        client.batch_execute(UPGRADE)?;

        let database = "of_an_ordinary_role_anew";
        cluster.create_database(database)?;
        let mut fresh = cluster.connect(database)?;
        fresh.batch_execute("set role another; create extension tidings")?;
        let (expected, kept) = (kept_roles(&mut fresh)?, kept_roles(&mut client)?);
        ensure!(kept == expected, "{kept:#?}\nof {expected:#?}");
        is_the_same(&catalog::read(&mut fresh)?, &mut client)?;
        client.batch_execute("alter role another nosuperuser")?;
        Ok(())
    })
}

fn is_refused(client: &mut Client, owner: &str, hint: &str) -> Result<()> {
    let refused = client.batch_execute(UPGRADE).err();
    let refused = refused
        .as_ref()
        .and_then(postgres::Error::as_db_error)
        .context("it was not refused")?;
    ensure!(
        *refused.code() == SqlState::INSUFFICIENT_PRIVILEGE
            && refused.message() == format!("extension tidings belongs to role {owner}")
            && refused.hint() == Some(hint),
        "{refused:?}"
    );
    Ok(())
}

fn is_the_same(new: &catalog::Catalog, client: &mut Client) -> Result<()> {
    let difference = catalog::difference(new, &catalog::read(client)?);
    ensure!(
        difference.is_empty(),
        "+ is too much and - is missing:\n{difference}"
    );
    Ok(())
}

/// Otherwise two catalogs that look the same would say little.
fn every_change_is_seen(client: &mut Client, new: &catalog::Catalog) -> Result<()> {
    for change in [
        "comment on column tidings.message.opens is 'other'",
        "comment on function tidings._count(text) is null",
        "drop index tidings.message_recipient_idx",
        "alter table tidings.message alter column opens set default 0",
        "alter table tidings.message alter column opens drop not null",
        "alter table tidings.consent add check (status <> '')",
        "alter table tidings.consent add column x int",
        "alter table tidings.message drop constraint message_pkey",
        "grant select on tidings.message to public",
        "grant select (opens) on tidings.message to public",
        "grant execute on function tidings.rebuild_state() to public",
        "revoke usage on schema tidings from public",
        "alter function tidings._count(text) owner to pg_read_all_data",
        "alter function tidings._count(text) volatile",
        "alter function tidings.ingest(text, bytea, jsonb) security invoker",
        "alter function tidings.rebuild_state() reset search_path",
        "alter table tidings.message owner to pg_read_all_data",
        "alter table tidings.message set (fillfactor = 50)",
        "alter extension tidings drop function tidings._count(text)",
        "alter type tidings._latest add attribute x int cascade",
        "update pg_cast set castcontext = 'i' where 'tidings.ulid'::regtype in (castsource, casttarget)",
        "drop trigger notify on tidings.source",
        "alter sequence tidings.source_id_seq as bigint",
        "alter view tidings.request rename column delivered to x",
        "alter view tidings.request set (security_barrier = true)",
        "update pg_extension set extconfig = extconfig[1:3], extcondition = extcondition[1:3] where extname = 'tidings'",
        "update pg_extension set extcondition[1] = 'where false' where extname = 'tidings'",
        "update pg_extension set extversion = '0' where extname = 'tidings'",
        "create table tidings.more ()",
        "update pg_init_privs set initprivs = initprivs || 'upgrade_reader=X/postgres'::aclitem
         where objoid = 'tidings._count(text)'::regprocedure",
    ] {
        let mut open = client.transaction()?;
        // A change that Postgres refuses is none of this list's.
        open.batch_execute(change).context(change)?;
        let changed = catalog::read(&mut open)?;
        open.rollback()?;
        ensure!(
            !catalog::difference(new, &changed).is_empty(),
            "not seen: {change}"
        );
    }
    Ok(())
}

/// Ingest and the log, under the grants of before.
fn it_goes_on(client: &mut Client) -> Result<()> {
    let again = "
        select count(*)::int, sum(r.inserted)::int, sum(r.duplicate)::int
        from tidings.ingest_batch('{arpoone}', array[convert_to('[
          {\"MessageId\": \"s1\", \"Status\": \"DELIVERED\", \"ReportDateTime\": \"2024-10-01T11:34:58\", \"Msisdn\": \"351913462111\"},
          {\"MessageId\": \"next\", \"Status\": \"DELIVERED\", \"ReportDateTime\": \"2024-10-01T11:34:58\"}]', 'UTF8')],
          array['{\"url-token\": \"arpoone-token\"}'::jsonb]) r";
    client.batch_execute("set role upgrade_worker")?;
    let row = client.query_one(again, &[]).context("as a worker")?;
    let (inserted, duplicate): (i32, i32) = (row.try_get(1)?, row.try_get(2)?);
    ensure!(
        (inserted, duplicate) == (1, 1),
        "{inserted} inserted, {duplicate} duplicate"
    );
    client.batch_execute(
        "set role upgrade_reader;
         select tidings.events_after(null, 1)",
    )?;
    // What is new is granted by granting again.
    client.batch_execute("reset role")?;
    client.batch_execute(GRANTS)?;
    client.batch_execute("set role upgrade_reader")?;
    let row = client
        .query_one(
            "select status from tidings.message where message_key = 'next'",
            &[],
        )
        .context("as a reader")?;
    let status: String = row.try_get(0)?;
    ensure!(status == "message.delivered", "it is {status}");
    client.batch_execute("reset role")?;
    Ok(())
}

/// The database of an installation that began with this version.
fn database_of(version: &str) -> String {
    format!("upgraded_from_{}", version.replace('.', "_"))
}

/// A connection to another database, made from the dump of that one.
fn restored(cluster: &Cluster, version: &str) -> Result<Client> {
    let database = database_of(version);
    let dump = cluster.folder().join(format!("{database}.dump"));
    step::output(
        cluster
            .client_program("pg_dump")
            .args(["-Fc", "-d", &database, "-f"])
            .arg(&dump),
    )?;
    let database = format!("{database}_restored");
    cluster.create_database(&database)?;
    step::output(
        cluster
            .client_program("pg_restore")
            .args(["--exit-on-error", "-d", &database])
            .arg(&dump),
    )?;
    cluster.connect(&database)
}

/// A connection to a new database with this version.
pub(crate) fn installed(cluster: &Cluster, version: &str) -> Result<Client> {
    let database = database_of(version);
    cluster.create_database(&database)?;
    let mut client = cluster.connect(&database)?;
    client
        .batch_execute(&format!("create extension tidings version '{version}'"))
        .context("cannot create a released version: run `make install`")?;
    Ok(client)
}

/// The rows of each table, sorted; without what the step to a version sets: the digest of a
/// secret, which 0.4.0 added, and the kind of an event, the time of the last one of a stream,
/// and the spool of a refused request, of 0.5.0.
fn rows(client: &mut Client, tables: &[&str]) -> Result<Vec<Vec<String>>> {
    tables
        .iter()
        .map(|table| {
            let sql = format!(
                "select '{table} ' || r as row
                 from {table} t, lateral (select (to_jsonb(t) - 'digest' - 'first_name' - 'event_at' - 'peer' - 'spool_bytes' - case when to_jsonb(t) ? 'provider_kind' then 'kind' else '' end)::text) x (r) order by r collate \"C\""
            );
            let rows = client.query(&sql, &[])?;
            rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
        })
        .collect()
}

fn same(what: &str, expected: &[Vec<String>], found: &[Vec<String>]) -> Result<()> {
    let lines = |tables: &[Vec<String>]| tables.concat().join("\n");
    let difference = catalog::lines_of_difference(&lines(expected), &lines(found));
    ensure!(difference.is_empty(), "{what}:\n{difference}");
    Ok(())
}
