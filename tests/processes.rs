//! Processes as /proc shows them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// A process that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process(pub u32);

impl Process {
    /// Its children.
    pub fn children(self) -> Vec<Process> {
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .map(Process);
        pids.filter(|process| process.parent() == Some(self))
            .collect()
    }

    /// Children, their children and so on.
    pub fn descendants(self) -> Vec<Process> {
        let mut found = self.children();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            found.extend(process.children());
            next += 1;
        }
        found
    }

    /// Its parent; `None` once it is gone. A zombie still has one.
    pub fn parent(self) -> Option<Process> {
        self.stat_field(1)?.parse().ok().map(Process)
    }

    /// Whether it runs: a zombie does not.
    pub fn is_alive(self) -> bool {
        self.stat_field(0)
            .is_some_and(|state| state != "Z" && state != "X")
    }

    /// Whether it is stopped.
    pub fn is_stopped(self) -> bool {
        self.stat_field(0).is_some_and(|state| state == "T")
    }

    /// Its arguments, joined by blanks.
    pub fn command_line(self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.0)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    /// Open descriptors, by what they lead to.
    pub fn descriptors(self) -> Vec<String> {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.0))
            .into_iter()
            .flatten()
            .flatten();
        let links = folder.filter_map(|entry| fs::read_link(entry.path()).ok());
        links
            .map(|link| link.to_string_lossy().into_owned())
            .collect()
    }

    /// Mappings of memfds of ours: rings, arenas and whatever else is shared.
    pub fn shared_mappings(self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0)).unwrap_or_default();
        maps.lines()
            .filter(|line| line.contains("/memfd:vkmps"))
            .count()
    }

    /// Resident memory without what is shared, bytes.
    pub fn private_bytes(self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }

    /// A mask of signals from its status: `SigIgn`, `SigBlk`, `SigCgt`.
    pub fn signal_mask(self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    }

    /// Processor time of all its threads.
    pub fn processor_time(self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0))
            .into_iter()
            .flatten()
            .flatten();
        let time = |task: fs::DirEntry| {
            let schedule = fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedule.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.filter_map(time).sum())
    }

    /// Sends a signal; a process that is gone is no error.
    pub fn signal(self, signal: Signal) {
        let pid = i32::try_from(self.0).expect("the kernel gave it out as an i32");
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// The field of /proc/PID/stat with this index behind the name, which may hold anything.
    fn stat_field(self, index: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        let (_, behind_name) = stat.rsplit_once(')')?;
        behind_name.split_whitespace().nth(index).map(str::to_owned)
    }
}

/// How often each thing occurs, for comparing descriptors before and after.
pub fn counted(things: Vec<String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for thing in things {
        // Numbers of sockets and pipes differ from one to the next.
        let kind = thing.split(":[").next().unwrap_or_default().to_owned();
        *counts.entry(kind).or_default() += 1;
    }
    counts
}
