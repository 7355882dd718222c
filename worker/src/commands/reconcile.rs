//! `tidings-worker reconcile SOURCE`: asks a provider how send requests stand of which events
//! may be missing, and closes the gaps.
//!
//! The summary is written to stdout, progress and failures to stderr. The command holds no
//! lease, and may run beside a worker that follows the stream.

use std::{
    cell::RefCell,
    collections::HashSet,
    io::{IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{check::quoted, schema::shown};
use crate::{
    dial::options::Dial,
    pipeline::{
        batcher::{Batcher, Pipeline},
        lane::Lane,
        queue::BatchLimits,
        settle::Told,
        store::Store,
    },
    postgres::{ConnectError, Connector},
    process::exit::{Code, Fatal},
    reconcile::{
        Asker, Books, Gap, Known, OfSource, Records, Report, Tally, Wanted, counted, reconcile,
    },
    settings::{Database, ReconcileArgs, place},
    sources::{queries::Queries, readers::wake_during, source::Source},
};

/// How long the answer to one request may wait for its commit.
const PATIENCE: Duration = Duration::from_secs(20);
/// Each answer is a batch of its own.
const BATCH: BatchLimits = BatchLimits {
    requests: 1,
    bytes: 1 << 20,
};
/// Time between two lines of progress that go to a file.
const REPORT: Duration = Duration::from_secs(10);

type Failed = (Code, String);

pub(crate) fn main(settings: &ReconcileArgs, database: Database) -> Code {
    let system = System::new();
    let done = system.block_on(run(settings, database));
    // The runtime is not dropped, because that would wait for a name lookup that hangs.
    std::mem::forget(system);
    done.unwrap_or_else(|(code, reason)| {
        note(&format!("tidings-worker: {reason}"));
        code
    })
}

/// Writes a line to stdout. If nobody reads it, the exit code still tells the result.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", shown(line));
}

/// Writes a line to stderr.
fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", shown(line));
}

async fn run(settings: &ReconcileArgs, database: Database) -> Result<Code, Failed> {
    let place = place(&database);
    let connector = Connector::new(database, &settings.database);
    let connector = connector.map_err(|error| (Code::Usage, error.to_string()))?;
    let session = connector.connect(|_| ()).await.map_err(|error| {
        let code = match error {
            ConnectError::Unreachable(_) => Code::Unavailable,
            ConnectError::Incompatible(_) => Code::Incompatible,
        };
        (code, format!("{place}: {error}"))
    })?;
    let unavailable = |reason: String| (Code::Unavailable, format!("{place}: {reason}"));
    let queries = Queries::new(session);
    let sources = queries.sources(None).await;
    let source = find(sources.map_err(unavailable)?, &settings.source)?;
    let connector = Arc::new(connector);
    let books = Arc::new(Books::new(connector.clone()));
    let mut records = OfSource::new(books, source.name.clone());
    let question = match source.question() {
        Ok(question) => question,
        Err(reason) => {
            let open = records.gaps().await.map_err(unavailable)?;
            return Err((Code::Unaskable, unaskable(&source.name, &reason, &open)));
        }
    };
    let wanted = Wanted {
        named: settings.requests.clone(),
        since: settings.since,
        closes: true,
    };
    if settings.dry_run {
        let listed = list(&mut records, &wanted).await;
        return listed.map(|()| Code::Clean).map_err(unavailable);
    }
    let name = &source.name;
    if !source.enabled {
        let reason = format!(
            "source {name} is disabled, so that no answer would be stored: enable it by `select \
             tidings.set_source_enabled('{}', true)`",
            quoted(name)
        );
        return Err((Code::Findings, reason));
    }
    let dial = Dial::new(&source.provider, &source.options);
    let dial = dial.map_err(|reason| (Code::Findings, format!("source {name}: {reason}")))?;
    let total = records.count(settings.since).await.map_err(unavailable)?;
    let progress = RefCell::new(Progress::new(total + wanted.named.len() as u64));
    let mut asker = Asker::new(name.clone(), dial, question);
    let told = Told::new();
    let stored = told.stored.clone();
    let pipeline = pipeline(connector, told);
    let mut known = Known::default();
    let mut heard = |tally: &Tally| progress.borrow_mut().heard(*tally);
    let asking = reconcile(
        name,
        &mut asker,
        &mut records,
        &pipeline,
        &wanted,
        &mut known,
        &mut heard,
    );
    let interrupted = interrupted()
        .map_err(|error| (Code::System, format!("signals cannot be handled: {error}")))?;
    let asking = async {
        tokio::select! {
            report = asking => Some(report),
            () = interrupted => None,
        }
    };
    let report = wake_during(stored, &queries, asking).await;
    let tally = progress.into_inner().end();
    Ok(match report {
        Some(report) => conclude(name, &report),
        None => {
            say(&tally.line());
            note("interrupted; no gap was closed. Run the command again to ask about the rest");
            Code::Findings
        }
    })
}

