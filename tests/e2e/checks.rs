//! What is checked, each on a machine of its own with the packages installed.

mod activation;
mod authority;
mod bus;
mod commands;
mod configuration;
mod crashes;
mod hostile;
mod packages;
mod records;
mod sandbox;
mod sessions;

use crate::boot::Machine;

/// A check; it panics if what it checks does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    /// A sentence.
    pub(crate) name: &'static str,
    /// With a machine that nobody else uses.
    pub(crate) run: fn(&Machine),
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Check> {
    [
        activation::CHECKS,
        bus::CHECKS,
        authority::CHECKS,
        configuration::CHECKS,
        crashes::CHECKS,
        hostile::CHECKS,
        sandbox::CHECKS,
        records::CHECKS,
        commands::CHECKS,
        sessions::CHECKS,
        packages::CHECKS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// The checks of a module by the names of their functions.
macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        /// The checks of this module.
        pub(super) const CHECKS: &[crate::checks::Check] = &[
            $(crate::checks::Check { name: stringify!($name), run: $name }),*
        ];
    };
}
use checks;
