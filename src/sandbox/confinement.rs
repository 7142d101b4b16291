//! The steps, in the only order that the types allow.

use crate::check::{Check, Failure, Fault};
use crate::reach::{Extent, Reach};
use crate::{Role, filter, proof};
use caps::CapSet;

/// Privileges are gone for good; files are still in reach.
#[derive(Debug)]
#[must_use = "a process without privileges is not confined yet"]
pub struct Unprivileged(Findings);

/// Files and devices are out of reach, also for every thread started from now on.
#[derive(Debug)]
#[must_use = "a process whose system calls are not filtered is not confined yet"]
pub struct Enclosed {
    findings: Findings,
    extent: Extent,
}

/// The sandbox is closed, and every thread was looked at.
#[derive(Debug)]
pub struct Report {
    /// Checks that failed and were to be warnings only.
    pub warnings: Vec<String>,
    /// How much of Landlock this kernel enforces.
    pub extent: Extent,
}

/// What was found so far.
#[derive(Debug)]
struct Findings {
    role: Role,
    warn_only: Vec<Check>,
    failures: Vec<Failure>,
}

impl Unprivileged {
    /// Sets no_new_privs and drops all capabilities, for this thread and those that it will start. Checks in
    /// `warn_only` become warnings of the [`Report`] when they fail.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn begin(role: Role, warn_only: &[Check]) -> Result<Self, Failure> {
        let mut findings = Findings {
            role,
            warn_only: warn_only.to_vec(),
            failures: Vec::new(),
        };
        let set = nix::sys::prctl::set_no_new_privs();
        findings.note(set.map_err(|errno| Check::NoNewPrivileges.failed(errno)))?;
        findings.note(drop_capabilities().map_err(|fault| Check::Capabilities.failed(fault)))?;
        Ok(Self(findings))
    }

    /// Puts all files, devices and TCP ports out of reach but for what is listed.
    ///
    /// # Errors
    /// When the kernel cannot, or when there are other threads, whom this would not bind.
    pub fn enclose(mut self, reach: &Reach) -> Result<Enclosed, Failure> {
        let enforced = match proof::threads() {
            Ok(1) => reach.enforce(self.0.role),
            Ok(threads) => Err(Fault::Late(threads - 1)),
            Err(error) => Err(error.into()),
        };
        let extent = *enforced.as_ref().unwrap_or(&Extent::None);
        let enforced = enforced.map(drop);
        self.0
            .note(enforced.map_err(|fault| Check::Landlock.failed(fault)))?;
        Ok(Enclosed {
            findings: self.0,
            extent,
        })
    }
}

impl Enclosed {
    /// Filters the system calls of all threads, then looks at each of them.
    ///
    /// # Errors
    /// The first check that fails in any thread.
    pub fn seal(self) -> Result<Report, Failure> {
        let mut findings = self.findings;
        let before = proof::filters();
        let installed = filter::install(findings.role);
        findings.note(installed.map_err(|error| Check::Seccomp.failed(error)))?;
        for failure in proof::examine(before.map(|before| before + filter::COUNT)) {
            findings.note(Err(failure))?;
        }
        Ok(Report {
            warnings: findings.failures.iter().map(Failure::to_string).collect(),
            extent: self.extent,
        })
    }
}

impl Findings {
    /// A failure ends the start, unless it was to be a warning; one of a kind is enough.
    fn note(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        match result {
            Err(failure) if self.warn_only.contains(&failure.check) => {
                if !self.failures.iter().any(|old| old.check == failure.check) {
                    self.failures.push(failure);
                }
                Ok(())
            }
            other => other,
        }
    }
}

/// Empties all sets of this thread.
fn drop_capabilities() -> Result<(), Fault> {
    // Only who has CAP_SETPCAP may: without, no_new_privs keeps the bounding set from ever mattering.
    let _ = caps::clear(None, CapSet::Bounding);
    // Not there in some containers; without a permitted capability there is no ambient one either.
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        // A unit's filter refuses the call itself, and has left nothing to drop.
        if !caps::read(None, set)?.is_empty() {
            caps::clear(None, set)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_check_ends_the_start_unless_it_is_to_be_a_warning() {
        let mut findings = Findings {
            role: Role::Daemon,
            warn_only: vec![Check::Landlock],
            failures: Vec::new(),
        };
        findings
            .note(Err(Check::Landlock.failed(Fault::Late(1))))
            .unwrap();
        findings
            .note(Err(Check::Landlock.failed(Fault::Late(2))))
            .unwrap();
        assert_eq!(findings.failures.len(), 1, "one warning of a kind");
        let failure = Check::Seccomp.failed(nix::errno::Errno::ENOSYS);
        let failure = findings.note(Err(failure)).unwrap_err();
        assert_eq!(failure.check, Check::Seccomp);
    }
}