/// Resolves at SIGINT or SIGTERM.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn pipeline(connector: Arc<Connector>, told: Told) -> Pipeline {
    let (fatal, _) = Fatal::channel();
    let lane = Lane::new(connector, fatal.clone());
    let taking = told.taking.clone();
    let lane = Store::new(lane, told, fatal.vital("the connection")).start();
    let lanes = vec![lane.into()];
    let vital = fatal.vital("the batcher");
    let thread = Arbiter::current();
    Batcher::spawn(BATCH, lanes, PATIENCE, taking, vital, &thread)
}

fn find(sources: Vec<Source>, name: &str) -> Result<Source, Failed> {
    let askable = sources.iter().filter(|source| source.question().is_ok());
    let askable: Vec<String> = askable.map(|source| source.name.to_string()).collect();
    let advice = match askable.as_slice() {
        [] => "there is none whose provider can be asked".to_owned(),
        some => format!("those whose provider can be asked: {}", some.join(", ")),
    };
    let found = sources.into_iter().find(|source| *source.name == *name);
    found.ok_or_else(|| (Code::Usage, format!("there is no source {name}; {advice}")))
}

/// Why nothing can be asked, and what to do about the gaps.
fn unaskable(source: &str, reason: &str, open: &[Gap]) -> String {
    let advice = match open {
        [] => "it has no open gap".to_owned(),
        open => format!(
            "close {} by hand when you have looked after {}: select tidings.close_gap(id, 'what was found')",
            listed(open),
            if open.len() == 1 { "it" } else { "them" }
        ),
    };
    format!("source {source}: {reason}; {advice}")
}

/// `gap 17 (cursor_expired)`, `gaps 17 (cursor_expired), 18 (moved_by_hand)`
fn listed(gaps: &[Gap]) -> String {
    let plural = if gaps.len() == 1 { "gap" } else { "gaps" };
    let gaps = gaps.iter().map(|gap| format!("{} ({})", gap.id, gap.cause));
    format!("{plural} {}", gaps.collect::<Vec<_>>().join(", "))
}

