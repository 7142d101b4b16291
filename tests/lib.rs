//! What the end-to-end tests stand on: the real binaries, private daemons, clients that check every result, clients
//! that break every rule.
//!
//! Run them with `cargo build --workspace && cargo test -p vkmps-tests`: Cargo alone does not build the binaries and
//! libraries of other packages for a test, so the first command is not optional, and a stale one is an error.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod client_process;
pub mod daemon;
pub mod executor;
pub mod flood;
pub mod folder;
pub mod hostile;
pub mod kernels;
pub mod lane;
pub mod log;
pub mod patience;
pub mod processes;
pub mod samples;
pub mod witness;
