//! `vkmps-engine`: the process that runs the Vulkan driver, started by vkmpsd with its control socket as standard input.
//!
//! It holds nothing that it could lose: rings, arenas and objects come from vkmpsd, and a new engine gets them again.
//! With `--compiler` it is the other process that touches a driver: it checks and compiles modules, one at a time.
#![forbid(unsafe_code)]

mod builder;
mod check;
mod compiler;
mod control;
mod device;
mod disposal;
mod engine;
mod grid;
mod idle;
mod intake;
mod job;
mod launch;
mod ledger;
mod news;
mod pace;
mod recorder;
mod recording;
mod sandbox_check;
mod scrub;
mod session;
mod stream;
mod tally;
mod waiter;
mod waker;

use clap::Parser;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use vkmps_gpu::MAX_BUDGET;
use vkmps_ipc::socket::Seqpacket;
use vkmps_sandbox::{Check, Enclosed, Failure, Reach, Role, Unprivileged};

/// Runs the Vulkan driver for vkmpsd. Not meant to be started by hand: standard input is the control socket.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Options {
    /// Run work.
    #[arg(
        long,
        required_unless_present = "compiler",
        conflicts_with = "compiler"
    )]
    control: bool,
    /// Compile modules.
    #[arg(long)]
    compiler: bool,
    /// Index of the Vulkan device; the best one if not given.
    #[arg(long, value_name = "IDX")]
    device: Option<usize>,
    /// Hardware queues to use at most.
    #[arg(long, value_name = "N", default_value_t = 16)]
    queues: u32,
    /// Whether the first of them are to stand above those of other processes.
    #[arg(long, value_enum, default_value_t = GlobalPriority::Auto)]
    global_priority: GlobalPriority,
    /// Shader cores that only the first queues may use.
    #[arg(long, value_name = "N", default_value_t = 0)]
    reserved_cores: u32,
    /// Loop iterations that an invocation of a shader may do at most.
    #[arg(long, value_name = "N", default_value_t = 1 << 28,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BUDGET)))]
    loop_budget: u32,
    /// Threads that wake clients; by default one for each eight cores.
    #[arg(long, value_name = "N")]
    wakers: Option<usize>,
    /// Clients that may poll for completions; with more none does. By default half of the cores left.
    #[arg(long, value_name = "N")]
    pollers: Option<usize>,
    /// Where the driver caches what it compiled: the one place where it may write.
    #[arg(long, value_name = "PATH")]
    cache_dir: Option<PathBuf>,
    /// A check of the sandbox (capabilities, no-new-privileges, seccomp, landlock) whose failure is only warned of.
    #[arg(long, value_name = "CHECK")]
    warn_only: Vec<Check>,
    /// Confine the process as otherwise, then try to get out, and tell.
    #[arg(long)]
    check_sandbox: bool,
}

/// Whether hardware queues are to stand above those of other processes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum GlobalPriority {
    /// No.
    Off,
    /// Except with drivers where it changes nothing.
    Auto,
    /// Where the driver grants it.
    On,
}

impl Options {
    /// What this process is.
    pub(crate) fn role(&self) -> Role {
        match self.compiler {
            true => Role::Compiler,
            false => Role::Engine,
        }
    }

    /// The files and devices that it needs.
    pub(crate) fn reach(&self) -> Reach {
        Reach::of_driver(self.cache_dir.as_deref())
    }

    /// Confines the process as far as it goes without a driver. Threads and the driver come after it.
    pub(crate) fn enclose(&self) -> Result<Enclosed, Failure> {
        Unprivileged::begin(self.role(), &self.warn_only)?.enclose(&self.reach())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let control = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => Seqpacket::from(fd),
        Err(error) => {
            eprintln!("vkmps-engine: standard input is not usable: {error}");
            return ExitCode::from(2);
        }
    };
    let result = if options.check_sandbox {
        sandbox_check::run(&control, &options)
    } else if options.control {
        engine::run(control, &options)
    } else {
        compiler::run(&control, &options)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vkmps-engine: {error}");
            ExitCode::FAILURE
        }
    }
}
