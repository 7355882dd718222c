use super::*;
use crate::commands::check::findings::Word;

/// A busy server with the defaults of Postgres, whose settings fit all the same.
fn busy() -> Facts {
    Facts {
        shared_buffers: DEFAULT_BUFFERS,
        max_wal_size: 1 << 30,
        wal_of_a_checkpoint: 1 << 29,
        checkpoint_timeout: DEFAULT_TIMEOUT,
        checkpoint_timeout_shown: "5min".to_owned(),
        wal_compression: "off".to_owned(),
        has_lz4: true,
        synchronous_commit: "on".to_owned(),
        locks_per_transaction: 64,
        locks: 6_400,
        random_indexes: DEFAULT_BUFFERS,
        partitions: 8,
        locks_of_all: 32,
        wal: 20 * BUSY,
        whole_pages: 10 * BUSY,
        wal_since: "2026-11-01".to_owned(),
        wal_days: 20.0,
        is_shipped: true,
        by_time: 5_760,
        requested: 3,
        checkpoints_since: "2026-11-02".to_owned(),
    }
}

/// The settings for which there is advice.
fn advised(facts: &Facts) -> Vec<String> {
    let advice = advice(facts);
    assert!(advice.iter().all(|f| f.word == Word::Warn), "{advice:?}");
    advice.into_iter().map(|found| found.subject).collect()
}

#[track_caller]
fn expect(facts: &Facts, setting: &str, parts: &[&str]) {
    let advice = advice(facts);
    let [found] = advice.as_slice() else {
        panic!("one finding: {advice:?}");
    };
    assert_eq!(
        (found.word, found.subject.as_str()),
        (Word::Warn, setting),
        "{found:?}"
    );
    for part in parts.iter().chain(&[PAGE]) {
        assert!(
            found.text.contains(part),
            "{part:?} is not in {}",
            found.text
        );
    }
}

#[test]
fn nothing_is_said_of_what_fits() {
    assert_eq!(advised(&busy()), [""; 0]);
    assert_eq!(advised(&Facts::default()), [""; 0]);
}

#[test]
fn an_idle_server_gets_no_advice_on_wal_and_memory() {
    let needy = Facts {
        random_indexes: 1 << 40,
        whole_pages: 20 * BUSY,
        ..busy()
    };
    assert_eq!(advised(&needy), ["shared_buffers", "checkpoint_timeout"]);
    // The same WAL in a longer time, or too little WAL in a short time.
    let longer = Facts {
        wal_days: 20.1,
        ..needy.clone()
    };
    assert_eq!(advised(&longer), [""; 0]);
    let younger = Facts {
        wal: BUSY - 1,
        wal_days: 0.01,
        ..needy
    };
    assert_eq!(advised(&younger), [""; 0]);
}

#[test]
fn small_buffers_are_found_where_the_indexes_are_larger() {
    let large = Facts {
        random_indexes: DEFAULT_BUFFERS + 1,
        ..busy()
    };
    let parts = ["128 MB", "a quarter of the memory", "restart"];
    expect(&large, "shared_buffers", &parts);
    let chosen = Facts {
        shared_buffers: DEFAULT_BUFFERS + 1,
        random_indexes: 1 << 40,
        ..busy()
    };
    assert_eq!(advised(&chosen), [""; 0]);
}

#[test]
fn checkpoints_that_the_wal_forces_are_found() {
    let forced = Facts {
        by_time: 9,
        requested: 10,
        wal: 5 << 29,
        ..busy()
    };
    let parts = [
        "1 GB, and since 2026-11-02",
        "most of 10 requested checkpoints, while 9 started by time",
        "`alter system set max_wal_size = '4GB'; select pg_reload_conf()`",
        "longer recovery",
    ];
    expect(&forced, "max_wal_size", &parts);
    for (what, facts) in [
        (
            "as many by time",
            Facts {
                by_time: 10,
                ..forced.clone()
            },
        ),
        (
            "too few to tell",
            Facts {
                by_time: 0,
                requested: SEVERAL - 1,
                ..forced.clone()
            },
        ),
        (
            "by CHECKPOINT, without WAL",
            Facts {
                wal: (5 << 29) - 1,
                ..forced.clone()
            },
        ),
        (
            "before max_wal_size was raised",
            Facts {
                max_wal_size: 4 << 30,
                wal_of_a_checkpoint: 2 << 30,
                ..forced.clone()
            },
        ),
    ] {
        assert_eq!(advised(&facts), [""; 0], "{what}");
    }
}

