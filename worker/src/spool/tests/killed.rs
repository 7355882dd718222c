//! SIGKILL in mid-write: what was acknowledged before is there afterwards.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::*;

const FOLDER: &str = "TIDINGS_TEST_SPOOL";
const ROUNDS: usize = 6;

/// The process that is killed: it prints what it was acknowledged.
async fn write_until_killed(folder: &Path) {
    let spool = reopen(folder);
    let round = spool.depth().requests;
    for number in 0.. {
        let puts = (0..8).map(|lane| {
            let id = format!("{round}-{number}-{lane}");
            let body = format!("{id} {}", "x".repeat(1_000));
            let put = spool.keep(fake::request("s", &body));
            async move { put.await.map(|()| id) }
        });
        for id in futures_util::future::join_all(puts).await {
            println!("acknowledged {}", id.unwrap());
        }
    }
}

/// Started anew by itself, with a folder, it is the process.
#[tokio::test]
async fn what_was_acknowledged_survives_sigkill() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_until_killed(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = HashSet::new();
    for round in 1..=ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("spool::tests::killed::what_was_acknowledged_survives_sigkill")
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let id = |line: &str| {
            line.split_once("acknowledged ")
                .map(|(_, id)| id.to_owned())
        };
        let before = acknowledged.len();
        while acknowledged.len() < before + 37 * round {
            acknowledged.extend(id(&lines.next().unwrap().unwrap()));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it was killed. The last line may be half a line.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        acknowledged.extend(rest.iter().take(whole).filter_map(|line| id(line)));

        let spool = reopen(folder.path());
        let kept: HashSet<String> = bodies(&spool)
            .await
            .iter()
            .map(|body| body.split(' ').next().unwrap().to_owned())
            .collect();
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?}");
        assert_eq!(kept.len() as u64, spool.depth().requests);
    }
}
