//! How the processes of vkmps confine themselves, and how they prove it.
//!
//! Capabilities, no_new_privs and Landlock belong to a thread and are inherited by the threads it starts: they are taken
//! while there is one. The system call filter comes last, when the driver has loaded, on all threads at once. The types
//! allow no other order:
//!
//! ```text
//! Unprivileged::begin ──▶ enclose ──▶ Enclosed ──▶ seal ──▶ Report
//! no_new_privs,           Landlock    threads,     seccomp,
//! no capabilities                     driver       proof over every thread
//! ```
//!
//! Between the first two steps a process may fork one that needs more of the file system than itself.
#![forbid(unsafe_code)]

mod check;
mod confinement;
mod drivers;
mod filter;
pub mod probe;
mod proof;
mod reach;
mod syscalls;

pub use check::{Check, Failure, Fault, UnknownCheck};
pub use confinement::{Enclosed, Report, Unprivileged};
pub use reach::{Extent, Reach};

/// Who is to be confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// vkmpsd: sockets and D-Bus; no device, no program, no executable memory beyond its own code.
    Daemon,
    /// The process that runs work: a driver and its devices; no socket but the one it has.
    Engine,
    /// The process that compiles modules: as an engine.
    Compiler,
}
