//! How the processes of vkmps touch each other: sockets that carry descriptors, sealed memory, rings in it, wake-ups.
#![allow(
    unsafe_code,
    reason = "mmap, futex and fork have no safe form; every other crate but gpu, capi and icd forbids it"
)]

pub mod attempt;
pub mod crash;
mod lane;
pub mod memory;
pub mod ring;
pub mod socket;
pub mod spawn;
pub mod wake;

/// An operating-system call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed: {errno}")]
pub struct SystemError {
    /// The call.
    pub call: &'static str,
    /// Its error.
    pub errno: nix::errno::Errno,
}

impl SystemError {
    /// For `map_err`: names the call that failed.
    pub fn of(call: &'static str) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self { call, errno }
    }
}
