//! `tidings-worker spool set-aside`: moves the file away, and reports what was in it.

use std::path::Path;

use super::{Done, counted, say};
use crate::{
    gaps::{Gaps, reporter::Reporter},
    postgres::Connector,
    process::exit::Code,
    settings::{Database, DatabaseArgs, SpoolSetAsideArgs, place},
    sources::queries::Queries,
    spool::losses::Losses,
};

/// The file is moved first, because Postgres may be away. What was in it is noted in the
/// folder until Postgres has it.
pub(super) async fn set_aside(args: &SpoolSetAsideArgs, database: Database) -> Done {
    let folder = args.spool_dir.as_path();
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = tidings_spool::set_aside(folder, &time.to_string());
    let aside = aside.map_err(|error| (Code::Spool, error.to_string()))?;
    let content = aside.content.as_ref().map(|content| {
        let sources = content.sources.values().map(|part| part.requests);
        counted(sources.sum::<u64>() + content.nameless.requests)
    });
    let content = content.unwrap_or("damaged, so that it cannot be read".to_owned());
    say(&format!("moved to {}: {content}", aside.path.display()));
    let gaps = Gaps::open(Some(folder));
    let mut losses = Losses::noted(&aside.folder, gaps.clone());
    losses.file_is_set_aside(&aside.path, aside.content);
    report(&gaps, folder, &args.database, database).await;
    Ok(Code::Clean)
}

async fn report(gaps: &Gaps, folder: &Path, args: &DatabaseArgs, database: Database) {
    let count = gaps.len();
    if count == 0 {
        return;
    }
    let place = place(&database);
    match written(gaps, args, database).await {
        Ok(()) => say(&format!("{} reported to {place}", many(count))),
        Err(reason) => say(&format!(
            "{} not reported yet, because {place}: {reason}; the worker of {} reports what \
             is left when it starts",
            many(count),
            folder.display()
        )),
    }
    gaps.save();
}

fn many(gaps: usize) -> String {
    match gaps {
        1 => "1 gap".to_owned(),
        _ => format!("{gaps} gaps"),
    }
}

async fn written(gaps: &Gaps, args: &DatabaseArgs, database: Database) -> Result<(), String> {
    let connector = Connector::new(database, args).map_err(|error| error.to_string())?;
    let session = connector.connect(|_| ()).await;
    let queries = Queries::new(session.map_err(|error| error.to_string())?);
    if queries.sources(None).await?.is_empty() {
        return Err("it lists no source".to_owned());
    }
    let mut reporter = Reporter::new(gaps.clone(), queries);
    reporter.round().await.map_err(|error| error.to_string())
}
