//! What stays within reach of a confined process: files, by Landlock.

use crate::Role;
use crate::check::Fault;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::fmt;
use std::path::{Path, PathBuf};

/// Files and folders that stay within reach, with all that is in them. Those that do not exist stay out of it.
///
/// Nothing is ever executable, and no path leads to a socket that was not there before: Landlock has no say over
/// connecting, which is the filter's to refuse.
#[derive(Debug, Clone, Default)]
pub struct Reach(Vec<(PathBuf, BitFlags<AccessFs>)>);

/// How much of what was asked of Landlock the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All.
    Full,
    /// All that its older Landlock knows of: files always, TCP from Linux 6.7 on, device control from 6.10, signals and
    /// abstract sockets from 6.12.
    Partial,
    /// Nothing.
    None,
}

impl Reach {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// To be read.
    pub fn read(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, AccessFs::ReadFile | AccessFs::ReadDir)
    }

    /// A device node, or a folder of them: to be read, written and controlled.
    pub fn device(self, path: impl Into<PathBuf>) -> Self {
        let access = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile;
        self.with(path, access | AccessFs::IoctlDev)
    }

    /// A folder in which files and folders come, change and go.
    pub fn keep(self, path: impl Into<PathBuf>) -> Self {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::Refer;
        let make = AccessFs::MakeReg | AccessFs::MakeDir;
        let remove = AccessFs::RemoveFile | AccessFs::RemoveDir;
        self.with(path, read | write | make | remove)
    }

    /// A folder out of which files may be removed, no more.
    pub fn remove(self, path: impl Into<PathBuf>) -> Self {
        self.with(path, AccessFs::RemoveFile)
    }

    /// What a driver needs: see the `drivers` module. Its caches are the one place where it may write.
    pub fn of_driver(cache: Option<&Path>) -> Self {
        let reach = crate::drivers::reach();
        match cache {
            Some(cache) => reach.keep(cache),
            None => reach,
        }
    }

    /// What vkmpsd needs to read wherever its configuration is: names of users, its own state, who its peers are.
    pub fn of_daemon() -> Self {
        ["/etc/passwd", "/etc/group", "/etc/machine-id", "/proc"]
            .into_iter()
            .fold(Self::nothing(), Self::read)
    }

    /// Whether a path is listed, or a folder that it is in.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        self.0.iter().any(|(listed, _)| path.starts_with(listed))
    }

    fn with(mut self, path: impl Into<PathBuf>, access: impl Into<BitFlags<AccessFs>>) -> Self {
        self.0.push((path.into(), access.into()));
        self
    }

    /// Puts everything else out of reach of this thread and all that it starts.
    pub(crate) fn enforce(&self, role: Role) -> Result<Extent, Fault> {
        let mut ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?;
        // vkmpsd kills engines, and speaks to a systemd that may listen on an abstract socket.
        if role != Role::Daemon {
            ruleset = ruleset.scope(Scope::from_all(NEWEST))?;
        }
        let mut created = ruleset.create()?;
        for (path, access) in &self.0 {
            let Ok(fd) = PathFd::new(path) else { continue };
            let mut access = *access;
            if !path.is_dir() {
                access &= AccessFs::from_file(NEWEST);
            }
            if !access.is_empty() {
                created = created.add_rule(PathBeneath::new(fd, access))?;
            }
        }
        let status = created.restrict_self()?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, landlock) => Err(Fault::NoLandlock(landlock)),
            (RulesetStatus::FullyEnforced, LandlockStatus::Available { .. }) => Ok(Extent::Full),
            _ => Ok(Extent::Partial),
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        })
    }
}

/// The newest Landlock that was tried. On an older one what it does not know is not enforced; on a newer one what came
/// later is not asked for.
const NEWEST: ABI = ABI::V7;
