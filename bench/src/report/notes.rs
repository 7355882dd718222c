//! Explanations of rows, `bench/notes/ROW.md`. A figure in them is not typed but named:
//! `{{contender | quantity}}` is a median of this row, and `{{contender | other | quantity}}`
//! the median ratio of two of its contenders.

use crate::contest::{Played, Test, values};
use crate::figures::{QUANTITIES, precise};
use crate::measure::stats::Summary;
use anyhow::{Context as _, Result, bail};

/// The note with its figures.
pub(crate) fn fill(note: &str, played: &[Played]) -> Result<String> {
    let mut text = String::new();
    let mut rest = note;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("a note has {{ without }}")?;
        text += before;
        text += &figure(name, played)?;
        rest = after;
    }
    Ok(text + rest)
}

fn figure(name: &str, played: &[Played]) -> Result<String> {
    let parts: Vec<&str> = name.split('|').map(str::trim).collect();
    let (test, write) = match *parts.as_slice() {
        [of, key] => {
            let quantity = quantity(key)?;
            let test = Test::Value {
                quantity: quantity.key,
                of,
            };
            (test, Some(quantity))
        }
        [of, to, key] => {
            let quantity = quantity(key)?.key;
            (Test::Ratio { quantity, of, to }, None)
        }
        _ => bail!("a note names {{{{{name}}}}}: write contender | quantity"),
    };
    let summary = Summary::of(&values(test, played))
        .with_context(|| format!("a note names {{{{{name}}}}}, which was not measured"))?;
    Ok(write.map_or_else(
        || precise(summary.median),
        |quantity| quantity.write(summary.median),
    ))
}

fn quantity(key: &str) -> Result<&'static crate::figures::Quantity> {
    let found = QUANTITIES.iter().find(|quantity| quantity.key == key);
    found.with_context(|| format!("a note names the quantity {key}, which does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::testing::results;

    #[test]
    fn figures_are_filled_in() {
        let results = results(
            "row",
            &[("we", &[1000.0, 3000.0]), ("they", &[500.0, 500.0])],
        );
        let played = &results.rows["row"].played;
        let text = fill("At {{we | rate}}/s, {{we|they|rate}} of them.", played).unwrap();
        assert_eq!(text, "At 2,000/s, 4.00 of them.");
        assert!(fill("{{we | nothing}}", played).is_err());
        assert!(fill("{{nobody | rate}}", played).is_err());
        assert!(fill("{{we", played).is_err());
    }
}
