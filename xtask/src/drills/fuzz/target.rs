//! One fuzz target: its program, its folders, and a run of it.

use super::{files, folder, named};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tidings_harness::leash::{self, Leash};
use tidings_harness::paths;

/// The longest input, in bytes.
const MAX_INPUT: usize = 4096;

/// The longest input that is kept as a test, in bytes, and about how many are.
const MAX_KEPT: u64 = 256;
const MOST_KEPT: usize = 100;

/// An input that takes longer is a finding.
const SLOW: Duration = Duration::from_secs(10);

/// Prefixes of the names of findings.
const FOUND: [&str; 4] = ["crash-", "leak-", "oom-", "timeout-"];

/// Time beyond the run's limit, for the seeds and the last input.
const GRACE: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    program: PathBuf,
    pub(super) corpus: PathBuf,
    pub(super) findings: PathBuf,
    pub(super) dictionary: PathBuf,
    pub(super) log: PathBuf,
}

/// The result of a run, in libFuzzer's terms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) executions: u64,
    pub(super) executions_a_second: u64,
    /// Edges of the program's control flow that were taken.
    pub(super) coverage: u64,
    /// The same, told apart by how often.
    pub(super) features: u64,
    pub(super) corpus: u64,
    pub(super) new: u64,
    pub(super) findings: Vec<PathBuf>,
}

impl Target {
    pub(super) fn new(name: &str) -> Result<Self> {
        let folder = folder();
        let target = Self {
            name: name.to_owned(),
            program: program(&folder, name)?,
            corpus: folder.join("corpus").join(name),
            findings: folder.join("findings").join(name),
            dictionary: folder.join("dictionary").join(name),
            log: folder.join("log").join(name),
        };
        for path in [&target.dictionary, &target.log] {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
        }
        for path in [&target.corpus, &target.findings] {
            fs::create_dir_all(path)?;
        }
        Ok(target)
    }

    /// What of the corpus is kept as tests.
    pub(super) fn kept(&self) -> PathBuf {
        paths::root().join("core/testdata/corpus").join(&self.name)
    }

    pub(super) fn fuzz(&self, seconds: u64) -> Result<Figures> {
        let within = Duration::from_secs(seconds) + GRACE;
        let mut findings = OsString::from(format!("-artifact_prefix={}", self.findings.display()));
        findings.push("/");
        let mut dictionary = OsString::from("-dict=");
        dictionary.push(&self.dictionary);
        let status = self.run(
            within,
            [
                format!("-max_total_time={seconds}").into(),
                format!("-max_len={MAX_INPUT}").into(),
                format!("-timeout={}", SLOW.as_secs()).into(),
                "-print_final_stats=1".into(),
                findings,
                dictionary,
                self.corpus.clone().into(),
            ],
        )?;
        let log = fs::read(&self.log)?;
        let found = files(&self.findings)?;
        if !status.success() && found.is_empty() {
            bail!("{}: {status}, see {}", self.name, self.log.display());
        }
        Ok(figures(&String::from_utf8_lossy(&log), found))
    }

    /// Keeps a sample of the short inputs that reach what the seeds do not, and all that
    /// once were findings. What was put there by hand stays.
    pub(super) fn keep(&self) -> Result<()> {
        let kept = self.kept();
        let [fewest, short] = ["fewest", "short"].map(|name| folder().join(name).join(&self.name));
        for path in [&fewest, &short] {
            if path.exists() {
                fs::remove_dir_all(path)?;
            }
        }
        for path in [&fewest, &short, &kept] {
            fs::create_dir_all(path)?;
        }
        for path in files(&kept)?.iter().filter(|path| is_hash(path)) {
            fs::remove_file(path)?;
        }
        for path in &files(&self.corpus)? {
            let name = path.file_name().unwrap_or_default();
            if is_hash(path) {
                if fs::metadata(path)?.len() <= MAX_KEPT {
                    fs::copy(path, short.join(name))?;
                }
                continue;
            }
            fs::copy(path, fewest.join(name))?;
            if FOUND.iter().any(|kind| named(path).starts_with(kind)) {
                fs::copy(path, kept.join(name))?;
            }
        }
        let status = self.run(
            GRACE,
            [
                "-set_cover_merge=1".into(),
                // Counting how often an edge is taken would keep inputs that no test
                // needs.
                "-use_counters=0".into(),
                fewest.clone().into(),
                short.into(),
            ],
        )?;
        if !status.success() {
            bail!("{}: {status}, see {}", self.name, self.log.display());
        }
        for path in sample(&files(&fewest)?)? {
            fs::copy(path, kept.join(path.file_name().unwrap_or_default()))?;
        }
        let paths = files(&kept)?;
        let lengths = paths.iter().map(|path| Ok(fs::metadata(path)?.len()));
        let bytes = lengths.sum::<Result<u64>>()?;
        println!(
            "  {}: {} inputs kept, {bytes} bytes",
            self.name,
            paths.len()
        );
        Ok(())
    }

