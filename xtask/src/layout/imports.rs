//! Imports between the modules of a crate: downwards only, and in no circle.
//!
//! Modules are compared where their paths part: between `a::b::c` and `a::d`, it is `b` of
//! `a` that imports `d`. So the modules of one folder, and the folders of a crate, are
//! each free of circles, while a module and those inside it may import each other.

use super::source::{Import, Source};
use super::{files, module};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The imports between the modules of one folder, each with the place of its first occurrence.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// A line for each import that runs upwards between the layers, where there are any, and
/// for each circle.
pub(super) fn offences(
    root: &Path,
    source: &Path,
    layers: Option<&[&[&str]]>,
) -> Result<Vec<String>> {
    let mut read = BTreeMap::new();
    for file in files(root, source, "rs")? {
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        let module = module(source, &file);
        let content = Source::read(&text, &module);
        read.insert(module, (file, content));
    }
    leave_tests_out(&mut read);

    let modules: BTreeSet<&[String]> = read.keys().map(Vec::as_slice).collect();
    let mut graphs: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    let mut found = Vec::new();
    for (from, (file, content)) in &read {
        for import in &content.imports {
            let place = format!("{}:{}", file.display(), import.line);
            let Some(to) = imported(&modules, import) else {
                continue;
            };
            if let Some(layers) = layers {
                found.extend(upwards(layers, from, to).map(|why| format!("{place}: {why}")));
            }
            if let Some((folder, one, other)) = parted(from, to) {
                graphs
                    .entry(folder.to_vec())
                    .or_default()
                    .entry(one.to_owned())
                    .or_default()
                    .entry(other.to_owned())
                    .or_insert(place);
            }
        }
    }
    for (folder, graph) in &graphs {
        found.extend(circle(graph).map(|circle| {
            let name = source.iter().chain(folder.iter().map(AsRef::as_ref));
            let name: Vec<_> = name.map(|part| part.to_string_lossy()).collect();
            format!("a circle in {}: {circle}", name.join("/"))
        }));
    }
    Ok(found)
}

/// Removes the files of modules that are compiled for tests alone.
fn leave_tests_out<F>(read: &mut BTreeMap<Vec<String>, (F, Source)>) {
    let tests: Vec<Vec<String>> = read
        .values()
        .flat_map(|(_, source)| source.test_modules.clone())
        .collect();
    read.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
}

/// The module that an import names, or of which it names an item.
fn imported<'a>(modules: &BTreeSet<&'a [String]>, import: &Import) -> Option<&'a [String]> {
    (0..=import.path.len())
        .rev()
        .find_map(|length| modules.get(import.path.get(..length)?).copied())
}

/// Where two modules part: the module that both are in, and their names in it. None
/// where one is in the other.
fn parted<'a>(one: &'a [String], other: &'a [String]) -> Option<(&'a [String], &'a str, &'a str)> {
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    Some((one.get(..common)?, one.get(common)?, other.get(common)?))
}

/// Why an import does not run downwards, or between two folders of one layer.
fn upwards(layers: &[&[&str]], from: &[String], to: &[String]) -> Option<String> {
    let rank = |name: &String| {
        layers
            .iter()
            .position(|layer| layer.contains(&name.as_str()))
    };
    let (Some(from), to) = (from.first(), to.first()) else {
        return None; // the root imports whatever it likes
    };
    let Some(to) = to else {
        return Some(format!(
            "{from} imports the crate's root, which is above it"
        ));
    };
    match (rank(from), rank(to)) {
        (None, _) => Some(format!("{from} is in no layer")),
        (_, None) => Some(format!("{to} is in no layer")),
        (Some(low), Some(high)) if low < high => {
            Some(format!("{from} imports {to}, which is above it"))
        }
        _ => None,
    }
}

