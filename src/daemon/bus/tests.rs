//! On a private bus, with the main loop, polkit and systemd played by the test. They need `dbus-daemon`.

mod connection;
mod contract;
mod flood;
mod limits;
mod methods;
mod others;
mod permission;
mod properties;
mod rig;
pub(super) mod samples;
mod sessions;
mod signals;
