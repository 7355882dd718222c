//! How large the file becomes, and that it becomes small again.

use std::os::unix::fs::MetadataExt;

use super::*;

/// Fills the spool with requests of two sources, because each may use half of it.
async fn fill(spool: &Spool, body: usize) -> u64 {
    let body = "x".repeat(body);
    for source in ["a", "b"] {
        loop {
            let puts = (0..64).map(|_| spool.keep(fake::request(source, &body)));
            let answers = futures_util::future::join_all(puts).await;
            if answers.contains(&Err(Unspooled::Full)) {
                break;
            }
        }
    }
    spool.depth().bytes
}

/// Its length, and what it takes on the disk: what was never written is a hole.
fn size(folder: &Path) -> (u64, u64) {
    let file = std::fs::metadata(folder.join("requests.redb")).unwrap();
    (file.len(), file.blocks() * 512)
}

async fn delete(spool: &Spool, keys: std::ops::Range<u64>) {
    let keys: Vec<u64> = keys.collect();
    for keys in keys.chunks(500) {
        spool.delete(keys.to_vec()).await.unwrap();
    }
}

/// Bodies just beyond a page waste most; what the manual says must hold of them.
#[tokio::test]
async fn a_full_spool_takes_at_most_so_many_times_its_bound() {
    const BOUND: u64 = 9 << 20;
    for body in [300, 2_100, 4_200, 33_000, 1_060_000] {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path(), BOUND).unwrap();
        let bytes = fill(&spool, body).await;
        assert!(bytes > BOUND - (3 << 20), "{bytes} of bodies of {body}");
        let (length, taken) = size(folder.path());
        println!(
            "{body:>8} {:.2} {:.2}",
            length as f64 / BOUND as f64,
            taken as f64 / BOUND as f64
        );
        assert!(length <= 4 * BOUND, "{length} with bodies of {body}");
        assert!(
            taken <= BOUND * 5 / 2,
            "{taken} on the disk with bodies of {body}"
        );
    }
}

#[tokio::test]
async fn room_is_used_again_and_given_back_when_nothing_is_left() {
    const BOUND: u64 = 18 << 20;
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path(), BOUND).unwrap();
    fill(&spool, 4_200).await;
    for _ in 0..3 {
        // One stays, as those of a disabled source do.
        let next = spool.depth().next;
        delete(&spool, 1..next).await;
        assert_eq!(spool.depth().requests, 1);
        fill(&spool, 4_200).await;
        // Four fills, and no more room than one may take.
        let (again, _) = size(folder.path());
        assert!(
            again <= 4 * BOUND,
            "{again} of the {BOUND} that may lie there"
        );
    }
    delete(&spool, 0..spool.depth().next).await;
    let (empty, _) = size(folder.path());
    assert!(empty < 1 << 20, "{empty} bytes of nothing");
    spool.keep(fake::request("a", "again")).await.unwrap();
    drop(spool);
    assert_eq!(bodies(&reopen(folder.path())).await, ["again"]);
}
