//! What is checked, and how a check fails.

use std::fmt;
use std::str::FromStr;

/// A part of the sandbox, by the name that configuration knows it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// No thread has any capability.
    Capabilities,
    /// No program that is executed can gain privileges.
    NoNewPrivileges,
    /// Every thread's system calls are filtered.
    Seccomp,
    /// Files, devices and TCP ports are out of reach but for those listed.
    Landlock,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Seccomp,
        Self::Landlock,
    ];

    /// Its name in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
        }
    }

    pub(crate) fn failed(self, fault: impl Into<Fault>) -> Failure {
        let thread = std::thread::current();
        Failure {
            check: self,
            thread: thread.name().unwrap_or("unnamed").to_owned(),
            fault: fault.into(),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Check {
    type Err = UnknownCheck;

    fn from_str(name: &str) -> Result<Self, UnknownCheck> {
        let found = Self::ALL.into_iter().find(|check| check.name() == name);
        found.ok_or_else(|| UnknownCheck(name.to_owned()))
    }
}

/// No check has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of capabilities, no-new-privileges, seccomp, landlock")]
pub struct UnknownCheck(String);

/// A check failed: the process must not serve, unless its administrator wants only to be warned.
#[derive(Debug, thiserror::Error)]
#[error("sandbox check \"{check}\" failed in thread \"{thread}\": {fault}")]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// The first thread that it failed in.
    pub thread: String,
    /// How.
    pub fault: Fault,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A capability cannot be dropped.
    #[error("{0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// no_new_privs cannot be set.
    #[error("prctl(PR_SET_NO_NEW_PRIVS) failed: {0}")]
    NoNewPrivileges(#[from] nix::errno::Errno),
    /// Landlock refused a rule, or to be put into force.
    #[error("{0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The kernel has no Landlock, or it is off, or a filter of system calls hides it.
    #[error("the kernel does not offer Landlock ({0:?})")]
    NoLandlock(landlock::LandlockStatus),
    /// Landlock came after threads had been started, which it does not bind.
    #[error("{0} threads were running before it was put into force")]
    Late(usize),
    /// The filter cannot be made or installed.
    #[error("{0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The thread's status says otherwise.
    #[error("its status has {field} {found}, not {wanted}")]
    Status {
        /// Field of /proc/self/task/TID/status.
        field: &'static str,
        /// Its value.
        found: String,
        /// The value that it should have.
        wanted: String,
    },
    /// The state of a thread cannot be read.
    #[error("/proc/self/task cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_found_by_its_name_and_nothing_else_is() {
        for check in Check::ALL {
            assert_eq!(check.name().parse(), Ok(check));
        }
        let error = Check::from_str("selinux").unwrap_err();
        for check in Check::ALL {
            assert!(error.to_string().contains(check.name()), "{error}");
        }
    }

    #[test]
    fn a_failure_names_the_check_and_the_thread() {
        let text = Check::Landlock.failed(Fault::Late(3)).to_string();
        for part in ["\"landlock\"", "a_failure_names", "3 threads"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
