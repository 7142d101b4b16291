//! Both programs on a private bus, against a service in place of vkmpsd.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod agent;
mod bus;
mod control;
mod exits;
mod fake;
mod json;
mod live;
mod man;
mod program;
mod text;