/// Prints what would be asked.
async fn list(records: &mut OfSource, wanted: &Wanted) -> Result<(), String> {
    let open = records.gaps().await?;
    let mut named = HashSet::new();
    for id in &wanted.named {
        if named.insert(id.as_str()) {
            say(&format!("{id}: named"));
        }
    }
    let mut count = named.len() as u64;
    let mut after: Option<String> = None;
    loop {
        let page = records.page(wanted.since, after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for listed in page.iter().filter(|it| !named.contains(it.id.as_str())) {
            count += 1;
            say(&format!(
                "{}: {} recipients with a final status, {} without",
                listed.id, listed.finals, listed.unfinished
            ));
        }
    }
    let gaps = match open.as_slice() {
        [] => "no gap is open".to_owned(),
        open => format!("open: {}", listed(open)),
    };
    say(&format!(
        "{} to ask about; {gaps}",
        counted(count, "request")
    ));
    Ok(())
}

/// Prints the summary, and what is left to do.
fn conclude(source: &str, report: &Report) -> Code {
    say(&report.tally.line());
    if !report.closed.is_empty() {
        say(&format!("closed {}", listed(&report.closed)));
    }
    if report.closed.iter().any(Gap::may_hide_requests) {
        say(
            "send requests of which no event has arrived are not known here: name them by --request",
        );
    }
    for (id, reason) in &report.reasons {
        note(&format!("request {id}: {reason}"));
    }
    let left = report
        .tally
        .failed
        .saturating_sub(report.reasons.len() as u64);
    if left > 0 && !report.reasons.is_empty() {
        note(&format!("and {} more", counted(left, "request")));
    }
    let reason = match &report.given_up {
        Some(reason) => reason.clone(),
        None if !report.is_complete() => {
            format!("{} not answered", counted(report.tally.failed, "request"))
        }
        None if report.open.is_empty() => return Code::Clean,
        None => "a gap was reported again meanwhile".to_owned(),
    };
    let open = match report.open.as_slice() {
        [] => String::new(),
        open => format!("; still open: {}", listed(open)),
    };
    note(&format!(
        "tidings-worker: source {source}: {reason}{open}. Run the command again when that is fixed"
    ));
    Code::Findings
}

/// Progress on stderr: a bar on a terminal, and otherwise a line now and then.
struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    tally: Tally,
    said: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = "{bar:30} {pos} of {len} requests, {msg}, {eta} left";
            // The template is a constant, and without it there is a plainer bar.
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            total,
            tally: Tally::default(),
            said: Instant::now(),
        }
    }

    fn heard(&mut self, tally: Tally) {
        self.tally = tally;
        // The list may have grown.
        self.total = self.total.max(tally.asked);
        let recovered = counted(tally.recovered, "recipient");
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.total);
                bar.set_message(format!("{recovered} recovered"));
                bar.set_position(tally.asked);
            }
            None if self.said.elapsed() >= REPORT => {
                self.said = Instant::now();
                let (asked, total) = (tally.asked, self.total);
                note(&format!(
                    "{asked} of {total} requests asked, {recovered} recovered"
                ));
            }
            None => {}
        }
    }

    /// Takes the bar off the terminal.
    fn end(self) -> Tally {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(id: i64, cause: &str) -> Gap {
        Gap::found(id, cause)
    }

    #[test]
    fn what_cannot_be_asked_is_closed_by_hand() {
        let two = [gap(1, "cursor_expired"), gap(2, "moved_by_hand")];
        assert_eq!(
            unaskable("m", "no", &two),
            "source m: no; close gaps 1 (cursor_expired), 2 (moved_by_hand) by hand when you have \
             looked after them: select tidings.close_gap(id, 'what was found')"
        );
        assert!(unaskable("m", "no", &two[..1]).contains("close gap 1 (cursor_expired) by hand"));
        assert!(unaskable("m", "no", &[]).ends_with("it has no open gap"));
    }

    #[test]
    fn the_exit_code_says_whether_something_is_left() {
        let report = Report::default;
        assert_eq!(conclude("chat", &report()), Code::Clean);
        let closed = Report {
            closed: vec![gap(1, "started_at_live_edge")],
            ..report()
        };
        assert_eq!(conclude("chat", &closed), Code::Clean);
        let failed = Tally {
            asked: 2,
            failed: 1,
            ..Tally::default()
        };
        for left in [
            Report {
                given_up: Some("refused".to_owned()),
                ..report()
            },
            Report {
                tally: failed,
                ..report()
            },
            Report {
                open: vec![gap(1, "cursor_expired")],
                ..report()
            },
        ] {
            assert_eq!(conclude("chat", &left), Code::Findings, "{left:?}");
        }
    }

    #[test]
    fn progress_keeps_the_last_counts_and_a_list_may_grow() {
        let mut progress = Progress::new(1);
        for asked in 1..=3 {
            progress.heard(Tally {
                asked,
                ..Tally::default()
            });
        }
        assert_eq!(progress.total, 3);
        assert_eq!(progress.end().asked, 3);
    }
}
