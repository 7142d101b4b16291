//! The daemon's command line, its sockets, its signals.
#![forbid(unsafe_code)]

mod arguments;
mod configuration;
mod idleness;
mod signals;
mod sockets;
