//! A private daemon for one test.

use crate::binaries::built;
use crate::folder::Folder;
use crate::log::Log;
use crate::patience::{PATIENCE, eventually};
use crate::processes::Process;
use nix::sys::signal::Signal;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;
use vkmps::{Client, Error};
use vkmps_protocol::ErrorCode;

/// A running `vkmpsd` with its engine, in a folder of its own. Dropping it kills it; a test that panics prints its log.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: Log,
    socket: PathBuf,
    folder: Option<Folder>,
}

impl Daemon {
    /// Starts one and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// As [`Self::start`], with changes to its command line.
    pub fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let mut daemon = Self::launch(Folder::new(), change);
        daemon.await_service();
        daemon
    }

    /// Starts one in this folder and waits for nothing.
    pub fn launch(folder: Folder, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(&folder);
        command.arg("-l").arg("-s").arg(folder.join(SOCKET));
        change(&mut command);
        Self::launch_command(folder, command)
    }

    /// Starts it by any command line that makes it listen at [`SOCKET`] in the folder.
    pub fn launch_command(folder: Folder, command: Command) -> Self {
        let socket = folder.join(SOCKET);
        let (child, log) = spawn(command);
        Self {
            child,
            log,
            socket,
            folder: Some(folder),
        }
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub fn await_service(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut failure = None;
        eventually("the daemon serves", || {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.log.is_over_within(PATIENCE);
                panic!("vkmpsd ended with {status}:\n{}", self.log.text());
            }
            failure = self.try_connect("start").err();
            // Anything else will not get better by itself.
            let starting = |error: &Error| matches!(error.code(), ErrorCode::NoDaemon);
            if let Some(error) = failure.as_ref().filter(|error| !starting(error)) {
                panic!("vkmpsd serves nobody: {error}\n{}", self.log.text());
            }
            failure.is_none() || Instant::now() > deadline
        });
        assert!(
            failure.is_none(),
            "vkmpsd serves nobody: {failure:?}\n{}",
            self.log.text()
        );
    }

    /// A client.
    ///
    /// # Panics
    /// When there is no connecting.
    pub fn connect(&self) -> Client {
        self.try_connect("test")
            .unwrap_or_else(|error| panic!("connecting: {error}"))
    }

    /// A client with this name, or why not.
    pub fn try_connect(&self, name: &str) -> Result<Client, Error> {
        Client::builder().socket(&self.socket).name(name).connect()
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it and its children wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// The engine.
    ///
    /// # Panics
    /// When there is none.
    pub fn engine(&self) -> Process {
        self.engines()
            .first()
            .copied()
            .expect("a daemon that serves has an engine")
    }

    /// Engines that run; one while it serves.
    pub fn engines(&self) -> Vec<Process> {
        self.children_of_spawner(|arguments| !arguments.contains("--compiler"))
    }

    /// Compilers that run at the moment.
    pub fn compilers(&self) -> Vec<Process> {
        self.children_of_spawner(|arguments| arguments.contains("--compiler"))
    }

    /// Sends a signal to the daemon alone.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("vkmpsd ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Kills it and hands back the folder with whatever it left there.
    pub fn kill_and_keep_folder(mut self) -> Folder {
        self.end();
        self.folder.take().expect("taken only here")
    }

    fn children_of_spawner(&self, wanted: impl Fn(&str) -> bool) -> Vec<Process> {
        let grandchildren = self
            .process()
            .children()
            .into_iter()
            .flat_map(Process::children);
        let ours = |process: &Process| {
            let arguments = process.command_line();
            process.is_alive() && arguments.contains("vkmps-engine") && wanted(&arguments)
        };
        grandchildren.filter(ours).collect()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The spawner ends engine and compilers when it sees the daemon gone.
        if !self.log.is_over_within(PATIENCE) && !std::thread::panicking() {
            panic!(
                "something of a killed daemon lives on:\n{}",
                self.log.text()
            );
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of vkmpsd (pid {}) ---\n{}\n---",
                self.child.id(),
                self.log.text()
            );
        }
        if self.folder.is_some() {
            self.end();
        }
    }
}

/// The command line that all private daemons share: their own engine, their own cache, the software driver.
pub fn command(folder: &Path) -> Command {
    command_with_engine(folder, &built("vkmps-engine"))
}

/// As [`command`], with any executable for an engine. The configuration is [`CONFIG`] in the folder, empty unless the
/// test wrote one before: what the machine's `/etc` says is of no account.
pub fn command_with_engine(folder: &Path, engine: &Path) -> Command {
    let config = folder.join(CONFIG);
    if std::fs::symlink_metadata(&config).is_err() {
        std::fs::write(&config, "").expect("the folder is ours");
    }
    let mut command = Command::new(built("vkmpsd"));
    command
        .arg("--config")
        .arg(config)
        .arg("--engine")
        .arg(engine)
        .arg("--cache-dir")
        .arg(folder.join("cache"))
        .stdin(Stdio::null());
    command
        .env("LP_NUM_THREADS", "0")
        .env_remove("LISTEN_FDS")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("RUST_LOG");
    choose_driver(&mut command);
    command
}

/// A daemon with descriptor 3 passed as systemd does it; `LISTEN_PID` must be its own pid, hence the shell.
pub fn inheriting(folder: &Path, listener: OwnedFd) -> Command {
    let plain = command(folder);
    let mut shell = Command::new("/bin/sh");
    shell
        .args([
            "-c",
            // Who runs the tests in the background of a shell has it ignored.
            r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec env --default-signal=QUIT "$@""#,
            "sh",
        ])
        .stdin(Stdio::from(listener));
    shell
        .arg(plain.get_program())
        .args(plain.get_args())
        .arg("-l")
        .arg("-s")
        .arg(folder.join(SOCKET));
    shell.envs(
        plain
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    shell
}

/// Lets a program see the software driver only, unless the environment names another one.
pub fn choose_driver(command: &mut Command) {
    if let Some(lavapipe) = lavapipe().filter(|_| std::env::var_os("VK_DRIVER_FILES").is_none()) {
        command.env("VK_DRIVER_FILES", lavapipe);
    }
}

/// Starts a command with both its outputs in a log.
pub fn spawn(mut command: Command) -> (Child, Log) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    command
        .stdout(writer.try_clone().expect("a descriptor"))
        .stderr(writer);
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // With the command goes our end of the pipe.
    drop(command);
    (child, Log::pump(reader))
}

/// Mesa's software driver, so that a machine's GPU does not decide what these tests see.
fn lavapipe() -> Option<PathBuf> {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let files = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    files.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("lvp_icd") && name.ends_with(".json"))
    })
}

/// Name of the configuration in its folder.
pub const CONFIG: &str = "vkmpsd.toml";
/// Name of the socket in its folder.
pub const SOCKET: &str = "vkmps.sock";
