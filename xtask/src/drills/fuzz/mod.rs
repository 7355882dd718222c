//! `make fuzz`: runs every target of `fuzz/` for a while, as many at a time as there are
//! processors. Whatever cargo-fuzz builds or finds is written inside the target folder,
//! unless new inputs of the corpus are to be kept as tests.
//!
//! Sanitizers are an unstable feature; the environment allows this compiler to use them,
//! so that no second toolchain is needed.

mod seeds;
mod target;

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use target::{Figures, Target};
use tidings_harness::paths;
use tidings_harness::step;
use tidings_harness::table;

const CARGO_FUZZ: &str = "0.13.2";

/// What to fuzz, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// Time for each target.
    pub seconds: u64,
    /// All of them otherwise.
    pub target: Option<String>,
    /// Whether to write new inputs of the corpus to `core/testdata/corpus/`.
    pub keep: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let names = names(options.target.as_deref())?;
    build(&names)?;
    let targets: Vec<Target> = names
        .iter()
        .map(|name| Target::new(name))
        .collect::<Result<_>>()?;
    for target in &targets {
        seeds::plant(target)?;
    }
    let results = side_by_side(&targets, |target| {
        println!("  {}: {} s", target.name, options.seconds);
        target.fuzz(options.seconds)
    });
    let results_of = targets.iter().zip(&results);
    let ended: Vec<(&Target, &Figures)> = results_of
        .filter_map(|(target, result)| Some((target, result.as_ref().ok()?)))
        .collect();
    print!("\n{}", rendered(&ended));
    for (target, figures) in &ended {
        for finding in &figures.findings {
            println!(
                "\nfound, see {}; again:\n  cargo run --release -p tidings-fuzz --bin {} {}",
                target.log.display(),
                target.name,
                finding.display()
            );
        }
    }
    let found: usize = ended
        .iter()
        .map(|(_, figures)| figures.findings.len())
        .sum();
    results.into_iter().collect::<Result<Vec<_>>>()?;
    if found > 0 {
        bail!("{found} findings");
    }
    if options.keep {
        side_by_side(&targets, Target::keep)
            .into_iter()
            .collect::<Result<()>>()?;
    }
    Ok(())
}

/// The targets, as their files are named.
fn names(only: Option<&str>) -> Result<Vec<String>> {
    let folder = paths::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for path in files(&folder)? {
        names.extend(
            path.file_stem()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    if let Some(only) = only {
        if !names.iter().any(|name| name == only) {
            bail!("there is no target {only}, only {}", names.join(", "));
        }
        names.retain(|name| name == only);
    }
    Ok(names)
}

/// The files of a folder in the order of their names; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn named(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Where cargo-fuzz builds: with other flags than everything else, so apart from it.
fn folder() -> PathBuf {
    paths::target().join("fuzz")
}

fn build(names: &[String]) -> Result<()> {
    let tools = paths::target().join("tools");
    let program = tools.join("bin/cargo-fuzz");
    let here = Command::new(&program).args(["fuzz", "--version"]).output();
    let wanted = format!("cargo-fuzz {CARGO_FUZZ}");
    if !here.is_ok_and(|output| output.stdout.trim_ascii() == wanted.as_bytes()) {
        step::run(
            Command::new("cargo")
                .args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ])
                .arg("--root")
                .arg(&tools),
        )?;
    }
    let mut build = Command::new(program);
    build.args(["fuzz", "build", "--fuzz-dir", "fuzz", "--target-dir"]);
    build.arg(folder()).env("RUSTC_BOOTSTRAP", "1");
    // All targets are one build; one alone is named.
    if let [only] = names {
        build.arg(only);
    }
    step::run(&mut build)
}

/// The results in the order of the items, of which as many are worked on at a time as
/// there are processors.
fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(items.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || -> Vec<(usize, R)> {
        std::iter::from_fn(next)
            .map(|(index, item)| (index, work(item)))
            .collect()
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results
            .flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn rendered(ended: &[(&Target, &Figures)]) -> String {
    let row = |(target, figures): &(&Target, &Figures)| {
        let numbers = [
            figures.executions,
            figures.executions_a_second,
            figures.coverage,
            figures.features,
            figures.corpus,
            figures.new,
            figures.findings.len() as u64,
        ];
        let numbers = numbers.map(table::number);
        [target.name.clone()].into_iter().chain(numbers).collect()
    };
    let rows: Vec<Vec<String>> = ended.iter().map(row).collect();
    let header = [
        "target",
        "executions",
        "a second",
        "coverage",
        "features",
        "corpus",
        "new",
        "findings",
    ];
    table::render(&header, &rows, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..50).collect();
        let results = side_by_side(&items, |item| item * 2);
        assert!(
            results
                .iter()
                .eq(items.iter().map(|item| item * 2).collect::<Vec<_>>().iter())
        );
    }

    #[test]
    fn a_target_is_one_of_those_that_are_there() {
        assert!(names(None).unwrap().contains(&"ulid".to_owned()));
        assert_eq!(names(Some("ulid")).unwrap(), ["ulid"]);
        assert!(names(Some("uild")).is_err());
    }
}
