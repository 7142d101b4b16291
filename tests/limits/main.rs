//! Limits of clients and users, against the real daemon.

mod environment;
mod memory;
mod rules;

use std::fs;
use vkmps::Client;
use vkmps_ipc::socket::Seqpacket;
use vkmps_tests::daemon::{CONFIG, Daemon, SOCKET, inheriting};
use vkmps_tests::folder::Folder;

/// A daemon with this configuration, as systemd starts it, so that it can be told to read it again.
fn daemon(configuration: &str) -> Daemon {
    let folder = Folder::new();
    fs::write(folder.join(CONFIG), configuration).expect("a folder of ours");
    let listener = Seqpacket::bind(&folder.join(SOCKET)).expect("a folder of ours");
    let command = inheriting(&folder, listener.into());
    let mut daemon = Daemon::launch_command(folder, command);
    daemon.await_service();
    daemon
}

/// Changes the configuration of a daemon that runs.
fn configure(daemon: &Daemon, configuration: &str) {
    let folder = daemon.socket().parent().expect("it is in a folder");
    fs::write(folder.join(CONFIG), configuration).expect("a folder of ours");
    let mark = daemon.log().mark();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.log().line_after(mark, &["configuration reloaded"]);
}

/// The user that tests run as.
fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// A rule for that user.
fn rule(keys: &str) -> String {
    format!("[[rule]]\nusers = [{}]\n{keys}\n", uid())
}

/// Bytes that the client may have of memory that it maps, and has.
fn shared(client: &Client) -> (u64, u64) {
    client.quota().expect("a session").shared_bytes
}
