//! Two applications that follow the log, each by one URL that names both servers, and
//! take up a lost connection where it ended.

use anyhow::Result;
use postgres::{Client, NoTls};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const MOST: i32 = 500;

#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) url: &'a str,
    /// Nothing is written any more.
    pub(super) written: &'a AtomicBool,
    /// So many of them have had a connection.
    pub(super) connected: &'a AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) ids: Vec<String>,
    /// So many connections it took.
    pub(super) sessions: usize,
}

/// Reads `events_after`, and keeps the cursor itself.
pub(super) fn follow(reader: Reader<'_>) -> Result<Followed> {
    let mut ids: Vec<String> = Vec::new();
    let sessions = reader.until_the_end(|client| {
        let rows = client.query(
            "select id::text from tidings.events_after($1::text::tidings.ulid, $2)",
            &[&ids.last(), &MOST],
        )?;
        for row in &rows {
            ids.push(row.try_get(0)?);
        }
        Ok(rows.len())
    })?;
    Ok(Followed { ids, sessions })
}

/// Polls a consumer, and commits the effect of its events with their acknowledgement.
pub(super) fn consume(reader: Reader<'_>) -> Result<usize> {
    reader.until_the_end(|client| {
        let mut open = client.transaction()?;
        let rows = open.query(
            "insert into effect (id)
             select id from tidings.poll('application', $1) order by id returning id::text",
            &[&MOST],
        )?;
        if let Some(last) = rows.last() {
            let last: String = last.try_get(0)?;
            open.execute(
                "select tidings.ack('application', $1::text::tidings.ulid)",
                &[&last],
            )?;
        }
        open.commit()?;
        Ok(rows.len())
    })
}

impl Reader<'_> {
    /// Takes turns, on a new connection after each failure; returns how many connections
    /// it took.
    fn until_the_end(
        self,
        mut turn: impl FnMut(&mut Client) -> Result<usize, postgres::Error>,
    ) -> Result<usize> {
        let mut sessions = 0;
        let mut client: Option<Client> = None;
        loop {
            // Asked before reading: what comes after is read by the next turn.
            let last_turn = self.written.load(Ordering::SeqCst);
            let mut connected = match client.take() {
                Some(client) => client,
                None => match Client::connect(self.url, NoTls) {
                    Ok(client) => {
                        sessions += 1;
                        if sessions == 1 {
                            self.connected.fetch_add(1, Ordering::SeqCst);
                        }
                        client
                    }
                    // Where nothing takes writes any more, the test's error says so.
                    Err(error) if last_turn => return Err(error.into()),
                    Err(_) => {
                        thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                },
            };
            match turn(&mut connected) {
                Ok(0) if last_turn => return Ok(sessions),
                Ok(read) => {
                    if read == 0 {
                        thread::sleep(Duration::from_millis(5));
                    }
                    client = Some(connected);
                }
                // Anything but the server's end is a fault.
                Err(error) if !connected.is_closed() => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}
