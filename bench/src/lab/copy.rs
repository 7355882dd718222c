//! COPY BINARY of finished rows, in transactions of so many.

use super::tables::columns;
use anyhow::{Context as _, Result, ensure};
use postgres::{Client, Transaction};
use std::io::{Read as _, Write as _};

/// Signature, flags and the length of an empty extension.
const HEADER: usize = 19;
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Rows of a table, as COPY BINARY writes them, each part complete.
#[derive(Debug)]
pub(crate) struct Parts {
    copy: String,
    parts: Vec<Vec<u8>>,
}

impl Parts {
    /// Reads a table in an order, for a copy of it.
    pub(crate) fn read(
        client: &mut Client,
        from: &str,
        order: &str,
        into: &str,
        rows: usize,
    ) -> Result<Self> {
        let columns = columns(client, from)?;
        let mut bytes = Vec::new();
        client
            .copy_out(&format!(
                "copy (select {columns} from {from} order by {order}) to stdout (format binary)"
            ))?
            .read_to_end(&mut bytes)?;
        Ok(Self {
            copy: format!("copy {into} ({columns}) from stdin (format binary)"),
            parts: split(&bytes, rows).context("COPY BINARY is not as documented")?,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Copies a part, within the transaction.
    pub(crate) fn write(&self, transaction: &mut Transaction<'_>, part: usize) -> Result<u64> {
        let bytes = self.parts.get(part).context("no such part")?;
        let mut writer = transaction.copy_in(&self.copy)?;
        writer.write_all(bytes)?;
        let rows = writer.finish()?;
        ensure!(rows > 0, "a part without rows");
        Ok(rows)
    }
}

/// Cuts it into parts of so many rows.
fn split(bytes: &[u8], rows: usize) -> Option<Vec<Vec<u8>>> {
    let header = bytes.get(..HEADER)?;
    let mut parts = Vec::new();
    let (mut at, mut from, mut in_part) = (HEADER, HEADER, 0);
    loop {
        let fields = i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
        if in_part == rows || fields < 0 && in_part > 0 {
            parts.push([header, bytes.get(from..at)?, &TRAILER].concat());
            (from, in_part) = (at, 0);
        }
        if fields < 0 {
            return Some(parts);
        }
        at += 2;
        for _ in 0..fields {
            let length = i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
            // A null has the length -1 and no bytes.
            at += 4 + usize::try_from(length.max(0)).ok()?;
        }
        in_part += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_cut_between_rows() {
        let row = |byte: u8| [&[0, 2, 0, 0, 0, 1, byte][..], &[255, 255, 255, 255]].concat();
        let mut bytes = vec![b'h'; HEADER];
        for byte in 0..5 {
            bytes.extend(row(byte));
        }
        bytes.extend(TRAILER);
        let parts = split(&bytes, 2).unwrap();
        let part = |rows: &[Vec<u8>]| [&[b'h'; HEADER][..], &rows.concat(), &TRAILER].concat();
        assert_eq!(
            parts,
            [
                part(&[row(0), row(1)]),
                part(&[row(2), row(3)]),
                part(&[row(4)])
            ]
        );
        assert_eq!(split(&bytes[..30], 2), None);
    }
}
