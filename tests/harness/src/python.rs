//! The Python environments: of the gRPC peer of another stack, and of the clients of Postgres.
//!
//! A virtual environment with pinned packages and the code generated from the schemas,
//! both under the target folder, each made once for what it is made from. Where
//! there is no Python to make it, the error is [`Missing`], which skips the peer's
//! tests; that no code can be generated is another error: the schemas are ours.

use crate::paths;
use crate::step::{self, Missing};
use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Checks the version, and prints everything that the environment depends on.
const PROBE: &str = "
import sys
if sys.version_info < (3, 9):
    sys.exit('python3 is %d.%d, and 3.9 or later is needed' % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit('python3 has no module %s: install the package python3-venv' % error.name)
print(sys.base_prefix, sys.version)
";

/// An environment that is ready.
#[derive(Debug)]
pub struct Python {
    program: PathBuf,
    generated: PathBuf,
}

impl Python {
    /// Creates the missing parts of the environment.
    pub fn prepare() -> Result<Self> {
        Self::prepare_with("python3")
    }

    pub fn prepare_with(python: &str) -> Result<Self> {
        let folder = paths::target().join("python");
        let _lock = locked(&folder)?;
        let requirements = paths::root().join("tests/peer/requirements.txt");
        let program = environment(python, &folder.join("environment"), &requirements)?;

        let schemas = schemas()?;
        let mut from = read(&requirements)?;
        for file in schemas.iter().flat_map(|(_, files)| files) {
            from.push_str(&read(file)?);
        }
        let generated = folder.join("generated");
        once(&generated, &from, || {
            for (root, files) in &schemas {
                generate(&program, root, files, &generated)?;
            }
            Ok(())
        })?;
        Ok(Self { program, generated })
    }

    /// The peer, which speaks on its stdout.
    pub fn peer(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(paths::root().join("tests/peer"))
            .env("PYTHONPATH", &self.generated)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // The peer calls only this machine, even if a proxy is configured.
            .env("no_grpc_proxy", "127.0.0.1");
        command
    }
}

/// The interpreter of an environment with the clients of Postgres, see `tests/clients`.
pub fn with_clients() -> Result<PathBuf> {
    let folder = paths::target().join("clients");
    let _lock = locked(&folder)?;
    let requirements = paths::root().join("tests/clients/requirements.txt");
    environment("python3", &folder.join("python"), &requirements)
}

/// Makes a folder, and locks it: of several concurrent runs, one fills it and the others wait.
pub(crate) fn locked(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", folder.display()))?;
    Ok(lock)
}

/// The interpreter of a virtual environment with these packages, which is made unless it exists.
fn environment(python: &str, folder: &Path, requirements: &Path) -> Result<PathBuf> {
    let interpreter = probe(python)?;
    let program = folder.join("bin/python");
    let from = format!("{interpreter}\n{}", read(requirements)?);
    once(folder, &from, || {
        install(python, folder, &program, requirements)
    })?;
    Ok(program)
}

/// The output of the probe.
fn probe(program: &str) -> Result<String, Missing> {
    let output = Command::new(program)
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Missing::new(format!("no {program} in PATH")),
            _ => Missing::new(format!("{program} cannot be run: {error}")),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Missing::new(match last_line(&said) {
        Some(reason) => reason.to_owned(),
        None => format!("{program} does not run ({})", output.status),
    }))
}

/// Makes the folder anew unless it was made from the same; a folder that was not
/// finished counts as none.
pub(crate) fn once(folder: &Path, from: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let stamp = folder.join("made-from");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == from) {
        return Ok(());
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", folder.display()));
        }
        _ => {}
    }
    make()?;
    fs::write(&stamp, from).with_context(|| format!("cannot write {}", stamp.display()))
}

/// The virtual environment, and the packages in it as wheels only: compiling gRPC
/// would take longer than all the tests.
fn install(python: &str, environment: &Path, program: &Path, requirements: &Path) -> Result<()> {
    attempt(
        "a virtual environment cannot be made",
        Command::new(python).args(["-m", "venv"]).arg(environment),
    )?;
    attempt(
        "the packages cannot be installed",
        Command::new(program)
            .args(["-m", "pip", "install", "--quiet", "--retries", "2"])
            .args(["--disable-pip-version-check", "--only-binary", ":all:"])
            .arg("--requirement")
            .arg(requirements),
    )?;
    Ok(())
}

/// Messages and stubs.
fn generate(program: &Path, schemas: &Path, files: &[PathBuf], into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    step::run(
        Command::new(program)
            .args(["-m", "grpc_tools.protoc", "-I"])
            .arg(schemas)
            .arg(format!("--python_out={}", into.display()))
            .arg(format!("--grpc_python_out={}", into.display()))
            .args(files),
    )
}

/// Runs it; a failure is shown in full, and its last line is the reason.
pub(crate) fn attempt(failed: &str, command: &mut Command) -> Result<(), Missing> {
    println!("  $ {}", step::shown(command));
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Missing::new(format!("{failed}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    // venv tells its errors on stdout.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    println!("{said}");
    let reason = last_line(&said).unwrap_or("no reason given");
    Err(Missing::new(format!("{failed}: {reason}")))
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// The schemas from which code is generated, each with the folder to which its imports are
/// relative. The peer has a schema of Ppoppo of its own, so that a slip in a number is found.
fn schemas() -> Result<[(PathBuf, Vec<PathBuf>); 2]> {
    let proto = paths::root().join("proto");
    let own = paths::root().join("tests/peer/proto");
    let pushwoosh = schema_files(&proto.join("pushwoosh"))?;
    let ppoppo = schema_files(&own)?;
    Ok([(proto, pushwoosh), (own, ppoppo)])
}

/// Every `.proto` file, in order.
fn schema_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[test]
    fn a_python_that_is_not_there_is_missing_by_its_name() {
        let missing = probe("no-such-python").unwrap_err();
        assert_eq!(missing.to_string(), "no no-such-python in PATH");
    }

    #[test]
    fn the_reason_of_a_failure_is_its_last_line() {
        let said = "Collecting x\nERROR: No matching distribution found for x\n\n";
        let reason = last_line(said).unwrap();
        assert_eq!(reason, "ERROR: No matching distribution found for x");
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo last; exit 3"]);
        let missing = attempt("it fails", &mut command).unwrap_err();
        assert_eq!(missing.to_string(), "it fails: last");
    }

    #[test]
    fn a_folder_is_made_once_and_again_from_something_else_or_after_a_failure() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("made");
        let make = |from: &str, works: bool| {
            let mut ran = false;
            let made = once(&folder, from, || {
                ran = true;
                fs::create_dir(&folder)?;
                fs::write(folder.join(from), "")?;
                ensure!(works, "no network");
                Ok(())
            });
            (ran, made.is_ok())
        };
        assert_eq!(make("a", false), (true, false));
        assert_eq!(make("a", true), (true, true));
        assert_eq!(make("a", true), (false, true));
        assert_eq!(make("b", true), (true, true));
        assert!(!folder.join("a").exists(), "nothing of the old one is left");
    }

    #[test]
    fn both_schemas_are_found() {
        for (root, files) in schemas().unwrap() {
            assert_eq!(files.len(), 1, "{}: {files:?}", root.display());
        }
    }
}
