//! Ends processes and removes a folder when this program ends, in whatever way it ends.
//!
//! Destructors do not run on a signal or a SIGKILL. A small shell therefore waits at the
//! other end of a pipe. If the pipe closes without the line `done`, this program is gone,
//! and the shell ends the registered processes. These are in process groups of their own,
//! so that Ctrl-C reaches only this program.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Reads process ids, one a line; `$1` the signal, `$2` the folder or nothing, `$3` what is
/// mounted there or nothing. A stopped process takes a signal once it goes on.
const HOLDER: &str = r#"
pids=
while read -r word; do
  case $word in done) exit 0 ;; *) pids="$pids $word" ;; esac
done
for pid in $pids; do kill -s "$1" "$pid"; kill -s CONT "$pid"; done
tries=100
for pid in $pids; do
  while kill -0 "$pid" && [ "$tries" -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
done
[ -z "$3" ] || umount -l -- "$3"
[ -z "$2" ] || rm -rf -- "$2"
"#;

/// Held leashes, for the signal handler.
static HELD: Mutex<BTreeMap<u64, Held>> = Mutex::new(BTreeMap::new());

/// Whether a signal has come that ends the program.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
struct Held {
    pids: Vec<u32>,
    pipe: ChildStdin,
    holder: Child,
}

/// Registers processes, and perhaps a folder, until it is dropped. Dropping it only
/// unregisters them: the owner ends them first.
#[derive(Debug)]
pub struct Leash {
    key: u64,
}

impl Leash {
    /// `signal` is a name as in kill(1): QUIT, KILL, TERM.
    pub fn new(signal: &str, folder: Option<&Path>) -> Result<Self> {
        Self::hold_with(signal, folder, None)
    }

    /// Registers a mount at this folder.
    pub fn of_mount(folder: &Path) -> Result<Self> {
        Self::hold_with("KILL", Some(folder), Some(folder))
    }

    fn hold_with(signal: &str, folder: Option<&Path>, mount: Option<&Path>) -> Result<Self> {
        on_signals()?;
        let mut holder = Command::new("sh")
            .args(["-c", HOLDER, "leash", signal])
            .arg(folder.unwrap_or(Path::new("")))
            .arg(mount.unwrap_or(Path::new("")))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let pipe = holder.stdin.take().context("sh has no stdin")?;
        let mut held = held();
        let key = held.last_key_value().map_or(0, |(last, _)| last + 1);
        held.insert(
            key,
            Held {
                pids: Vec::new(),
                pipe,
                holder,
            },
        );
        Ok(Self { key })
    }

    /// Registers one more process, a child of this program.
    pub fn hold(&self, pid: u32) -> Result<()> {
        let mut held = held();
        let leash = held.get_mut(&self.key).context("the leash is gone")?;
        leash.pids.push(pid);
        writeln!(leash.pipe, "{pid}").context("cannot tell the leash's shell")
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(mut leash) = held().remove(&self.key) {
            // If the shell is gone already, there is nothing to do.
            let _ = writeln!(leash.pipe, "done");
            drop(leash.pipe);
            let _ = leash.holder.wait();
        }
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a process id")?;
    kill_process(process, signal).with_context(|| format!("cannot signal process {pid}"))
}

/// Waits for a child's end, or None at the deadline.
pub fn wait(child: &mut Child, within: Duration) -> Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// After a signal, waits for the end: later failures only follow from processes that have
/// been ended, and must not be reported.
pub fn mute_after_signal() {
    while SIGNALLED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn held() -> MutexGuard<'static, BTreeMap<u64, Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// On SIGINT, SIGTERM and SIGHUP, ends and removes everything that is registered before
/// this program ends, with the exit status that a shell reports for the signal.
fn on_signals() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result =
            signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).map(|mut signals| {
                std::thread::spawn(move || {
                    if let Some(signal) = signals.forever().next() {
                        SIGNALLED.store(true, Ordering::SeqCst);
                        end_all();
                        std::process::exit(128 + signal);
                    }
                });
            });
    });
    result.context("cannot handle signals")
}

fn end_all() {
    // The lock is kept until the exit, so that nothing new is held meanwhile.
    let mut held = held();
    for leash in std::mem::take(&mut *held).into_values().rev() {
        let Held {
            pids,
            pipe,
            mut holder,
        } = leash;
        drop(pipe);
        // The shell waits until they are gone: as zombies they are not.
        for pid in pids {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = waitpid(Some(pid), WaitOptions::empty());
            }
        }
        let _ = holder.wait();
    }
    std::mem::forget(held);
}
