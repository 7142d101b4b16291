//! The main job: many clients compute right results on one device through the daemon.
#![forbid(unsafe_code)]

mod compute;
mod memory;
mod order;
mod waiting;
