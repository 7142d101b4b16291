//! A running machine.

use super::cgroup::Cgroup;
use super::root::{CONSOLE, PATH, STAGING};
use super::stages::Plan;
use super::world::World;
use super::{BootError, at, overlay};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;
use vkmps_tests::patience::holds_within;
use vkmps_tests::processes::Process;

/// A booted systemd with all that it runs; killed and forgotten on drop.
#[derive(Debug)]
pub(crate) struct Machine {
    // In the order of dropping: its processes go before the group that they are in.
    child: Child,
    init: Process,
    _cgroup: Cgroup,
    folder: PathBuf,
    keep: bool,
}

/// What a machine that was shut down had written, for others to stand on.
#[derive(Debug, Clone)]
pub(crate) struct Layer(PathBuf);

impl Machine {
    /// Boots one over these layers and waits until it is up.
    pub(crate) fn boot(world: &World, layers: &[Layer]) -> Result<Self, BootError> {
        let (number, folder) = world.room()?;
        let console = folder.join(CONSOLE);
        fs::write(&console, "").map_err(at(&console))?;
        let cgroup = Cgroup::new(number)?;
        let plan = Plan {
            folder: folder.clone(),
            cgroup: cgroup.path().to_owned(),
            staging: world.staging(),
            layers: layers
                .iter()
                .map(|layer| layer.0.clone())
                .chain([world.host()])
                .collect(),
        };
        let output = fs::File::options()
            .append(true)
            .open(&console)
            .map_err(at(&console))?;
        let mut command = plan.command()?;
        command
            .stdout(output.try_clone().map_err(at(&console))?)
            .stderr(output);
        let child = command
            .spawn()
            .map_err(at(Path::new(command.get_program())))?;
        let mut machine = Self {
            init: Process(child.id()),
            child,
            _cgroup: cgroup,
            folder,
            keep: false,
        };
        machine.await_boot()?;
        Ok(machine)
    }

    fn await_boot(&mut self) -> Result<(), BootError> {
        let unshare = self.init;
        let mut up = false;
        let _in_time = holds_within(BOOT_LIMIT, || {
            let init = unshare
                .children()
                .into_iter()
                .find(|child| comm(*child) == "systemd");
            self.init = init.unwrap_or(self.init);
            let listens = init.is_some() && self.path("/run/systemd/private").exists();
            up = listens && self.is_up();
            up || !matches!(self.child.try_wait(), Ok(None))
        });
        match up {
            true => Ok(()),
            false => Err(BootError::NotBooted {
                console: self.console(),
            }),
        }
    }

    /// Degraded machines are up as well: this one's own units are none of our business.
    fn is_up(&self) -> bool {
        let state = self.command(&["systemctl", "is-system-running"]).output();
        state.is_ok_and(|output| matches!(output.stdout.trim_ascii(), b"running" | b"degraded"))
    }

    /// A command that runs in it as root, with nothing of our environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.0.to_string()])
            .args([
                "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--",
            ])
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8")
            .env("VKMPS_SHADERS", format!("{STAGING}/shaders"))
            .stdin(std::process::Stdio::null());
        command
    }

    /// Runs a command in it and waits for its end, which comes within a minute.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let limited = [&["timeout", "--kill-after=5", "60"], arguments].concat();
        let output = self.command(&limited).output();
        output.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// A file of it, from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.init.0.to_string())
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// What it said on its console.
    pub(crate) fn console(&self) -> String {
        fs::read(self.folder.join(CONSOLE))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Shuts it down in order; false if it does not in time.
    pub(crate) fn power_off(&mut self) -> bool {
        let _ = self.run(&["systemctl", "poweroff"]);
        holds_within(POWER_OFF_LIMIT, || {
            !matches!(self.child.try_wait(), Ok(None))
        })
    }

    /// Shuts it down and keeps what it wrote.
    pub(crate) fn into_layer(mut self) -> Layer {
        let _ = self.power_off();
        self.keep = true;
        let layer = overlay::upper(&self.folder);
        // Machines over it would take its entries for theirs: all are one boot of this machine's kernel.
        let journals = fs::read_dir(layer.join("var/log/journal"));
        for journal in journals.into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(journal.path());
        }
        Layer(layer)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 of a namespace takes all others with it, and the program that waits for it ends.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.init.signal(nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.wait();
        if !self.keep {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn comm(process: Process) -> String {
    let name = fs::read_to_string(format!("/proc/{}/comm", process.0)).unwrap_or_default();
    name.trim_end().to_owned()
}

/// A second is usual; other work may keep this machine busy.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
/// Longer than any stop of a unit may take.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(100);
