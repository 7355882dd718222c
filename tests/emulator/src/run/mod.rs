//! The process: who listens, what starts, and when it is over.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow, bail};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    players::{Cast, Player},
    server::Server,
};
use crate::{
    args::Run,
    console::Console,
    faults::Faults,
    ledger::{self, Book},
    mix::share_out,
    ppoppo::Requests,
    progress,
    stdin::{Gate, Stop},
};

mod players;
mod server;

/// Plays until the input ends or a signal comes, and leaves the ledger behind.
pub(crate) async fn run(settings: Run) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let players: Vec<Player> = share_out(settings.events, &settings.only)
        .into_iter()
        .map(|(provider, events)| Player::new(provider, events, &settings))
        .collect();
    let records = Records {
        books: players
            .iter()
            .map(|player| Arc::clone(&player.book))
            .collect(),
        requests: Arc::default(),
    };
    // Empty, and at once: a ledger that cannot be written must not be found out later.
    records.write(&settings)?;
    let ended = tokio::select! {
        ended = play(&settings, players, &records) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    records.write(&settings)?;
    ended
}

/// What the run leaves behind.
#[derive(Debug)]
struct Records {
    books: Vec<Arc<Book>>,
    requests: Arc<Requests>,
}

impl Records {
    fn write(&self, settings: &Run) -> Result<()> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        ledger::write(&settings.ledger, &self.books).with_context(|| cannot(&settings.ledger))?;
        if let Some(path) = &settings.requests {
            let outcomes = self.requests.outcomes(&settings.sources.ppoppo_name);
            ledger::write_lines(path, outcomes.into_iter()).with_context(|| cannot(path))?;
        }
        Ok(())
    }
}

async fn play(settings: &Run, players: Vec<Player>, records: &Records) -> Result<()> {
    let faults = Faults::new(&settings.faults, &settings.only);
    let server = Server::open(settings, &players, &faults, &records.requests).await?;
    let (console, output_gone) = Console::start(std::io::stdout(), records.books.clone());
    console
        .say(progress::listening(
            server.address()?,
            server.oauth_address()?,
        ))
        .await?;
    let cast = Cast {
        settings,
        events: server.events(),
        messages: server.messages(),
        requests: Arc::clone(&records.requests),
        faults,
        stop: Stop::default(),
        expiries: server.expiries(),
    };
    tokio::select! {
        ended = perform(&cast, players, records, &console) => ended,
        served = server.serve(settings.schema) => served.context("the Ppoppo server failed"),
        gone = output_gone => Err(gone.map_or_else(
            |_| anyhow!("standard output is gone"),
            |error| anyhow::Error::new(error).context("standard output is gone"),
        )),
    }
}

/// From the line that starts the run to the end of the input.
async fn perform(
    cast: &Cast<'_>,
    players: Vec<Player>,
    records: &Records,
    console: &Console,
) -> Result<()> {
    let mut gate = Gate::open(cast.stop.clone(), cast.expiries.clone());
    if !gate.started().await {
        return Ok(());
    }
    console.show_progress()?;
    let mut playing = FuturesUnordered::new();
    for player in players {
        playing.push(cast.play(player)?);
    }
    while let Some(played) = playing.next().await {
        played?;
    }
    records.write(cast.settings)?;
    if !cast.settings.faults.is_empty() {
        console.say(progress::faults(&cast.faults.counts())).await?;
        let missing = cast.faults.missing();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            bail!("asked for, but never happened: {missing}; play more events");
        }
    }
    console.say(progress::done()).await?;
    gate.closed().await;
    Ok(())
}
