//! Clients in processes of their own, to be counted or killed.

use crate::binaries::build_folder;
use crate::daemon::{Daemon, spawn};
use crate::log::Log;
use crate::patience::eventually;
use crate::processes::Process;
use nix::sys::signal::Signal;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running `vkmps-test-client`; killed on drop.
#[derive(Debug)]
pub struct ClientProcess {
    child: Child,
    log: Log,
}

impl ClientProcess {
    /// Starts one in this role (see `test_client.rs`), which finds its daemon by `VKMPS_SOCKET`.
    pub fn start(daemon: &Daemon, role: &[&str]) -> Self {
        Self::start_with(daemon, role, |_| {})
    }

    /// As [`Self::start`], with changes to its command line.
    pub fn start_with(daemon: &Daemon, role: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        // Cargo builds it with the tests themselves, so it is never stale.
        let mut command = Command::new(build_folder().join("vkmps-test-client"));
        command
            .args(role)
            .env("VKMPS_SOCKET", daemon.socket())
            .stdin(Stdio::piped());
        change(&mut command);
        let (child, log) = spawn(command);
        Self { child, log }
    }

    /// What it wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Kills it, now.
    pub fn kill(&mut self) {
        self.process().signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the client process ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("just seen")
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- client process {} ---\n{}\n---",
                self.child.id(),
                self.log.text()
            );
        }
        self.kill();
    }
}
