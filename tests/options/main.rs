//! The daemon's command line, its sockets, its signals.
#![forbid(unsafe_code)]

mod arguments;
mod signals;
mod sockets;
