//! The story of a run.

use crate::bus::{self, Bus, BusAddress, Outbox};
use crate::config::{Config, Options};
use crate::doors::Doors;
use crate::exit::Exit;
use crate::happening::{Happening, Happenings};
use crate::journal::{self, LogControl};
use crate::ledger::Ledger;
use crate::process::Launcher;
use crate::recorder::Recorder;
use crate::server::{Equipment, Server, SpawnerGone};
use crate::sockets::{self, Listeners, SocketError};
use crate::standalone::Standalone;
use crate::supervisor::Supervisor;
use crate::watched::watch;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vkmps_ipc::spawn::{Command, Commands, Spawner};
use vkmps_ipc::{SystemError, crash};
use vkmps_sandbox::{Enclosed, Reach, Role, Unprivileged};

/// The daemon did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The log cannot be written.
    #[error("cannot log to {}", path.display())]
    Log {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No place for the driver's caches.
    #[error("cannot use the cache directory {}", path.display())]
    Cache {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A call failed that never should.
    #[error(transparent)]
    System(#[from] SystemError),
    /// No event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] std::io::Error),
    /// The daemon is not confined.
    #[error("{0}; to serve without this check, name it in warn-only of [sandbox]")]
    Sandbox(vkmps_sandbox::Failure),
    /// A check of the sandbox found gaps.
    #[error("{0} findings against the sandbox")]
    Leaks(usize),
    /// The daemon cannot go on.
    #[error(transparent)]
    SpawnerGone(#[from] SpawnerGone),
}

impl From<vkmps_sandbox::Failure> for RunError {
    fn from(failure: vkmps_sandbox::Failure) -> Self {
        Self::Sandbox(failure)
    }
}

impl RunError {
    /// What the process ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Sandbox(_) | Self::Leaks(_) => Exit::Sandbox,
            _ => Exit::Failure,
        }
    }
}

/// Config, log, sockets, spawner, sandbox, bus, READY, loop, STOPPING.
pub(crate) fn run(options: Options, config: Config) -> Result<(), RunError> {
    let commands = commands(&options, &config)?;
    raise_limits();
    let log = journal::start(&options, &config)?;
    if let Some(setting) = config.without_effect(&options) {
        tracing::warn!(setting, "has no effect yet");
    }
    let listeners = sockets::listen(&options.socket)?;
    // The spawner inherits that it has no privileges, but must reach all files: drivers are where they are.
    let unprivileged = Unprivileged::begin(Role::Daemon, &config.warn_only())?;
    let spawner = Spawner::fork(&commands)?;
    let enclosed = unprivileged.enclose(&reach(&options, listeners.standalone.as_ref()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(serve(options, config, log, spawner, listeners, enclosed))
}

/// The files that the daemon reads, and those that it removes when it leaves.
pub(crate) fn reach(options: &Options, standalone: Option<&Standalone>) -> Reach {
    // The folder: editors and packages replace files.
    let config = options.config_path().parent();
    let reach = config
        .into_iter()
        .fold(Reach::of_daemon(), |reach, folder| {
            reach.read(or_here(folder))
        });
    standalone
        .map(Standalone::folder)
        .into_iter()
        .fold(reach, |reach, folder| reach.remove(or_here(folder)))
}

/// The folder of a path without one.
fn or_here(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

async fn serve(
    options: Options,
    config: Config,
    log: LogControl,
    spawner: Spawner,
    listeners: Listeners,
    enclosed: Enclosed,
) -> Result<(), RunError> {
    let (happenings, happened) = mpsc::channel(HAPPENINGS);
    let Listeners {
        sockets,
        standalone,
    } = listeners;
    watch_signals(&happenings, standalone.is_none()).map_err(RunError::Runtime)?;
    // Last among the signals: tokio must not replace these handlers.
    if let Some(standalone) = &standalone {
        crash::unlink_on_crash(&standalone.files())?;
    }
    let spawner = Arc::new(watch(spawner, Interest::READABLE).map_err(RunError::Runtime)?);
    tokio::spawn(watch_spawner(spawner.clone(), happenings.clone()));
    let supervisor = Supervisor::new(
        Launcher::new(spawner, happenings.clone()),
        Ledger::new()?,
        Recorder::new()?,
        config.service.engine_timeout.duration(),
    );
    let report = enclosed.seal()?;
    for warning in &report.warnings {
        journal::sandbox_gap(&warning.to_string());
    }
    tracing::info!(landlock = %report.extent, "confined");
    let activated = standalone.is_none();
    let administrators = Outbox::new();
    let address = config.service.bus.address(activated);
    let bus = start_bus(address, happenings.clone(), administrators.clone());
    let server = Server::new(Equipment {
        supervisor,
        doors: Doors::open(sockets, happenings.clone()),
        happenings,
        activated,
        options,
        config,
        log,
        administrators,
        warnings: report.warnings,
    });
    let end = server.run(happened, bus).await;
    journal::stopped();
    Ok(end?)
}

async fn start_bus(
    address: Option<BusAddress>,
    happenings: Happenings,
    administrators: Outbox,
) -> Option<Bus> {
    Some(bus::start(address?, happenings, administrators).await)
}

/// How engines and compilers are started; makes the directory of their caches.
pub(crate) fn commands(options: &Options, config: &Config) -> Result<Commands, RunError> {
    let cache = options.cache_dir();
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&cache);
    made.map_err(|source| RunError::Cache {
        path: cache.clone(),
        source,
    })?;
    let command = |role: &str| Command {
        program: options.engine(),
        arguments: [role.to_owned()]
            .into_iter()
            .chain(config.engine_arguments())
            .chain(["--cache-dir".to_owned(), cache.to_string_lossy().into()])
            .collect(),
        environment: environment(&cache),
    };
    Ok(Commands {
        engine: command("--control"),
        compiler: command("--compiler"),
    })
}

fn environment(cache: &Path) -> Vec<(String, String)> {
    let cache = cache.to_string_lossy();
    // Mesa's device-select layer looks through /sys for every instance, for nothing here.
    [
        ("MESA_SHADER_CACHE_DIR", &*cache),
        ("__GL_SHADER_DISK_CACHE_PATH", &*cache),
        ("NODEVICE_SELECT", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// While there are privileges that allow it. A session takes four descriptors and more here; the soft limit of 1 024 is
/// for select(2), which nobody uses. An engine's own thread prefers itself (a nice value of -10), and drivers lock
/// memory: both without capabilities.
fn raise_limits() {
    let hard = |resource| getrlimit(resource).map(|(_, hard)| hard);
    let raised = hard(Resource::RLIMIT_NOFILE)
        .and_then(|hard| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(errno) = raised {
        tracing::warn!(%errno, "cannot raise the limit of descriptors, ignoring");
    }
    for (resource, wanted) in [
        (Resource::RLIMIT_NICE, LOWEST_NICE),
        (Resource::RLIMIT_MEMLOCK, RLIM_INFINITY),
    ] {
        // Only root may; without, an engine is only slower.
        let _ = setrlimit(resource, wanted, wanted)
            .or_else(|_| hard(resource).and_then(|hard| setrlimit(resource, hard, hard)));
    }
}

/// SIGPIPE is ignored by Rust's runtime already. SIGHUP asks a service to read its configuration again, and ends a
/// daemon that somebody started in a terminal which is gone.
fn watch_signals(happenings: &Happenings, service: bool) -> std::io::Result<()> {
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut signals = signal(kind)?;
        let happenings = happenings.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let happening = match service && kind == SignalKind::hangup() {
                    true => Happening::Reload,
                    false => Happening::Terminate,
                };
                let _ = happenings.send(happening).await;
            }
        });
    }
    Ok(())
}

pub(crate) async fn watch_spawner(spawner: Arc<AsyncFd<Spawner>>, happenings: Happenings) {
    loop {
        let happening = match spawner.get_ref().report() {
            Ok(report) => Happening::Spawner(report),
            Err(SystemError {
                errno: nix::errno::Errno::EAGAIN,
                ..
            }) => {
                if let Ok(mut guard) = spawner.readable().await {
                    guard.clear_ready();
                }
                continue;
            }
            Err(_) => break,
        };
        let _ = happenings.send(happening).await;
    }
    let _ = happenings.send(Happening::SpawnerGone).await;
}

/// 20 minus the nice value, as RLIMIT_NICE counts.
const LOWEST_NICE: u64 = 30;
/// Happenings in flight: tasks wait beyond it.
const HAPPENINGS: usize = 256;
