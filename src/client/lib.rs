//! The Rust client of vkmps: many processes share one Vulkan device through the daemon `vkmpsd`.
//!
//! ```no_run
//! use vkmps::{Client, Dispatch, Memory};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect()?;
//! let program = client.program(&std::fs::read("shaders/vector_add.spv")?).register()?;
//! let buffer = || client.alloc(4096, Memory::Shared);
//! let (a, b, c) = (buffer()?, buffer()?, buffer()?);
//! a.write(0, &[1; 4096])?;
//! let count = 1024_u32.to_le_bytes();
//! let add = Dispatch::new(&program, [16, 1, 1]).push(&count).read(&a).read(&b).write(&c);
//! client.submit(add)?.wait()?;
//! let mut out = vec![0; 4096];
//! c.read(0, &mut out)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//! Submits of one [`Stream`] take effect in order; submits of different streams are independent until one was waited
//! for. Within a stream the engine overlaps what does not touch the same bytes.
//!
//! # Failure
//! A submit that fails poisons its stream: it and every submit already behind it report the failure. The call that
//! reports it first ([`Submission::wait`], [`Submission::is_done`], an `await`, a [`Buffer::read`]) acknowledges it,
//! and submits made after that run again. The loss of the daemon or its engine ends the session: every call then
//! returns the same error, and the program connects again.
//!
//! # Threads
//! Everything here is `Send` and `Sync` and may be shared. No call waits for ever on a daemon that is gone.
#![forbid(unsafe_code)]

mod allocation;
mod batch;
mod buffer;
mod check;
mod client;
mod connection;
mod control;
mod dispatch;
mod environment;
mod error;
mod handshake;
mod lane;
mod lock;
mod mapping;
mod program;
mod reactor;
mod release;
mod session;
mod sharing;
mod slice;
mod staging;
mod stream;
mod streams;
mod submission;
mod usage;
mod wishes;

pub use batch::Batch;
pub use buffer::{Buffer, Memory};
pub use client::{Builder, Client};
pub use dispatch::Dispatch;
pub use error::Error;
pub use mapping::{Mapping, Words};
pub use program::{Program, ProgramBuilder};
pub use session::{Session, SessionBuilder};
pub use sharing::Ticket;
pub use slice::Slice;
pub use stream::Stream;
pub use submission::Submission;
pub use vkmps_protocol::ErrorCode;
pub use vkmps_protocol::group::GroupLimits as SessionLimits;
pub use vkmps_protocol::message::{DeviceDescription, Priority};
pub use vkmps_protocol::program::{Access, BindingInfo, BindingKind, Interface};
pub use vkmps_protocol::quota::{Amount, Excess, Limit, Quota, Scope};
pub use vkmps_protocol::sharing::Grant;

/// The code in the README is a test of this crate.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
