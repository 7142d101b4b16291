//! The filters of system calls, as the kernel takes them.

use crate::Role;
use crate::syscalls::{self, Arguments, Call, Condition};
use nix::libc::{ENOSYS, EPERM, SYS_clone3};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Filters the calls of all threads from now on.
pub(crate) fn install(role: Role) -> Result<(), Error> {
    apply_filter_all_threads(&without_clone3()?)?;
    apply_filter_all_threads(&allowing(&syscalls::of(role))?)
}

/// Filters that [`install`] adds to those that there are.
pub(crate) const COUNT: u32 = 2;

/// clone3 takes its flags in memory, where no filter can see them: as far as callers can tell this kernel has none, and
/// they fall back to clone. It is a filter of its own, and the first, since the strictest verdict counts and the latest
/// among equals: one that is refused (EPERM) would not be tried otherwise.
fn without_clone3() -> Result<BpfProgram, Error> {
    let rules = BTreeMap::from([(SYS_clone3, Vec::new())]);
    program(rules, SeccompAction::Allow, errno(ENOSYS))
}

/// Everything else is refused, which the caller notices and survives.
fn allowing(calls: &[Call]) -> Result<BpfProgram, Error> {
    let mut rules = BTreeMap::new();
    for (number, arguments) in calls {
        let alternatives = match arguments {
            Arguments::Any => Vec::new(),
            Arguments::OneOf(alternatives) => alternatives
                .iter()
                .map(|conditions| rule(conditions))
                .collect::<Result<_, _>>()?,
        };
        rules.insert(*number, alternatives);
    }
    program(rules, errno(EPERM), SeccompAction::Allow)
}

fn rule(conditions: &[Condition]) -> Result<SeccompRule, Error> {
    let conditions = conditions.iter().map(|condition| {
        let (argument, comparison, value) = match *condition {
            Condition::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            Condition::IsNot(argument, value) => (argument, SeccompCmpOp::Ne, value),
            Condition::Bits { argument, of, are } => (argument, SeccompCmpOp::MaskedEq(of), are),
        };
        // All of these arguments are ints or pointers' worth of flags, of which the kernel looks at 32 bits.
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> Result<BpfProgram, Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, otherwise, matching, architecture)?;
    Ok(filter.try_into()?)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_of_all_roles_compile() {
        without_clone3().unwrap();
        for role in [Role::Daemon, Role::Engine, Role::Compiler] {
            allowing(&syscalls::of(role)).unwrap();
        }
    }
}
