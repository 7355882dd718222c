//! The emulator's ledger: a JSON line for each distinct event that it emitted.
//!
//! Each line is `{"source", "key", "copies", "emissions", "acknowledged", "timeless"}`.
//! The key comes from the provider's own payload, so that the event can be found in the
//! database without using the identity from the code under test.

use anyhow::{Context as _, Result};
use postgres::Client;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

/// Which events must be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// All of them, because no sender had a reason to give one up.
    Emitted,
    /// Those that had a positive answer. A provider may give up the others, which may or
    /// may not be stored.
    Acknowledged,
}

/// Loads the file into the temporary table `ledger`: a line for each key,
/// with the least and the most rows it may have.
///
/// An event without identity or time is stored once for each delivery: at least as often
/// as it was acknowledged, at most as often as it was sent.
pub fn load(client: &mut Client, path: &Path, demand: Demand) -> Result<()> {
    load_lines(client, path, "ledger_line")?;
    let demanded = match demand {
        Demand::Emitted => "true",
        Demand::Acknowledged => "entry.acknowledged > 0",
    };
    client
        .batch_execute(&format!(
            "drop table if exists pg_temp.ledger;
             create temp table ledger as
             select entry.source, entry.key, entry.emissions, entry.acknowledged,
                    case when entry.timeless then entry.acknowledged
                         when {demanded} then entry.copies
                         else 0 end as least,
                    case when entry.timeless then entry.emissions else entry.copies end as most
             from ledger_line,
                  jsonb_to_record(line::jsonb) as entry(
                    source text, key text, copies bigint, emissions bigint,
                    acknowledged bigint, timeless boolean);
             drop table ledger_line;
             analyze ledger",
        ))
        .context("the ledger is not as documented")?;
    Ok(())
}

/// Loads a file of JSON lines into this temporary table, into its column `line`.
pub(crate) fn load_lines(client: &mut Client, path: &Path, table: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    client.batch_execute(&format!(
        "drop table if exists pg_temp.{table}; create temp table {table} (line text)"
    ))?;
    let mut copy = client.copy_in(&format!("copy {table} from stdin"))?;
    io::copy(&mut Escaped::new(file), &mut copy)
        .with_context(|| format!("cannot load {}", path.display()))?;
    copy.flush()?;
    copy.finish()?;
    Ok(())
}

/// How many rows each source must have at least.
pub fn least(client: &mut Client, path: &Path, demand: Demand) -> Result<BTreeMap<String, u64>> {
    load(client, path, demand)?;
    client
        .query(
            "select source, sum(least)::bigint from ledger group by 1",
            &[],
        )?
        .iter()
        .map(|row| {
            let least: i64 = row.try_get(1)?;
            Ok((row.try_get(0)?, u64::try_from(least)?))
        })
        .collect()
}

/// COPY's text format: the only escape that JSON lines need is the backslash's.
struct Escaped<R> {
    inner: R,
    buffer: Vec<u8>,
    pending: Vec<u8>,
}

impl<R: Read> Escaped<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; 1 << 16],
            pending: Vec::new(),
        }
    }
}

impl<R: Read> Read for Escaped<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.pending.is_empty() {
            let length = self.inner.read(&mut self.buffer)?;
            for &byte in self.buffer.iter().take(length) {
                if byte == b'\\' {
                    self.pending.push(b'\\');
                }
                self.pending.push(byte);
            }
        }
        let taken = self.pending.len().min(out.len());
        for (to, from) in out.iter_mut().zip(self.pending.drain(..taken)) {
            *to = from;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_is_doubled_across_reads() {
        let mut text = String::new();
        let long = "a\\".repeat(70_000);
        Escaped::new(long.as_bytes())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "a\\\\".repeat(70_000));
    }
}
