//! A `vkmpsd` of our own, in a folder of its own, gone with the run.

use crate::bench::Bench;
use crate::error::{self, Error};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};
use vkmps::Client;

/// A running daemon; dropping it ends it and removes its folder.
pub(crate) struct PrivateDaemon {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
}

impl PrivateDaemon {
    /// Starts it and returns once a client was served.
    pub(crate) fn start(bench: &Bench, settings: &str) -> Result<Self, Error> {
        let (daemon, engine) = (bench.sibling("vkmpsd")?, bench.sibling("vkmps-engine")?);
        let folder = new_folder()?;
        let socket = folder.join("vkmps.sock");
        let log = File::create(folder.join(LOG))
            .map_err(|source| Error::Io("creating a log file", source))?;
        let errors = log
            .try_clone()
            .map_err(|source| Error::Io("creating a log file", source))?;
        let file = folder.join("vkmpsd.toml");
        fs::write(&file, format!("{SETTINGS}{settings}"))
            .map_err(|source| Error::Io("writing the private daemon's settings", source))?;
        let mut command = bench.command(daemon);
        command.arg("--config").arg(file);
        command.arg("-s").arg(&socket).arg("--engine").arg(engine);
        command
            .arg("--cache-dir")
            .arg(folder.join("cache"))
            .arg("-l");
        if let Some(index) = bench.device_index() {
            command.arg("-d").arg(index.to_string());
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Io("starting vkmpsd", source))?;
        let mut started = Self {
            child,
            folder,
            socket,
        };
        started.await_service()?;
        Ok(started)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Lets other users connect.
    pub(crate) fn admit_everybody(&self) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt;
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        allow(&self.folder, 0o711)
            .and_then(|()| allow(&self.socket, 0o666))
            .map_err(|source| Error::Io("admitting other users", source))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_service(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let failure = match Client::builder()
                .socket(&self.socket)
                .name("vkmps-bench start")
                .connect()
            {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(format!("ended with {status}")));
            }
            if Instant::now() > deadline {
                let what = format!(
                    "served nobody within {START_LIMIT:?} ({})",
                    error::chain(&failure)
                );
                return Err(self.failed(what));
            }
            thread::sleep(RETRY);
        }
    }

    fn failed(&self, what: String) -> Error {
        let text = fs::read_to_string(self.folder.join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Error::Daemon { what, log }
    }
}

impl Drop for PrivateDaemon {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its engine too. A failure of any step means that it is gone already.
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        let _signalled = pid.map(|pid| kill(pid, Signal::SIGTERM));
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(RETRY);
        }
        let _killed = self.child.kill();
        let _status = self.child.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// A new folder that only this user can enter.
pub(crate) fn new_folder() -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    let name = |place: u32| env::temp_dir().join(format!("vkmps-bench-{}-{place}", process::id()));
    for place in 0..FOLDERS {
        let folder = name(place);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(Error::File {
                    path: folder,
                    what: "cannot be created",
                    source,
                });
            }
        }
    }
    Err(Error::Usage(
        "too many leftover folders vkmps-bench-* in the temporary folder",
    ))
}

/// What some scenarios need and others do not notice.
const SETTINGS: &str = "[clients]\nmax-priority = \"realtime\"\n";
const LOG: &str = "vkmpsd.log";
const LOG_LINES: usize = 20;
const RETRY: Duration = Duration::from_millis(5);
/// Opening a GPU takes about a second, its first time on a machine more.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const FOLDERS: u32 = 1000;
