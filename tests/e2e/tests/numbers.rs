//! Numbers by which SQL decides, and which its comments and the documents restate.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use tidings_harness::paths;

/// The SQL that an installation is made from.
const SQL: &str = "sql";

/// Each `{}` stands for the number.
struct Number {
    value: &'static str,
    /// The statements that decide by it.
    decides: &'static [&'static str],
    /// The places that restate it: a document, or the comments in [`SQL`].
    restate: &'static [(&'static str, &'static str)],
}

const NUMBERS: &[Number] = &[
    Number {
        value: "10000",
        decides: &["least(max_events, {})"],
        restate: &[
            (SQL, "never more than {}"),
            ("docs/consumers.md", "at most {} events"),
        ],
    },
    Number {
        value: "10000",
        decides: &["order by e.id desc limit {} )", "exit when events >= {};"],
        restate: &[
            (SQL, "reads the newest {} events"),
            (SQL, "the newest {} events of the log"),
        ],
    },
    Number {
        value: "2147483647",
        decides: &["events := least({},"],
        restate: &[(SQL, "{} means that many or more")],
    },
    Number {
        value: "10000",
        decides: &["enough constant bigint := {};"],
        restate: &[(SQL, "rows of about {} events")],
    },
    Number {
        value: "100000",
        decides: &["most constant bigint := {};"],
        restate: &[(SQL, "no more than about {} events")],
    },
    Number {
        value: "10000",
        decides: &["enough constant int := {};"],
        restate: &[(SQL, "{} in an older range")],
    },
    Number {
        value: "1000",
        decides: &["most constant int := {}; most_bytes"],
        restate: &[
            (SQL, "the newest {} rows, and"),
            ("docs/security.md", "the latest {} rows"),
        ],
    },
    Number {
        value: "16",
        decides: &["most_bytes constant int := {} << 20;"],
        restate: &[
            (SQL, "the newest {} MB"),
            ("docs/security.md", "the latest {} MiB"),
        ],
    },
    Number {
        value: "1",
        decides: &["substr(body, 1, {} << 20)"],
        restate: &[(SQL, "only the first {} MB of it")],
    },
    Number {
        value: "200",
        decides: &["cardinality(ids) >= {} or"],
        restate: &[(SQL, "batches of {} rows")],
    },
    Number {
        value: "8",
        decides: &["bytes + q.bytes > {} << 20"],
        restate: &[(SQL, "rows or {} MB")],
    },
];

#[test]
fn comments_and_documents_state_the_numbers_that_sql_decides_by() -> Result<()> {
    for number in NUMBERS {
        let deciding = number.decides.iter().map(|words| (SQL, *words));
        for (document, words) in deciding.chain(number.restate.iter().copied()) {
            states(document, &words.replace("{}", number.value))?;
        }
    }
    Ok(())
}

/// Fails unless the document contains these words, wherever its lines break.
pub(super) fn states(document: &str, words: &str) -> Result<()> {
    let found = text(document)?.contains(words);
    ensure!(found, "{document} does not have: {words}");
    Ok(())
}

/// The words of a document, or of all SQL files, with one space between them and no comma
/// within a number.
fn text(document: &str) -> Result<String> {
    let path = paths::root().join(document);
    let mut text = String::new();
    if path.is_dir() {
        for entry in fs::read_dir(&path)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "sql") {
                text.push_str(&fs::read_to_string(&file)?);
            }
        }
    } else {
        text = fs::read_to_string(&path).with_context(|| document.to_owned())?;
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let words = words.join(" ");
    let signs: Vec<char> = words.chars().collect();
    let digit = |at: Option<usize>| {
        at.and_then(|at| signs.get(at))
            .is_some_and(char::is_ascii_digit)
    };
    let kept = signs.iter().enumerate().filter(|(at, sign)| {
        !(**sign == ',' && digit(at.checked_sub(1)) && digit(at.checked_add(1)))
    });
    Ok(kept.map(|(_, sign)| *sign).collect())
}
