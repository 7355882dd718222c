//! A file that was cut or altered is recovered in whole or refused: what was acknowledged
//! never goes silently.

use super::*;

const REQUESTS: usize = 300;

/// A file with entries from several commits.
async fn filled(folder: &Path) -> Vec<u8> {
    let spool = open(folder, LIMIT).unwrap();
    for group in 0..10 {
        let puts = (0..REQUESTS / 10).map(|number| {
            let body = format!("{group}-{number}-{}", "x".repeat(300));
            spool.keep(fake::request("s", &body))
        });
        for put in futures_util::future::join_all(puts).await {
            put.unwrap();
        }
    }
    drop(spool);
    drop(reopen(folder));
    drop(open_file(folder, Mode::Existing).unwrap());
    std::fs::read(folder.join("requests.redb")).unwrap()
}

/// Everything or an error; says which.
fn whole(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::write(folder.join("requests.redb"), bytes).unwrap();
    match open_file(folder, Mode::Create) {
        Ok(file) => {
            let mut seen = 0;
            file.scan(None, |_, bytes| {
                seen += usize::from(Entry::decode(bytes).is_some());
                true
            })
            .unwrap();
            assert_eq!(seen, REQUESTS, "some went silently");
            true
        }
        Err(error) => {
            let told = matches!(
                error,
                SpoolError::Damaged { .. } | SpoolError::Unusable { .. }
            );
            assert!(told, "{error}");
            false
        }
    }
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = filled(folder.path()).await;
    assert!(whole(folder.path(), &bytes));
    let mut refused = 0;
    for percent in 0..100 {
        let cut = bytes.len() * percent / 100;
        refused += usize::from(!whole(folder.path(), &bytes[..cut]));
    }
    assert!(refused > 50, "{refused}");
    assert!(
        !whole(folder.path(), b""),
        "an empty file is not a new spool"
    );
}

#[tokio::test]
async fn a_file_that_was_altered_is_refused_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = filled(folder.path()).await;
    let mut refused = 0;
    for step in 0..200 {
        let mut altered = bytes.clone();
        let at = bytes.len() * step / 200;
        for byte in altered.iter_mut().skip(at).take(64) {
            *byte ^= 0x5a;
        }
        refused += usize::from(!whole(folder.path(), &altered));
    }
    let mut tail = bytes.clone();
    let end = tail.len() - 64 * 1024;
    tail[end..].fill(0xa5);
    whole(folder.path(), &tail);
    assert!(refused > 0, "nothing that matters was altered");
    println!("{refused} of 200 alterations refused");
}
