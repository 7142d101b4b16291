//! One run: its device, its environment, its daemon.

use crate::arguments::Options;
use crate::backend::{Place, Terms, Wait};
use crate::clock;
use crate::crew::Crew;
use crate::error::Error;
use crate::private_daemon::PrivateDaemon;
use crate::worker::Task;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What holds for all arms of a run.
pub(crate) struct Bench {
    pub(crate) device: Device,
    index: Option<usize>,
    pin: Option<usize>,
    /// LP_NUM_THREADS of every process: worker threads of lavapipe.
    threads: Option<String>,
    /// Where drivers keep compiled shaders, if not where they always do.
    shader_cache: Option<PathBuf>,
    executable: PathBuf,
}

/// The device as the report names it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) cpu: bool,
    pub(crate) unified: bool,
    pub(crate) queues: u32,
}

/// Worker threads that lavapipe gets where the user's LP_NUM_THREADS does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// None: small dispatches are 26 times cheaper.
    None,
    /// One per CPU: long dispatches use them all, whoever submits.
    All,
}

impl Bench {
    /// Finds out about the device in a process of its own, and binds to the CPU if asked.
    pub(crate) fn new(options: &Options, threads: Threads) -> Result<Self, Error> {
        if let Some(cpu) = options.pin {
            let mut set = CpuSet::new();
            set.set(cpu)
                .map_err(|error| Error::System("no such CPU", error))?;
            // All processes are started from here and inherit it.
            sched_setaffinity(Pid::from_raw(0), &set)
                .map_err(|error| Error::System("binding to the CPU", error))?;
        }
        let executable =
            env::current_exe().map_err(|source| Error::Io("finding this program", source))?;
        let mut bench = Self {
            device: Device::default(),
            index: options.device,
            pin: options.pin,
            threads: env::var(THREADS).ok(),
            shader_cache: None,
            executable,
        };
        let task = Task::Probe {
            device: options.device,
        };
        let mut found = Crew::prepare(&bench, &[task])?.measure::<Device>()?;
        bench.device = found.pop().ok_or(Error::WorkerDied)?;
        if bench.device.cpu && bench.threads.is_none() {
            // Bound to one CPU, only one of them is there.
            let cpus = std::thread::available_parallelism().map_or(1, usize::from);
            let count = if threads == Threads::None || cpus == 1 {
                0
            } else {
                cpus
            };
            bench.threads = Some(count.to_string());
        }
        Ok(bench)
    }

    pub(crate) fn executable(&self) -> &Path {
        &self.executable
    }

    /// A program beside this one.
    pub(crate) fn sibling(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.executable.with_file_name(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::MissingProgram(path))
        }
    }

    /// A command with the environment that all arms share.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(threads) = &self.threads {
            command.env(THREADS, threads);
        }
        if let Some(folder) = &self.shader_cache {
            for variable in SHADER_CACHES {
                command.env(variable, folder);
            }
        }
        command
    }

    /// The daemon to measure: the given one, or a private one.
    pub(crate) fn daemon(&self, socket: Option<&Path>) -> Result<Daemon, Error> {
        self.daemon_with(socket, "")
    }

    /// The same with these settings, where it is private.
    pub(crate) fn daemon_with(
        &self,
        socket: Option<&Path>,
        settings: &str,
    ) -> Result<Daemon, Error> {
        Ok(match socket {
            Some(socket) => Daemon::Given(socket.to_owned()),
            None => Daemon::Private(PrivateDaemon::start(self, settings)?),
        })
    }

    /// From now on processes start with what this folder holds of compiled shaders.
    pub(crate) fn keep_shaders_in(&mut self, folder: PathBuf) -> Result<(), Error> {
        fs::create_dir_all(&folder)
            .map_err(|source| Error::Io("creating a shader cache", source))?;
        self.shader_cache = Some(folder);
        Ok(())
    }

    /// LP_NUM_THREADS as everybody has it; `None` where it does not matter.
    pub(crate) fn threads(&self) -> Option<&str> {
        self.threads.as_deref()
    }

    pub(crate) fn device_index(&self) -> Option<usize> {
        self.index
    }

    /// An own VkDevice, waited for in the driver.
    pub(crate) fn direct(&self) -> Place {
        Place::Direct {
            device: self.index,
            wait: Wait::Block,
        }
    }

    /// An own VkDevice, asked again and again.
    pub(crate) fn polling(&self) -> Place {
        Place::Direct {
            device: self.index,
            wait: Wait::Poll,
        }
    }

    /// The last object of a report, still without ratios.
    pub(crate) fn conditions(&self, options: &Options) -> Map<String, Value> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = json!({
            THREADS: self.threads,
            "pinned_to_cpu": self.pin,
            "cpus": cpus,
            "seconds": options.seconds(),
            "rounds": options.rounds,
            "daemon": if options.socket.is_some() { "given" } else { "private" },
            "compute_queues": self.device.queues,
        });
        conditions(&self.device.name, &self.device.driver, settings)
    }
}

/// When, where and how this run was made.
pub(crate) fn conditions(device: &str, driver: &str, settings: Value) -> Map<String, Value> {
    let command: Vec<String> = env::args().collect();
    let mut conditions = Map::new();
    conditions.insert("device".to_owned(), json!(device));
    conditions.insert("driver".to_owned(), json!(driver));
    conditions.insert("date".to_owned(), json!(clock::utc()));
    conditions.insert("command".to_owned(), json!(command.join(" ")));
    conditions.insert("settings".to_owned(), settings);
    conditions
}

/// The daemon that an arm uses.
pub(crate) enum Daemon {
    Given(PathBuf),
    Private(PrivateDaemon),
}

impl Daemon {
    pub(crate) fn place(&self) -> Place {
        let socket = match self {
            Self::Given(socket) => socket.clone(),
            Self::Private(daemon) => daemon.socket().to_owned(),
        };
        Place::Daemon {
            socket,
            terms: Terms::default(),
        }
    }
}

/// Worker threads of lavapipe, fixed per process.
const THREADS: &str = "LP_NUM_THREADS";
/// Of Mesa's drivers and of NVIDIA's.
const SHADER_CACHES: [&str; 2] = ["MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH"];
