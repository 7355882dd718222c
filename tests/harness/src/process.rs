//! A program under test: started, its output read line by line, ended.

use crate::DEADLINE;
use crate::leash::{self, Leash};
use anyhow::{Context as _, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use rustix::process::Signal;

/// Which output of a program is read; the other is written to its log unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Stdout,
    Stderr,
}

/// A running program. Killed when it is dropped, or when this program ends.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    gate: Arc<Gate>,
    _leash: Leash,
}

impl Process {
    /// Starts it; everything it prints is appended to the log.
    pub fn start(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        speaks: Speaks,
    ) -> Result<Self> {
        let leash = Leash::new("KILL", None)?;
        let other = append_to(log)?;
        command.process_group(0).stdin(Stdio::piped());
        match speaks {
            Speaks::Stdout => command.stdout(Stdio::piped()).stderr(other),
            Speaks::Stderr => command.stdout(other).stderr(Stdio::piped()),
        };
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {}", crate::step::shown(command)))?;
        leash.hold(child.id())?;
        let output: Box<dyn Read + Send> = match speaks {
            Speaks::Stdout => Box::new(child.stdout.take().context("no stdout")?),
            Speaks::Stderr => Box::new(child.stderr.take().context("no stderr")?),
        };
        let gate = Arc::<Gate>::default();
        let (lines, reader) = read(output, append_to(log)?, gate.clone());
        Ok(Self {
            name,
            stdin: child.stdin.take(),
            child,
            log: log.to_owned(),
            lines,
            reader: Some(reader),
            gate,
            _leash: leash,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line it printed; an error when it ended or the time is up.
    pub fn line(&mut self, within: Duration) -> Result<String> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {within:?}\n{}", self.name, self.tail())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = leash::wait(&mut self.child, Duration::from_secs(10))?;
                bail!("{} ended ({})\n{}", self.name, told(status), self.tail())
            }
        }
    }

    /// A line it printed already, if any.
    pub fn waiting_line(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// Writes a line to its stdin.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its stdin is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("cannot write to {}", self.name))
    }

    /// Closes its stdin.
    pub fn hang_up(&mut self) {
        self.stdin.take();
    }

    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        leash::signal(self.child.id(), signal)
    }

    /// Nobody reads what it prints until [`Process::read`].
    pub fn leave_unread(&self) {
        self.gate.set(true);
    }

    pub fn read(&self) {
        self.gate.set(false);
    }

    /// SIGSTOP: nothing of it runs until [`Process::resume`].
    pub fn pause(&self) -> Result<()> {
        leash::signal(self.child.id(), Signal::STOP)
    }

    pub fn resume(&self) -> Result<()> {
        leash::signal(self.child.id(), Signal::CONT)
    }

    /// SIGKILL, and gone on return.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        // It is gone when the disk has answered, where it waits for one.
        self.ended(DEADLINE).map(drop)
    }

    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, with everything it printed in the log.
    pub fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let Some(status) = leash::wait(&mut self.child, within)? else {
            bail!("{} still runs after {within:?}\n{}", self.name, self.tail());
        };
        self.read();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(status)
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, for a failure's report.
    pub fn tail(&self) -> String {
        tail(self.name, &self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        self.read();
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

fn append_to(log: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))
}

/// Closed while nobody is to read what a program prints.
#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.changed.notify_all();
    }

    /// Waits until it is open.
    fn pass(&self) {
        let is_closed = self
            .is_closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let passed = self.changed.wait_while(is_closed, |is_closed| *is_closed);
        drop(passed);
    }
}

/// A thread, so that a program never waits for this one to read, unless the gate is closed.
fn read(
    output: Box<dyn Read + Send>,
    mut log: File,
    gate: Arc<Gate>,
) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            // Neither a full disk nor a caller that no longer reads may stop this thread.
            let _ = writeln!(log, "{line}");
            let _ = sender.send(line);
            gate.pass();
        }
    });
    (lines, reader)
}

fn told(status: Option<ExitStatus>) -> String {
    match status {
        None => "its output is closed, but it still runs".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        },
    }
}

fn tail(name: &str, log: &Path) -> String {
    const LINES: usize = 40;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default();
    format!("--- the end of {name}'s log\n{}", last.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_waits_while_its_output_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        // More than a pipe holds, and then a sign.
        let mut command = Command::new("sh");
        command.args(["-c", "read go; yes | head -c 300000; touch done"]);
        command.current_dir(folder.path());
        let mut process = Process::start("sh", &mut command, &log, Speaks::Stdout).unwrap();
        process.leave_unread();
        process.tell("go").unwrap();
        // With a reader it is there at once.
        let is_done = || folder.path().join("done").exists();
        let until = std::time::Instant::now() + Duration::from_millis(300);
        while !is_done() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!is_done() && process.has_ended().unwrap().is_none());
        process.read();
        assert!(process.ended(DEADLINE).unwrap().success());
        assert!(is_done());
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 300_000);
    }
}
