//! A body for which there is no memory is an ordinary ERROR: an allocation that fails in
//! Rust would end the backend, and with it every other session of the server.
//!
//! A backend reads hostile bodies in an address space that begins with hardly more than it
//! has, and is widened until the body can be read.

use anyhow::{Context as _, Result, bail};
use postgres::Client;
use postgres::error::SqlState;
use std::fs;
use tidings_e2e::on_cluster;
use tidings_harness::stage::DATABASE;

/// Bodies of one and four megabytes, each of which makes another part of the library grow.
/// They are stored as they are, so that reading one does not unpack it.
const BODIES: &str = r#"
    create table output (line text);
    create table body (what text, provider text, bytes bytea);
    alter table body alter bytes set storage external;
    insert into body
    select what, provider, convert_to(json, 'UTF8') from (values
      ('items', 'arpoone', '[' || repeat('{"MessageId":"m","Status":"DELIVERED"},', 30000) || '{}]'),
      ('pushes', 'pushwoosh', '[' || repeat('{"event_name":"Push Sent"},', 60000) || '{}]'),
      ('a text', 'arpoone', format('{"MessageId":"m","Status":"s","ReportDescription":"%s"}', repeat('x', 4 << 20))),
      ('escapes', 'pushwoosh', format('{"event_name":"%s"}', repeat('\u00e9 \n', 400000))),
      ('a push in a text', 'pushwoosh', format('{"e":"{\"event_name\":\"%s\"}"}', repeat('a b ', 1 << 20))),
      ('elements', 'pushpushgo', '{"kind":"x","a":[' || repeat('0,', 900000) || '0]}'),
      ('members', 'arpoone', '{"MessageId":"m","EventType":"e","EventDetails":{' || repeat('"\u0061":0,', 200000) || '"b":1}}'),
      ('levels', 'arpoone', '{"MessageId":"m","EventType":"e","EventDetails":' || repeat('{"a":', 120) || '"' || repeat('x', 4 << 20) || '"' || repeat('}', 120) || '}'),
      ('open', 'ppoppo', repeat('[', 4 << 20)),
      ('no JSON', 'ppoppo', '{}' || repeat('x', 4 << 20))
    ) v (what, provider, json)"#;

const READ: &str = "select count(*) from body b,
  lateral tidings._normalize(b.provider, 's', '{}', b.bytes) n where b.what = $1";

/// Steps by which the address space is widened, and how far at most.
const STEPS: [(u64, u64); 2] = [(64 << 10, 4 << 20), (1 << 20, 200 << 20)];

#[test]
fn a_body_that_does_not_fit_into_memory_is_an_error() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute(BODIES)?;
        let bodies = client.query("select what, octet_length(bytes) from body", &[])?;
        for body in bodies {
            let (what, length): (String, i32) = (body.try_get(0)?, body.try_get(1)?);
            // A backend of its own, so that none has grown for the body before.
            let mut reader = cluster.connect(DATABASE)?;
            let room = least_room(&mut client, &mut reader, &what).with_context(|| what.clone())?;
            eprintln!("{what}: {length} bytes are read within {room}");
        }
        Ok(())
    })
}

/// The bytes beyond its own by which the address space of a backend is widened until this
/// body can be read; an error unless all before ended in "out of memory".
fn least_room(superuser: &mut Client, client: &mut Client, what: &str) -> Result<u64> {
    let pid: i32 = client
        .query_one("select pg_backend_pid()", &[])?
        .try_get(0)?;
    // Once with an empty body, so that the library is there.
    client.query(
        "select from tidings._normalize('arpoone', 's', '{}', '[]')",
        &[],
    )?;
    let statement = client.prepare(READ)?;
    let mut refused = 0;
    for (step, most) in STEPS {
        let mut room = step;
        while room <= most {
            limit(superuser, pid, Some(size(pid)? + room))?;
            let read = client.query(&statement, &[&what]);
            limit(superuser, pid, None)?;
            match read {
                Ok(_) if refused > 0 => return Ok(room),
                Ok(_) => bail!("it is read without any memory"),
                Err(error) if error.code() == Some(&SqlState::OUT_OF_MEMORY) => refused += 1,
                Err(error) => bail!("within {room} bytes: {error}"),
            }
            room += step;
        }
    }
    bail!("it is never read")
}

/// The address space of a process, in bytes.
fn size(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("no VmSize")?.parse::<u64>()? * 1024)
}

/// Limits the address space of a backend, as the user whose it is: root itself may lack the
/// right to.
fn limit(superuser: &mut Client, pid: i32, bytes: Option<u64>) -> Result<()> {
    let bytes = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let limit = format!("copy output from program 'prlimit --pid {pid} --as={bytes}:unlimited'");
    superuser.batch_execute(&limit).context("prlimit")
}
