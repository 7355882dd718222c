//! BENCHMARKS.md, written as a whole from the results.

use super::notes;
use super::results::{Measured, Results};
use crate::contest::{Bound, Mark, Row, Test, values};
use crate::figures::{QUANTITIES, Quantity, precise};
use crate::measure::stats::Summary;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use tidings_harness::paths;

const HEAD: &str = include_str!("../../templates/head.md");

/// The whole page.
pub(crate) fn page(results: &Results, rows: &[Row]) -> Result<String> {
    let machine = &results.machine;
    let changed = if results.commit.changed {
        ", with changes"
    } else {
        ""
    };
    let settings: Vec<String> = machine
        .settings
        .iter()
        .map(|(name, value)| format!("`{name} = {value}`"))
        .collect();
    let mut text = HEAD
        .replace("{{commit}}", &format!("{}{changed}", results.commit.id))
        .replace("{{cpu}}", &machine.cpu)
        .replace("{{cores}}", &machine.cores.to_string())
        .replace("{{memory}}", &machine.memory_gib.to_string())
        .replace("{{kernel}}", &machine.kernel)
        .replace("{{disk}}", &machine.disk)
        .replace("{{postgres}}", &machine.postgres)
        .replace("{{settings}}", &settings.join(", "));
    text += "\n## Marks\n\n";
    text += &marks(results, rows);
    for row in rows {
        if let Some(measured) = results.rows.get(row.name) {
            text += &section(row, measured)?;
        }
    }
    Ok(text)
}

/// A row for each mark.
fn marks(results: &Results, rows: &[Row]) -> String {
    let mut text = String::from(
        "| row | what | mark | measured | spread | met |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        for mark in row.marks {
            let measured = results.rows.get(row.name);
            let summary =
                measured.and_then(|measured| Summary::of(&values(mark.test, &measured.played)));
            let (median, spread, met) = match summary {
                None => ("not measured".to_owned(), String::new(), ""),
                Some(summary) => {
                    let write = |value| written(mark, value);
                    let met = match mark.bound.is_met(summary.median) {
                        Some(true) => "yes",
                        Some(false) => "**no**",
                        None => "",
                    };
                    let spread = format!("{} to {}", write(summary.least), write(summary.greatest));
                    (write(summary.median), spread, met)
                }
            };
            let bound = match mark.bound {
                Bound::AtLeast(bound) => format!("at least {}", written(mark, bound)),
                Bound::AtMost(bound) => format!("at most {}", written(mark, bound)),
                Bound::Stated => "stated".to_owned(),
            };
            let (name, what) = (row.name, mark.what);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| [{name}](#{name}) | {what} | {bound} | {median} | {spread} | {met} |"
            );
        }
    }
    text
}

/// A figure of a mark: a ratio, or a number of its quantity.
fn written(mark: &Mark, value: f64) -> String {
    match mark.test {
        Test::Ratio { .. } => precise(value),
        Test::Value { quantity, .. } => {
            let found = QUANTITIES.iter().find(|known| known.key == quantity);
            found.map_or_else(|| precise(value), |quantity| quantity.write(value))
        }
    }
}

/// A row: its contenders, and what explains a mark that was missed.
pub(crate) fn section(row: &Row, measured: &Measured) -> Result<String> {
    let mut text = format!(
        "\n## {}\n\n**{}.** {}\n\n",
        row.name,
        row.title,
        row.about.trim()
    );
    if let Some(failed) = &measured.failed {
        let _ = writeln!(text, "Not measured: {failed}\n");
    }
    text += &table(row, measured);
    let long = if measured.long { ", the long form" } else { "" };
    let _ = writeln!(
        text,
        "\nMedian of {} rounds{long}, with the least and the greatest in brackets; figures are for one {} unless they say otherwise. Measured {} within {} s.",
        measured.rounds, row.unit, measured.at, measured.seconds
    );
    for played in &measured.played {
        if let Some(absent) = &played.absent {
            let _ = writeln!(text, "\n{} did not take part: {absent}", played.contender);
        }
    }
    let note = paths::root().join(format!("bench/notes/{}.md", row.name));
    if let Ok(note) = fs::read_to_string(&note) {
        let filled = notes::fill(&note, &measured.played)
            .with_context(|| format!("bench/notes/{}.md", row.name));
        match filled {
            Ok(note) => {
                let _ = write!(text, "\n{}\n", note.trim());
            }
            // A row that failed has no figures to explain.
            Err(_) if measured.failed.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(text)
}

fn table(row: &Row, measured: &Measured) -> String {
    let has = |quantity: &&Quantity| {
        let mut all = measured.played.iter();
        all.any(|played| !played.values(quantity.key).is_empty())
    };
    let columns: Vec<&Quantity> = QUANTITIES.iter().filter(has).collect();
    let mut text = format!("| {} |", row.unit);
    for column in &columns {
        let _ = write!(text, " {} |", column.heading);
    }
    text += "\n|---|";
    text += &"---|".repeat(columns.len());
    text.push('\n');
    for played in measured
        .played
        .iter()
        .filter(|played| !played.rounds.is_empty())
    {
        let _ = write!(text, "| {} |", played.contender);
        for column in &columns {
            let cell = Summary::of(&played.values(column.key)).map(|summary| {
                let write = |value| column.write(value);
                format!(
                    "{} ({} to {})",
                    write(summary.median),
                    write(summary.least),
                    write(summary.greatest)
                )
            });
            let _ = write!(text, " {} |", cell.unwrap_or_default());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest::ratio;
    use crate::report::results::testing::results;

    const ROW: Row = Row {
        name: "a-row",
        title: "A row",
        about: "Two contenders.",
        unit: "event",
        contenders: &["we", "they"],
        marks: &[
            ratio("we to them", "rate", "we", "they", Bound::AtLeast(1.5)),
            ratio("they to us", "rate", "they", "we", Bound::AtLeast(1.5)),
        ],
        set: |_| anyhow::bail!("not set"),
    };

    #[test]
    fn the_page_tells_medians_spreads_and_marks() {
        let results = results(
            "a-row",
            &[("we", &[2000.0, 4000.0, 3000.0]), ("they", &[1000.0; 3])],
        );
        let page = page(&results, &[ROW]).unwrap();
        assert!(page.contains("| we | 3,000 (2,000 to 4,000) |"), "{page}");
        assert!(
            page.contains(
                "| [a-row](#a-row) | we to them | at least 1.50 | 3.00 | 2.00 to 4.00 | yes |"
            ),
            "{page}"
        );
        assert!(
            page.contains("| they to us | at least 1.50 | 0.333 | 0.250 to 0.500 | **no** |"),
            "{page}"
        );
        assert!(
            page.contains("A CPU") && page.contains("`fsync = on`") && page.contains("abc"),
            "{page}"
        );
        assert!(!page.contains("{{"), "{page}");
    }

    #[test]
    fn a_row_that_was_not_measured_says_so_among_the_marks() {
        let results = results("other", &[]);
        let page = page(&results, &[ROW]).unwrap();
        assert!(page.contains("| not measured |"), "{page}");
        assert!(!page.contains("## a-row"), "{page}");
    }

    #[test]
    fn who_did_not_take_part_is_named_with_the_reason() {
        let mut results = results("a-row", &[("we", &[1.0]), ("they", &[])]);
        let measured = results.rows.get_mut("a-row").unwrap();
        measured.played[1].absent = Some("not installed".to_owned());
        let text = section(&ROW, measured).unwrap();
        assert!(
            text.contains("they did not take part: not installed"),
            "{text}"
        );
        assert!(!text.contains("| they |"), "{text}");
    }
}
