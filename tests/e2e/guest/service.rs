//! The service as systemd sees it.

use crate::boot::Machine;
use std::process::Output;
use vkmps_tests::patience::eventually;
use vkmps_tests::processes::Process;

impl Machine {
    /// A property of the service, as `systemctl show` has it.
    pub(crate) fn property(&self, name: &str) -> String {
        self.ok(&["systemctl", "show", "--property", name, "--value", SERVICE])
            .trim()
            .to_owned()
    }

    /// Whether a unit is active, inactive, failed or on its way.
    pub(crate) fn state(&self, unit: &str) -> String {
        let output = self.run(&["systemctl", "is-active", unit]);
        super::text(&output.stdout).trim().to_owned()
    }

    /// The service's main process, as the machine counts.
    pub(crate) fn main_pid(&self) -> u32 {
        self.property("MainPID")
            .parse()
            .expect("systemd knows a number")
    }

    /// All processes of the service, with their command lines.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let group = format!(
            "/sys/fs/cgroup{}/cgroup.procs",
            self.property("ControlGroup")
        );
        let pids = std::fs::read_to_string(self.path(&group)).unwrap_or_default();
        // Seen from outside, the file has numbers of outside: it belongs to the namespace of who reads it.
        let pids = pids.lines().filter_map(|line| line.parse().ok());
        pids.map(|pid| (pid, vkmps_tests::processes::Process(pid).command_line()))
            .collect()
    }

    /// The engine, as seen from outside.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn engine(&self) -> Process {
        let processes = self.processes();
        let engine = processes.iter().find(|(_, command)| {
            command.contains("vkmps-engine") && !command.contains("--compiler")
        });
        let (pid, _) = engine.unwrap_or_else(|| panic!("no engine among {processes:?}"));
        Process(*pid)
    }

    /// Waits until a unit is in a state.
    ///
    /// # Panics
    /// When it never is.
    pub(crate) fn await_state(&self, unit: &str, state: &str) {
        eventually(&format!("{unit} is {state}"), || self.state(unit) == state);
    }

    /// Adds to the service's settings, for as long as the machine runs.
    pub(crate) fn drop_in(&self, text: &str) {
        self.write(
            &format!("/run/systemd/system/{SERVICE}.d/90-test.conf"),
            text,
        );
        self.ok(&["systemctl", "daemon-reload"]);
    }

    /// Sets a part of the configuration; the service hears of it by a reload or a restart.
    pub(crate) fn configure(&self, text: &str) {
        self.write("/etc/vkmps/vkmpsd.toml.d/90-test.toml", text);
    }

    /// Makes the service read its configuration again.
    pub(crate) fn reload(&self) -> Output {
        self.run(&["systemctl", "reload", SERVICE])
    }
}

/// The service.
pub(crate) const SERVICE: &str = "vkmpsd.service";
/// Its socket.
pub(crate) const SOCKET: &str = "vkmpsd.socket";
