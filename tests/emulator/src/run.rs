//! The process: who listens, what starts, and when it is over.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use self::players::{Cast, Player};
use crate::{
    args::Run,
    console::Console,
    ledger::{self, Book},
    mix::{Provider, share_out},
    ppoppo::{Endings, Log, Service, serve},
    progress,
    stdin::Gate,
};

mod players;

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
    let listener = TcpListener::bind(settings.ppoppo_listen)
        .await
        .with_context(|| format!("cannot listen on {}", settings.ppoppo_listen))?;
    let (console, output_gone) = Console::start(std::io::stdout(), books.to_vec());
    console
        .say(progress::listening(listener.local_addr()?))
        .await?;
    let ppoppo = players
        .iter()
        .find(|player| player.provider == Provider::Ppoppo);
    let events = ppoppo.map_or(0, |player| player.events);
    // Without events it is served all the same, from an empty log.
    let book = ppoppo.map_or_else(|| Book::new("ppoppo"), |player| Arc::clone(&player.book));
    let log = Log::new(book);
    let endings = Endings::new(settings.seed, events);
    let service = Service::new(Arc::clone(&log), endings, &settings.sources.ppoppo_token);
    let cast = Cast { settings, log };
    tokio::select! {
        ended = perform(&cast, players, books, &console) => ended,
        served = serve(listener, service) => served.context("the Ppoppo server failed"),
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
    let mut gate = Gate::open();
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
    console.say(progress::done()).await?;
    gate.closed().await;
    Ok(())
}
