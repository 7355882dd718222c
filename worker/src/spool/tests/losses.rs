//! What the spool reports as lost, and that it reports nothing else.

use std::fs;

use tidings_spool::{file::FILE, set_aside};

use super::*;
use crate::{
    admission::directory::fake::{snapshot, source},
    gaps::{Gaps, Report},
};

fn with(folder: &Path, gaps: &Gaps) -> Spool {
    once_free(|| Spool::open(folder, Mode::Create, LIMIT, gaps.clone(), None)).unwrap()
}

/// Source, what happened, requests.
fn told(gaps: &Gaps) -> Vec<(String, String, u64)> {
    let told = |report: Report| (report.key.source, report.key.what, report.extent.requests);
    gaps.waiting().into_iter().map(told).collect()
}

fn of(source: &str, what: &str, requests: u64) -> (String, String, u64) {
    (source.to_owned(), what.to_owned(), requests)
}

async fn keep(spool: &Spool, sources: &[&str]) {
    for source in sources {
        spool.keep(fake::request(source, "body")).await.unwrap();
    }
}

/// The reports that wait. The folder is held until they can be written to it.
fn let_go(gaps: Gaps) -> Vec<Report> {
    gaps.waiting()
}

/// A keeper lets go some time after its spool was dropped.
fn once_let_go(folder: &Path) {
    drop(open_file(folder, Mode::Existing).unwrap());
}

#[tokio::test]
async fn a_file_that_is_missing_is_a_gap_of_each_source_that_had_requests_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    keep(&spool, &["gone", "sms", "sms", "mail"]).await;
    spool.delete(vec![0]).await.unwrap();
    drop(spool);
    once_let_go(folder.path());
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let gaps = Gaps::open(Some(folder.path()));
    let what = "the spool's file is missing";
    let spool = with(folder.path(), &gaps);
    assert_eq!(told(&gaps), [of("mail", what, 0), of("sms", what, 0)]);
    let [mail, _] = gaps.waiting().try_into().unwrap();
    assert!(mail.extent.from.is_some_and(|from| from <= mail.extent.to));
    assert!(mail.detail.contains(FILE), "{}", mail.detail);
    // They wait on the disk, and once is enough.
    drop(spool);
    let waiting = let_go(gaps);
    let later = Gaps::open(Some(folder.path()));
    let _spool = with(folder.path(), &later);
    assert_eq!(later.waiting(), waiting);
}

#[tokio::test]
async fn a_file_that_was_empty_may_go() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    keep(&spool, &["sms"]).await;
    spool.delete(vec![0]).await.unwrap();
    drop(spool);
    once_let_go(folder.path());
    fs::remove_file(folder.path().join(FILE)).unwrap();
    let gaps = Gaps::open(Some(folder.path()));
    drop(with(folder.path(), &gaps));
    assert_eq!(gaps.len(), 0);
}

#[tokio::test]
async fn damage_is_a_gap_of_the_source_that_it_names_or_of_all_that_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    let sources = [source("sms", "arpoone"), source("mail", "arpoone")];
    learn(&spool, &snapshot(&sources)).await;
    keep(&spool, &["mail"]).await;
    drop(spool);
    put_damaged(folder.path(), 1..3, "sms");
    put_damaged(folder.path(), 3..4, "garbage");
    let gaps = Gaps::default();
    let spool = with(folder.path(), &gaps);
    let nameless = "damaged in the spool, of a source that cannot be read";
    let expected = [
        of("mail", nameless, 1),
        of("sms", "damaged in the spool", 2),
        of("sms", nameless, 1),
    ];
    assert_eq!(told(&gaps), expected);
    // The next start finds the same, which Postgres recognizes by the detail.
    drop(spool);
    let again = Gaps::default();
    let _spool = with(folder.path(), &again);
    assert_eq!(again.waiting(), gaps.waiting());
}

#[tokio::test]
async fn what_is_set_aside_is_counted_by_source() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    keep(&spool, &["sms", "sms", "mail"]).await;
    let held = set_aside(folder.path(), "x").unwrap_err();
    assert!(matches!(held, SpoolError::Held(_)), "{held}");
    drop(spool);
    let aside = once_free(|| set_aside(folder.path(), "x")).unwrap();
    let gaps = Gaps::open(Some(folder.path()));
    let mut losses = Losses::noted(&aside.folder, gaps.clone());
    losses.file_is_set_aside(&aside.path, aside.content.clone());
    let what = "the spool was set aside";
    assert_eq!(told(&gaps), [of("mail", what, 1), of("sms", what, 2)]);
    assert!(aside.path.exists());
    drop((aside, losses));
    let waiting = let_go(gaps);
    // The next start finds a folder without a file, and nothing more to report.
    let later = Gaps::open(Some(folder.path()));
    drop(with(folder.path(), &later));
    assert_eq!(later.waiting(), waiting);
    let absent = tempfile::tempdir().unwrap();
    let absent = set_aside(absent.path(), "x").unwrap_err();
    assert!(matches!(absent, SpoolError::Absent(_)), "{absent}");
}

#[tokio::test]
async fn a_damaged_file_that_is_set_aside_is_a_gap_of_those_that_were_noted() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), LIMIT).unwrap();
    keep(&spool, &["sms", "mail"]).await;
    drop(spool);
    once_let_go(folder.path());
    fs::write(folder.path().join(FILE), "garbage").unwrap();
    let aside = set_aside(folder.path(), "x").unwrap();
    assert_eq!(aside.content, None);
    let gaps = Gaps::open(Some(folder.path()));
    let mut losses = Losses::noted(&aside.folder, gaps.clone());
    losses.file_is_set_aside(&aside.path, None);
    let sources: Vec<_> = told(&gaps).into_iter().map(|(source, ..)| source).collect();
    assert_eq!(sources, ["mail", "sms"]);
    assert!(gaps.waiting().iter().all(|gap| gap.extent.from.is_some()));
}
