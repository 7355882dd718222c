//! The requests that Postgres does not accept although they were answered 200.

use super::*;

/// A source is added after another one, as when a database is created anew.
#[actix::test]
async fn what_is_of_an_unknown_source_stays_until_the_source_is_there() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["a", "b"]).await;
    let log = testing::Log::default();
    let _listening = log.listen();
    let asked = std::cell::Cell::new(0);
    let answer = move |requests: &[Request]| {
        asked.set(asked.get() + 1);
        let verdict = match asked.get() {
            ..30 => Verdict::UnknownSource,
            _ => Verdict::Accepted,
        };
        let receipts = requests.iter().map(|_| Ok(fake::receipt(verdict)));
        receipts.collect()
    };
    let (pipeline, _) = testing::pipeline_of_batches(answer, PATIENCE);
    let running = tokio::spawn(drain::run(spool.clone(), pipeline, there(), LIMITS));
    let mut depth = spool.depth.clone();
    depth.wait_for(|depth| depth.requests == 0).await.unwrap();
    running.abort();
    let _ = running.await;
    let text = log.text();
    assert!(text.contains("does not know the source"), "{text}");
    assert!(!text.contains("given up, because"), "{text}");
}

#[actix::test]
async fn what_is_of_a_source_that_was_dropped_is_given_up_after_a_day_with_a_warning() {
    tokio::time::pause();
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), &["unknown-1", "unknown-2"]).await;
    let log = testing::Log::default();
    let _listening = log.listen();
    let (pipeline, _) = testing::pipeline(as_told, PATIENCE);
    let began = Instant::now();
    let running = tokio::spawn(drain::run(spool.clone(), pipeline, there(), LIMITS));
    let mut depth = spool.depth.clone();
    depth.wait_for(|depth| depth.requests == 0).await.unwrap();
    assert!(began.elapsed() >= drain::GRACE, "{:?}", began.elapsed());
    running.abort();
    let _ = running.await;
    let text = log.text();
    let given_up = text
        .lines()
        .filter(|line| line.contains("given up, because"));
    let counts = given_up.filter_map(|line| {
        let count = line.split_once("source=\"s\" requests=")?.1;
        count.split(' ').next()?.parse::<u64>().ok()
    });
    assert_eq!(counts.sum::<u64>(), 2, "{text}");
}

/// A request that was answered 200 and is refused later is not refused in silence.
#[actix::test]
async fn what_is_refused_is_warned_of_once_with_its_source_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let requests = [&["a"][..], &["unauthorized"; 7], &["malformed"; 2]].concat();
    let spool = spool(folder.path(), &requests).await;
    spool
        .keep(fake::request("other", "unauthorized"))
        .await
        .unwrap();
    let log = testing::Log::default();
    let _listening = log.listen();
    let (pipeline, seen) = testing::pipeline(as_told, PATIENCE);
    assert_eq!(once(&spool, &pipeline, LIMITS).await, (11, 0, false));
    let text = log.text();
    let warned = |source: &str, word: &str| -> Vec<u64> {
        let of = format!("source=\"{source}\" requests=");
        let lines = text.lines().filter(|line| line.contains(word));
        let counts =
            lines.filter_map(|line| line.split_once(&of)?.1.split(' ').next()?.parse().ok());
        counts.collect()
    };
    for (source, word, requests) in [
        ("s", "rotate_secret", 7),
        ("s", "as malformed", 2),
        ("other", "rotate_secret", 1),
    ] {
        let counts = warned(source, word);
        assert_eq!(counts.iter().sum::<u64>(), requests, "{text}");
        // One at once, and one for the rest.
        assert!(counts.len() <= 2, "{text}");
    }
    // Postgres is told that they come through a spool of this size.
    for request in seen.lock().unwrap().iter() {
        let headers: serde_json::Value =
            serde_json::from_str(&request.headers.to_string()).unwrap();
        assert_eq!(headers["spooled"], LIMIT.to_string());
    }
}