/// A shortest circle that goes through the first module that is in one.
fn circle(graph: &Graph) -> Option<String> {
    graph.keys().find_map(|start| {
        let mut paths = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while !paths.is_empty() {
            let mut longer = Vec::new();
            for path in paths {
                let Some(next) = path.last().and_then(|last| graph.get(*last)) else {
                    continue;
                };
                for name in next.keys() {
                    let path = [path.as_slice(), &[name]].concat();
                    if name == start {
                        return Some(shown(graph, &path));
                    }
                    if seen.insert(name) {
                        longer.push(path);
                    }
                }
            }
            paths = longer;
        }
        None
    })
}

fn shown(graph: &Graph, path: &[&String]) -> String {
    let steps = path.windows(2).filter_map(|pair| {
        let [from, to] = pair else { return None };
        let place = graph.get(*from)?.get(*to)?;
        Some(format!("{from} imports {to} ({place})"))
    });
    steps.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::tree;
    use super::*;

    const LAYERS: [&[&str]; 3] = [&["low", "deep"], &["middle"], &["high"]];

    fn offences_of(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tree(files);
        offences(folder.path(), Path::new("src"), Some(&LAYERS)).unwrap()
    }

    #[test]
    fn imports_may_run_downwards_and_within_a_layer() {
        let found = offences_of(&[
            (
                "src/main.rs",
                "mod high; use crate::high::run; use low::thing;",
            ),
            (
                "src/high/mod.rs",
                "use crate::{middle::{self, M}, low::part::P};",
            ),
            ("src/high/one.rs", "use super::{two, Own}; use crate::deep;"),
            ("src/high/two.rs", "use super::Own;"),
            ("src/middle.rs", "use crate::low;"),
            ("src/low/mod.rs", "use self::part::P; use crate::deep::D;"),
            ("src/low/part.rs", "use super::Q;"),
            ("src/deep.rs", "use std::fmt;"),
        ]);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn an_import_that_runs_upwards_is_found_with_its_place() {
        let found = offences_of(&[
            ("src/main.rs", "const C: u8 = 1;"),
            ("src/high.rs", "pub struct H;"),
            (
                "src/low/mod.rs",
                "use std::fmt;\nuse crate::{\n  high::H as Other};",
            ),
            ("src/low/part.rs", "fn f() { crate::C }"),
            ("src/middle.rs", "fn f() -> super::high::H {}"),
            ("src/attic.rs", "use crate::low;"),
        ]);
        assert_eq!(
            found,
            [
                "src/attic.rs:1: attic is in no layer",
                "src/low/mod.rs:2: low imports high, which is above it",
                "src/low/part.rs:1: low imports the crate's root, which is above it",
                "src/middle.rs:1: middle imports high, which is above it",
            ]
        );
    }

    #[test]
    fn a_circle_is_found_between_folders_and_inside_one() {
        let found = offences_of(&[
            ("src/main.rs", ""),
            ("src/low/mod.rs", ""),
            ("src/low/a.rs", "use crate::deep::x;"),
            ("src/deep/mod.rs", "use crate::low;"),
            ("src/high/mod.rs", ""),
            ("src/high/a.rs", "use super::b::{B};"),
            ("src/high/b.rs", "use super::c;"),
            ("src/high/c/mod.rs", ""),
            ("src/high/c/d.rs", "use super::super::a;"),
        ]);
        assert_eq!(
            found,
            [
                "a circle in src: deep imports low (src/deep/mod.rs:1), low imports deep (src/low/a.rs:1)",
                "a circle in src/high: a imports b (src/high/a.rs:1), b imports c (src/high/b.rs:1), \
                 c imports a (src/high/c/d.rs:1)",
            ]
        );
    }

    #[test]
    fn tests_import_what_they_like() {
        let found = offences_of(&[
            ("src/main.rs", "#[cfg(test)]\nmod testing;"),
            ("src/testing/mod.rs", "use crate::high;"),
            ("src/high.rs", ""),
            (
                "src/low/mod.rs",
                "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod more { use crate::high; }",
            ),
            ("src/low/tests.rs", "use crate::high;"),
            ("src/low/tests/deeper.rs", "use crate::high;"),
        ]);
        assert!(found.is_empty(), "{found:#?}");
    }
}
