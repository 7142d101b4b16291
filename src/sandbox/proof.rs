//! The self-test: what the kernel says of every thread of this process.

use crate::check::{Check, Failure, Fault};
use std::fs;
use std::io;

/// Threads of this process.
pub(crate) fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Filters of this thread, where the kernel tells (5.9).
pub(crate) fn filters() -> Option<u32> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    value(&status, FILTERS)?.parse().ok()
}

/// Failures of all threads, which should have so many filters.
pub(crate) fn examine(filters: Option<u32>) -> Vec<Failure> {
    let tasks = match fs::read_dir("/proc/self/task") {
        Ok(tasks) => tasks,
        Err(error) => return unreadable(&error),
    };
    let mut failures = Vec::new();
    for task in tasks {
        let status = task.and_then(|task| fs::read_to_string(task.path().join("status")));
        match status {
            Ok(status) => failures.extend(faults(&status, filters)),
            // A thread may end between being listed and being looked at.
            Err(error) if gone(&error) => {}
            Err(error) => failures.extend(unreadable(&error)),
        }
    }
    failures
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// What cannot be looked at is not known to hold.
fn unreadable(error: &io::Error) -> Vec<Failure> {
    let again = || io::Error::new(error.kind(), error.to_string());
    [Check::Capabilities, Check::NoNewPrivileges, Check::Seccomp]
        .map(|check| check.failed(again()))
        .into()
}

/// What one thread's status says against it.
fn faults(status: &str, filters: Option<u32>) -> Vec<Failure> {
    let found = |field: &str| value(status, field).unwrap_or("missing");
    let thread = format!("{} ({})", found("Name"), found("Pid"));
    let wrong = |(check, field, wanted): (Check, &'static str, String)| {
        let found = found(field);
        // Capability sets have as many digits as the kernel likes.
        let right = match wanted.as_str() {
            "0" => !found.is_empty() && found.bytes().all(|digit| digit == b'0'),
            wanted => found == wanted,
        };
        let fault = Fault::Status {
            field,
            found: found.to_owned(),
            wanted,
        };
        (!right).then(|| Failure {
            check,
            thread: thread.clone(),
            fault,
        })
    };
    let fixed = WANTED.map(|(check, field, wanted)| (check, field, wanted.to_owned()));
    let counted = filters.map(|count| (Check::Seccomp, FILTERS, count.to_string()));
    fixed.into_iter().chain(counted).filter_map(wrong).collect()
}

fn value<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(str::trim)
}

/// Seccomp 2 is a filter, but maybe only that of the unit: so they are counted. Landlock does not show in /proc: it is
/// known to be in force because it came before any thread.
const WANTED: [(Check, &str, &str); 6] = [
    (Check::Capabilities, "CapEff", "0"),
    (Check::Capabilities, "CapPrm", "0"),
    (Check::Capabilities, "CapInh", "0"),
    (Check::Capabilities, "CapAmb", "0"),
    (Check::NoNewPrivileges, "NoNewPrivs", "1"),
    (Check::Seccomp, "Seccomp", "2"),
];
const FILTERS: &str = "Seccomp_filters";

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Name:\tvkmps-engine\nPid:\t7\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t2\n";

    #[test]
    fn a_confined_thread_has_no_fault() {
        assert_eq!(faults(GOOD, Some(2)).len(), 0);
        assert_eq!(faults(GOOD, None).len(), 0);
    }

    #[test]
    fn filters_are_counted_where_the_kernel_tells() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(filters().is_some(), status.contains(FILTERS));
    }

    #[test]
    fn each_gap_is_found_and_named_with_its_thread() {
        let cases = [
            ("CapEff:\t0000", "CapEff:\t0008", Check::Capabilities),
            ("CapAmb:\t0000", "CapAmb:\t1000", Check::Capabilities),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", Check::NoNewPrivileges),
            ("NoNewPrivs:\t1\n", "", Check::NoNewPrivileges),
            ("Seccomp:\t2", "Seccomp:\t0", Check::Seccomp),
            ("Seccomp:\t2", "Seccomp:\t1", Check::Seccomp),
            // Those of the unit alone.
            ("filters:\t2", "filters:\t0", Check::Seccomp),
            ("filters:\t2", "filters:\t1", Check::Seccomp),
        ];
        for (good, bad, check) in cases {
            let found = faults(&GOOD.replace(good, bad), Some(2));
            assert_eq!(found.len(), 1, "{bad}");
            assert_eq!(found[0].check, check, "{bad}");
            assert_eq!(found[0].thread, "vkmps-engine (7)");
        }
    }
}