    fn run<const N: usize>(
        &self,
        within: Duration,
        arguments: [OsString; N],
    ) -> Result<ExitStatus> {
        let log = File::create(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let leash = Leash::new("KILL", None)?;
        let mut child = Command::new(&self.program)
            .args(arguments)
            // As cargo-fuzz sets it: crates that are linked twice are no finding.
            .env("ASAN_OPTIONS", "detect_odr_violation=0")
            .current_dir(folder())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        leash.hold(child.id())?;
        let Some(status) = leash::wait(&mut child, within)? else {
            child.kill()?;
            child.wait()?;
            bail!("{} still ran after {within:?}", self.name);
        };
        Ok(status)
    }
}

/// Whether it is named as libFuzzer names what it finds on its way.
fn is_hash(path: &Path) -> bool {
    let name = named(path);
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// About [`MOST_KEPT`] of the inputs that fuzzing made, of all lengths.
fn sample(paths: &[PathBuf]) -> Result<Vec<&PathBuf>> {
    let mut made = Vec::new();
    for path in paths.iter().filter(|path| is_hash(path)) {
        made.push((fs::metadata(path)?.len(), path));
    }
    made.sort();
    let step = made.len().div_ceil(MOST_KEPT).max(1);
    Ok(made
        .into_iter()
        .step_by(step)
        .map(|(_, path)| path)
        .collect())
}

/// The program of a target, in the folder of whatever triple it was built for.
fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let program = entry?.path().join("release").join(name);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!("cargo-fuzz built no {name} in {}", folder.display())
}

/// Reads the figures that libFuzzer prints at its end, and at every step on its way.
fn figures(log: &str, findings: Vec<PathBuf>) -> Figures {
    // #500 DONE   cov: 120 ft: 340 corp: 12/3456b lim: 4096 exec/s: 250 rss: 90Mb
    let last = |field: &str| -> u64 {
        let mut values = log
            .lines()
            .rev()
            .filter(|line| line.starts_with('#'))
            .filter_map(|line| line.split_once(field))
            .map(|(_, rest)| rest.trim_start())
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let value = values.next().flatten();
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    let stat = |name: &str| -> u64 {
        log.lines()
            .filter_map(|line| line.strip_prefix("stat::")?.strip_prefix(name))
            .find_map(|value| value.trim_start_matches(':').trim().parse().ok())
            .unwrap_or(0)
    };
    Figures {
        executions: stat("number_of_executed_units"),
        executions_a_second: stat("average_exec_per_sec"),
        coverage: last("cov:"),
        features: last("ft:"),
        corpus: last("corp:"),
        new: stat("new_units_added"),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_end() {
        let log = "INFO: seed\n\
            #2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #500\tDONE   cov: 120 ft: 340 corp: 12/3456b lim: 4096 exec/s: 250 rss: 90Mb\n\
            Done 500 runs in 2 second(s)\n\
            stat::number_of_executed_units: 500\n\
            stat::average_exec_per_sec:     250\n\
            stat::new_units_added:          11\n";
        assert_eq!(
            figures(log, Vec::new()),
            Figures {
                executions: 500,
                executions_a_second: 250,
                coverage: 120,
                features: 340,
                corpus: 12,
                new: 11,
                findings: Vec::new(),
            }
        );
    }
}
