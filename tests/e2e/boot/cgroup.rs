//! A machine's part of the unified hierarchy of control groups: what its systemd takes for the root.

use super::{BootError, at};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vkmps_tests::patience::holds_within;

/// A control group, killed and removed on drop with all that is in it.
#[derive(Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one for a machine of this process.
    pub(crate) fn new(number: usize) -> Result<Self, BootError> {
        let path = parent()?.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(at(&path))?;
        Ok(Self(path))
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves this process into one.
    pub(crate) fn enter(path: &Path) -> Result<(), BootError> {
        let file = path.join("cgroup.procs");
        fs::write(&file, std::process::id().to_string()).map_err(at(&file))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes those of a process, with all that runs in them.
pub(crate) fn remove_all_of(process: u32) {
    let prefix = format!("{PREFIX}{process}-");
    for group in groups().filter(|group| name(group).starts_with(&prefix)) {
        remove(&group);
    }
}

/// Removes what runs that were killed left behind.
pub(crate) fn remove_orphans() {
    for group in groups() {
        let of = name(&group)
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if of.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(&group);
        }
    }
}

fn groups() -> impl Iterator<Item = PathBuf> {
    let folder = parent().and_then(|parent| fs::read_dir(&parent).map_err(at(&parent)));
    let entries = folder.into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| name(path).starts_with(PREFIX) && path.is_dir())
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn remove(group: &Path) {
    // Kernels before 5.14 do not know the file.
    let _ = fs::write(group.join("cgroup.kill"), "1");
    let gone = holds_within(LIMIT, || {
        for folder in below(group) {
            let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            for process in processes.lines().filter_map(|line| line.parse().ok()) {
                let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
            }
            let _ = fs::remove_dir(folder);
        }
        !group.exists()
    });
    if !gone {
        eprintln!("{} cannot be removed, ignoring", group.display());
    }
}

/// A folder and all below it, deepest first.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        found.extend(folders.collect::<Vec<_>>());
        next += 1;
    }
    found.reverse();
    found
}

/// Our own group of the unified hierarchy, or its root where ours may have no children with controllers.
fn parent() -> Result<PathBuf, BootError> {
    // The second is where systemd keeps it beside the older hierarchies.
    let hierarchy = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(Path::new)
        .into_iter()
        .find(|path| statfs(*path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC))
        .ok_or_else(|| BootError::Unable("no unified hierarchy of control groups".to_owned()))?;
    let membership = Path::new("/proc/self/cgroup");
    let groups = fs::read_to_string(membership).map_err(at(membership))?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = hierarchy.join(own.unwrap_or_default());
    let has =
        |file: &str| fs::read_to_string(own.join(file)).is_ok_and(|text| !text.trim().is_empty());
    Ok(match has("cgroup.procs") && has("cgroup.subtree_control") {
        true => hierarchy.to_owned(),
        false => own,
    })
}

const PREFIX: &str = "vkmps-e2e-";
/// What is killed is gone at once, but for processes that the kernel still holds.
const LIMIT: Duration = Duration::from_secs(10);
