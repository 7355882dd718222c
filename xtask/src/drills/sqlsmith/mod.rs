//! `make sqlsmith`: runs random SQL against the extension's functions for a while, on a
//! private Postgres with events of all providers. A statement may fail with an ERROR; a
//! crash of a backend or a panic of Rust is a finding.
//!
//! sqlsmith undoes each of its statements, so that there is something to find to the end.

mod log;

use anyhow::{Context as _, Result, bail};
use postgres::Client;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tidings_harness::cluster::Durability;
use tidings_harness::emulator::Play;
use tidings_harness::process::{Process, Speaks};
use tidings_harness::server::Server;
use tidings_harness::stage::{DATABASE, Stage};
use tidings_harness::{cluster, play, step, table};

const PREPARE: &str = include_str!("prepare.sql");
const EVENTS: u64 = 2_000;

/// How long, and with which statements.
#[derive(Debug)]
pub(crate) struct Options {
    pub seconds: u64,
    pub seed: u64,
}

pub(crate) fn run(server: &Server, options: &Options) -> Result<()> {
    install()?;
    let stage = stage(server)?;
    let mut client = stage.connect()?;
    client
        .batch_execute(PREPARE)
        .context("cannot prepare the database")?;
    for setting in [
        "track_functions = 'all'",
        // Errors with their SQLSTATE, and with the place in the source that raised them.
        "log_error_verbosity = 'verbose'",
        "log_min_messages = 'error'",
    ] {
        client.batch_execute(&format!("alter system set {setting}"))?;
    }
    client.batch_execute("select pg_reload_conf()")?;

    let queries = smith(&stage, options)?;
    let said = log::read(&stage.cluster.log_file())?;
    println!("\n{queries} statements, {} errors\n", said.errors());
    print!("{}", said.rendered());
    if said.findings.is_empty() {
        // Counts are lost where the server has crashed.
        calls(&mut stage.connect()?)?;
        return Ok(());
    }
    for finding in &said.findings {
        println!("\nfound: {finding}");
    }
    bail!("{} findings", said.findings.len())
}

/// Installed when it is asked for: nothing else needs it.
fn install() -> Result<()> {
    let asked = Command::new("sqlsmith").arg("--version").output();
    if asked.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let root = step::output(Command::new("id").arg("-u"))? == "0";
    let mut apt = match root {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
    };
    apt.args(["install", "-q", "-y", "--no-install-recommends", "sqlsmith"]);
    step::run(&mut apt).context("install sqlsmith, then try again")
}

/// A database that all providers have written into, and whose worker has ended.
fn stage(server: &Server) -> Result<Stage> {
    let mut stage = Stage::set(server, Durability::Fast)?;
    let mut emulator = stage.add_emulator(&Play {
        events: EVENTS,
        seed: 1,
        duplicates: 0.1,
        rate: 0,
        only: None,
        flags: &[],
        http: stage.worker.http,
        grpc: stage.worker.grpc,
    })?;
    play::run(&mut stage, &mut emulator, &[], &mut |_| {})?
        .reconciliation
        .check()?;
    stage.worker.drain(Duration::from_secs(30))?;
    Ok(stage)
}

/// Lets it run; returns how many statements it tried.
fn smith(stage: &Stage, options: &Options) -> Result<u64> {
    let target = format!(
        "host={} port={} user={} dbname={DATABASE} options='-c search_path=smith,pg_catalog'",
        stage.cluster.host(),
        stage.cluster.port(),
        cluster::SUPERUSER,
    );
    let log = stage.cluster.folder().join("sqlsmith.log");
    let mut command = Command::new("sqlsmith");
    command
        .arg(format!("--target={target}"))
        .arg(format!("--seed={}", options.seed))
        .args(["--exclude-catalog", "--verbose"])
        .stdin(Stdio::null());
    let mut smith = Process::start("sqlsmith", &mut command, &log, Speaks::Stderr)?;
    let deadline = Instant::now() + Duration::from_secs(options.seconds);
    let mut queries = 0;
    while Instant::now() < deadline {
        if let Some(status) = smith.has_ended()? {
            bail!("sqlsmith ended by itself ({status})\n{}", smith.tail());
        }
        while let Some(line) = smith.waiting_line() {
            queries = counted(&line).unwrap_or(queries);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    smith.kill()?;
    while let Some(line) = smith.waiting_line() {
        queries = counted(&line).unwrap_or(queries);
    }
    if queries == 0 {
        bail!("sqlsmith did nothing\n{}", smith.tail());
    }
    Ok(queries)
}

/// `queries: 12000 (63.2 gen/s, 63.1 exec/s)`, now and then.
fn counted(line: &str) -> Option<u64> {
    let number = line.strip_prefix("queries: ")?.split_whitespace().next()?;
    number.parse().ok()
}

/// How often each of our functions was called, and which were not.
fn calls(client: &mut Client) -> Result<()> {
    let rows = client.query(
        "select p.proname || '(' || p.pronargs || ')', coalesce(sum(f.calls), 0)::bigint
         from pg_catalog.pg_proc p left join pg_stat_user_functions f on f.funcid = p.oid
         where p.pronamespace = 'tidings'::regnamespace and p.prokind = 'f'
           and not 'internal'::regtype = any (p.proargtypes) and p.prorettype <> 'trigger'::regtype
         group by 1 order by 2 desc, 1",
        &[],
    )?;
    let mut called = Vec::new();
    let mut never = Vec::new();
    for row in &rows {
        let (name, calls): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        match u64::try_from(calls)? {
            0 => never.push(name),
            calls => called.push(vec![name, table::number(calls)]),
        }
    }
    print!(
        "\n{}",
        table::render(&["function", "calls"], &called, false)
    );
    println!("\nnever called, or inlined: {}", never.join(", "));
    Ok(())
}
