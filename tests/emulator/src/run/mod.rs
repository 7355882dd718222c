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
    let books: Vec<Arc<Book>> = players
        .iter()
        .map(|player| Arc::clone(&player.book))
        .collect();
    // Empty, and at once: a ledger that cannot be written must not be found out later.
    write_ledger(&settings.ledger, &books)?;
    let ended = tokio::select! {
        ended = play(&settings, players, &books) => ended,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    write_ledger(&settings.ledger, &books)?;
    ended
}

fn write_ledger(path: &Path, books: &[Arc<Book>]) -> Result<()> {
    ledger::write(path, books)
        .with_context(|| format!("cannot write the ledger {}", path.display()))
}

async fn play(settings: &Run, players: Vec<Player>, books: &[Arc<Book>]) -> Result<()> {
    let faults = Faults::new(&settings.faults, &settings.only);
    let server = Server::open(settings, &players, &faults).await?;
    let (console, output_gone) = Console::start(std::io::stdout(), books.to_vec());
    console
        .say(progress::listening(
            server.address()?,
            server.oauth_address()?,
        ))
        .await?;
    let cast = Cast {
        settings,
        log: server.log(),
        faults,
        stop: Stop::default(),
    };
    tokio::select! {
        ended = perform(&cast, players, books, &console) => ended,
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
    books: &[Arc<Book>],
    console: &Console,
) -> Result<()> {
    let mut gate = Gate::open(cast.stop.clone());
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
    write_ledger(&cast.settings.ledger, books)?;
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
