//! CPU time of processes, from /proc.

use anyhow::{Context as _, Result};
use std::fs;
use std::time::Duration;
use tidings_harness::procfs;

/// Length of a clock tick in /proc, which is the same on every Linux that we run on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of this process and its threads so far.
pub(crate) fn of_process(pid: u32) -> Result<Duration> {
    Ok(read(pid)?.own)
}

/// CPU time of a cluster: the postmaster, its running children, and those that have ended.
pub(crate) fn of_cluster(postmaster: u32) -> Result<Duration> {
    let times = read(postmaster)?;
    let mut sum = times.own + times.ended_children;
    for child in procfs::children(postmaster)? {
        // One that ended meanwhile is counted with the postmaster's next time.
        sum += read(child).map_or(Duration::ZERO, |times| times.own);
    }
    Ok(sum)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    own: Duration,
    ended_children: Duration,
}

fn read(pid: u32) -> Result<Spent> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(&stat).with_context(|| format!("{path} is not as documented"))
}

/// `pid (name) state ..`, where the name may hold anything; utime is the 14th field.
fn parse(stat: &str) -> Option<Spent> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest
        .split(' ')
        .skip(11)
        .map(|field| field.parse::<u32>().ok());
    let mut time = || Some(TICK * fields.next()??);
    Some(Spent {
        own: time()? + time()?,
        ended_children: time()? + time()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 6 7";
        let spent = parse(stat).unwrap();
        assert_eq!(spent.own, Duration::from_millis(330));
        assert_eq!(spent.ended_children, Duration::from_millis(770));
        assert_eq!(parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_seen() {
        assert!(of_process(std::process::id()).is_ok());
        assert!(of_cluster(std::process::id()).is_ok());
    }
}