#[test]
fn whole_pages_ask_for_rarer_checkpoints_and_then_for_compression() {
    let pages = Facts {
        whole_pages: 10 * BUSY + 1,
        ..busy()
    };
    let parts = [
        "5min, and up to 50 % of 200 GB WAL since 2026-11-01",
        "`alter system set checkpoint_timeout = '15min'; select pg_reload_conf()`",
        "recovery",
    ];
    expect(&pages, "checkpoint_timeout", &parts);
    let rare = Facts {
        checkpoint_timeout: DEFAULT_TIMEOUT + 1,
        ..pages
    };
    let parts = [
        "up to 50 % of 200 GB WAL since 2026-11-01",
        "`alter system set wal_compression = 'lz4'; select pg_reload_conf()`",
        "the price is some CPU",
    ];
    expect(&rare, "wal_compression", &parts);
    for (what, facts) in [
        (
            "nobody is sent the WAL",
            Facts {
                is_shipped: false,
                ..rare.clone()
            },
        ),
        (
            "no lz4",
            Facts {
                has_lz4: false,
                ..rare.clone()
            },
        ),
        (
            "compressed",
            Facts {
                wal_compression: "zstd".to_owned(),
                ..rare.clone()
            },
        ),
    ] {
        assert_eq!(advised(&facts), [""; 0], "{what}");
    }
    // Checkpoints that the WAL forces are mended by max_wal_size alone.
    let forced = Facts {
        requested: 6_000,
        wal: 6_000 << 29,
        whole_pages: 6_000 << 29,
        ..busy()
    };
    assert_eq!(advised(&forced), ["max_wal_size"]);
}

#[test]
fn a_lock_table_that_a_few_statements_fill_is_found() {
    let partitions = |locks_of_all| Facts {
        partitions: 400,
        locks_of_all,
        ..Facts {
            wal: 0,
            whole_pages: 0,
            ..busy()
        }
    };
    assert_eq!(advised(&partitions(1_600)), [""; 0]);
    let parts = [
        "64, and",
        "all 400 partitions takes 1601 of the 6400 locks",
        "condition on occurred_at",
        "`alter system set max_locks_per_transaction = '256'` and restart",
        "partition_width = 'month'",
    ];
    expect(&partitions(1_601), "max_locks_per_transaction", &parts);
}

#[test]
fn commits_that_wait_for_no_disk_are_found() {
    let parts = [
        "lose an event",
        "`alter system set synchronous_commit = 'on'; select pg_reload_conf()`",
    ];
    let with = |value: &str| Facts {
        synchronous_commit: value.to_owned(),
        ..Facts::default()
    };
    expect(&with("off"), "synchronous_commit", &parts);
    assert_eq!(advised(&with("local")), [""; 0]);
}

#[test]
fn sizes_are_written_as_postgres_writes_them() {
    let sizes = [0, 1023, 8 << 10, 128 << 20, 3 << 29].map(size);
    assert_eq!(sizes, ["0 bytes", "1023 bytes", "8 kB", "128 MB", "1.5 GB"]);
    assert_eq!(
        [value(4 << 30), value(128 << 20), value(1_536 << 20)],
        ["4GB", "128MB", "1536MB"]
    );
}

/// The page states the bounds that are used here.
#[test]
fn the_page_agrees() {
    let page = include_str!("../../../../../docs/server-settings.md");
    for part in [
        format!("{} of WAL a day", size(BUSY)),
        format!("at least {SEVERAL} checkpoints"),
        format!("not room for {AT_ONCE} statements"),
        format!("`shared_buffers` is {} or less", size(DEFAULT_BUFFERS)),
        format!(
            "`checkpoint_timeout` is {} min or less",
            DEFAULT_TIMEOUT / 60
        ),
    ] {
        assert!(page.contains(&part), "{part:?} is not in {PAGE}");
    }
}
