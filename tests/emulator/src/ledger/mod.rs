//! The ledger: what was put on the wire, how often, and what was acknowledged.
//!
//! - An event is numbered by its place in its source's book, in the order in which it
//!   was drawn.
//! - `emit` comes before the first byte, `acknowledge` after the answer: a ledger
//!   written at any moment never claims too few emissions nor too many answers.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

mod line;

pub(crate) use line::Line;

/// A distinct event, as its provider's module opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What finds the event's row.
    pub(crate) key: String,
    /// How many rows it should become.
    pub(crate) copies: u32,
    /// It has no identity: each receipt is a row.
    pub(crate) timeless: bool,
}

impl Entry {
    pub(crate) fn once(key: String) -> Self {
        Self {
            key,
            copies: 1,
            timeless: false,
        }
    }
}

/// Why an event is put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// The first time, or again although it was answered.
    Own,
    /// Again, for want of a positive answer.
    Retry,
}

/// A source's totals, as progress shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) emitted: u64,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) retried: u64,
    /// Answered as if they were not genuine.
    pub(crate) refused: u64,
}

#[derive(Debug)]
struct Row {
    entry: Entry,
    emissions: u32,
    acknowledged: u32,
}

#[derive(Debug, Default)]
struct Pages {
    rows: Vec<Row>,
    counts: Counts,
}

/// One source's part of the ledger.
#[derive(Debug)]
pub(crate) struct Book {
    source: String,
    pages: Mutex<Pages>,
}

impl Book {
    pub(crate) fn new(source: &str) -> Arc<Self> {
        Arc::new(Self {
            source: source.to_owned(),
            pages: Mutex::default(),
        })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Enters events that were drawn; the first one ever has number 0.
    pub(crate) fn open(&self, entries: Vec<Entry>) {
        let rows = entries.into_iter().map(|entry| Row {
            entry,
            emissions: 0,
            acknowledged: 0,
        });
        self.pages().rows.extend(rows);
    }

    /// These are about to be put on the wire.
    pub(crate) fn emit(&self, numbers: &[u32], sending: Sending) {
        let mut pages = self.pages();
        let Pages { rows, counts } = &mut *pages;
        for &number in numbers {
            let Some(row) = place(rows, number) else {
                continue;
            };
            counts.emitted += u64::from(row.emissions == 0);
            counts.sent += 1;
            counts.retried += u64::from(sending == Sending::Retry);
            row.emissions += 1;
        }
    }

    /// Takes back an `emit` of which no byte reached the wire.
    pub(crate) fn withdraw(&self, numbers: &[u32], sending: Sending) {
        let mut pages = self.pages();
        let Pages { rows, counts } = &mut *pages;
        for &number in numbers {
            let Some(row) = place(rows, number) else {
                continue;
            };
            row.emissions = row.emissions.saturating_sub(1);
            counts.emitted -= u64::from(row.emissions == 0);
            counts.sent -= 1;
            counts.retried -= u64::from(sending == Sending::Retry);
        }
    }

    /// These had a positive answer.
    pub(crate) fn acknowledge(&self, numbers: &[u32]) {
        let mut pages = self.pages();
        let Pages { rows, counts } = &mut *pages;
        for &number in numbers {
            let Some(row) = place(rows, number) else {
                continue;
            };
            counts.acknowledged += u64::from(row.acknowledged == 0);
            row.acknowledged += 1;
        }
    }

    /// These events need not be stored, whatever was acknowledged.
    pub(crate) fn absolve(&self, numbers: &[u32]) {
        let mut pages = self.pages();
        let Pages { rows, counts } = &mut *pages;
        for &number in numbers {
            let Some(row) = place(rows, number) else {
                continue;
            };
            counts.acknowledged -= u64::from(row.acknowledged > 0);
            row.acknowledged = 0;
        }
    }

    /// These were taken for what they are not.
    pub(crate) fn refuse(&self, numbers: &[u32]) {
        let refused = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        self.pages().counts.refused += refused;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.pages().counts
    }

    /// What the ledger says of this source. Events without an identity may share a key:
    /// they share a line, too.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let pages = self.pages();
        let emitted = pages.rows.iter().filter(|row| row.emissions > 0);
        line::merge(emitted.map(|row| Line {
            source: self.source.clone(),
            key: row.entry.key.clone(),
            copies: row.entry.copies,
            emissions: row.emissions,
            acknowledged: row.acknowledged,
            timeless: row.entry.timeless,
        }))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(rows: &mut [Row], number: u32) -> Option<&mut Row> {
    rows.get_mut(usize::try_from(number).ok()?)
}

/// Writes the ledger.
pub(crate) fn write(path: &Path, books: &[Arc<Book>]) -> io::Result<()> {
    write_lines(path, books.iter().flat_map(|book| book.lines()))
}

/// Writes the file as a whole: a reader sees the old one or the new one, never a part.
pub(crate) fn write_lines<T: Serialize>(
    path: &Path,
    lines: impl Iterator<Item = T>,
) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = BufWriter::new(File::create(&partial)?);
    for line in lines {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(partial, path)
}

#[cfg(test)]
mod tests;
