//! What /proc says about processes: CPU time, memory, descendants.

use crate::error::Error;
use std::fs;
use std::path::PathBuf;

/// Memory of one or several processes, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Footprint {
    /// Pages in memory; pages shared with others count in full.
    pub(crate) rss_bytes: u64,
    /// The same with shared pages divided among those who map them.
    pub(crate) pss_bytes: u64,
}

/// The sum over the processes; one that has ended counts nothing.
pub(crate) fn footprint(pids: &[u32]) -> Footprint {
    let mut sum = Footprint::default();
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss_bytes += kilobytes(&text, "Rss:") * 1024;
        sum.pss_bytes += kilobytes(&text, "Pss:") * 1024;
    }
    sum
}

/// CPU time of all threads of the processes so far, nanoseconds.
///
/// `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms; kernels without it leave only the latter.
pub(crate) fn cpu_ns(pids: &[u32]) -> Result<u64, Error> {
    let mut sum = 0;
    for pid in pids {
        let threads = PathBuf::from(format!("/proc/{pid}/task"));
        let entries = fs::read_dir(&threads).map_err(|source| Error::File {
            path: threads,
            what: "the process is gone",
            source,
        })?;
        for thread in entries.flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let running = text
                .split_whitespace()
                .next()
                .and_then(|field| field.parse::<u64>().ok());
            sum += running.unwrap_or_else(|| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                ticks(&stat).unwrap_or(0) * TICK_NS
            });
        }
    }
    Ok(sum)
}

/// What processes hold of the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    /// Of memory that is shared with clients.
    pub(crate) mappings: usize,
    pub(crate) threads: usize,
}

impl Holdings {
    /// What is more of each.
    pub(crate) fn beyond(self, before: Self) -> Self {
        Self {
            descriptors: self.descriptors.saturating_sub(before.descriptors),
            mappings: self.mappings.saturating_sub(before.mappings),
            threads: self.threads.saturating_sub(before.threads),
        }
    }
}

/// The sum over the processes; one that has ended holds nothing.
pub(crate) fn holdings(pids: &[u32]) -> Holdings {
    let entries = |pid: &u32, folder: &str| {
        let entries = fs::read_dir(format!("/proc/{pid}/{folder}"));
        entries.map_or(0, Iterator::count)
    };
    let mut sum = Holdings::default();
    for pid in pids {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let shared = maps.lines().filter(|line| line.contains("/memfd:"));
        sum.mappings += shared.count();
        sum.descriptors += entries(pid, "fd");
        sum.threads += entries(pid, "task");
    }
    sum
}

/// The process, its children, their children and so on.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = all().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![root];
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        family.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == pid)
                .map(|(child, _)| child),
        );
        next += 1;
    }
    family
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    after_name(&stat).nth(1)?.parse().ok()
}

/// utime + stime, in ticks.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = after_name(stat).skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

/// The fields of a `stat` file from the state on: the name before them may hold blanks and parentheses.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// USER_HZ is 100 on every Linux architecture that Vulkan drivers exist for.
const TICK_NS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 1 0 9";
        assert_eq!(after_name(stat).nth(1), Some("3"));
        assert_eq!(ticks(stat), Some(110));
    }

    #[test]
    fn this_process_has_memory_and_is_of_its_own_family() {
        let me = std::process::id();
        assert!(footprint(&[me]).rss_bytes > 0);
        assert!(family(me).contains(&me));
        assert!(cpu_ns(&[me]).is_ok());
    }
}
