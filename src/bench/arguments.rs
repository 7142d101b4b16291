//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Measures vkmps beside what it replaces, all arms in one run under equal settings.
#[derive(Debug, Parser)]
#[command(name = "vkmps-bench", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Dispatches per second: separate processes, the daemon, and the best one process can do.
    Throughput(ThroughputOptions),
    /// Round trip of one dispatch: in process by fence and by polling, and through the daemon.
    Latency(Options),
    /// Bytes per second of writes and reads: direct staging copies, and the daemon.
    Bandwidth(Options),
    /// From exec to the first result: own VkDevice, and a client of a running daemon.
    Startup(Options),
    /// CPU time and memory of an idle daemon with 0 and with many clients.
    Idle(Options),
    /// Latency of a high-priority client while a low-priority one saturates the device with long kernels.
    Priority(PriorityOptions),
    /// Shares of clients with unequal kernels, and of users with unequal numbers of clients.
    Fairness(FairnessOptions),
    /// What clients with caps of 10, 30 and 60 % of the device's time get of it, second by second.
    Caps(CapsOptions),
    /// What scheduling one dispatch costs, by the number of clients; no device, no daemon.
    Scale(ScaleOptions),
    /// Allocating and freeing 1 MiB: by the driver in process, and through the daemon under a limit.
    Alloc(Options),
    /// Kills 1 000 clients and looks for what is left; eight users attack while one looks at every byte it gets.
    Isolation(IsolationOptions),
    /// Many processes compute pictures on one device, shared and separate; checks every pixel.
    Demo(DemoOptions),
    /// One process of an arm; started by this program only.
    #[command(hide = true)]
    Worker {
        /// What it does, as JSON.
        task: String,
    },
}

/// What all scenarios have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Client processes.
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Submits that each client keeps in flight, each on its own stream and buffer.
    #[arg(long)]
    pub(crate) depth: Option<usize>,
    /// The Vulkan device; without it the best.
    #[arg(long)]
    pub(crate) device: Option<usize>,
    /// How long each arm runs in each round, 3 unless the scenario has a reason.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Rounds of all arms in turn; medians are reported.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// A running daemon; without it a private one is started.
    #[arg(long)]
    pub(crate) socket: Option<PathBuf>,
    /// Binds every process, also the private daemon's, to this CPU.
    #[arg(long)]
    pub(crate) pin: Option<usize>,
}

impl Options {
    pub(crate) fn depth(&self) -> usize {
        self.depth.unwrap_or(1).max(1)
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(3.0)
    }

    /// With a scenario's own defaults.
    pub(crate) fn or(&self, depth: usize, seconds: f64) -> Self {
        Self {
            depth: self.depth.or(Some(depth)),
            seconds: self.seconds.or(Some(seconds)),
            ..self.clone()
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ThroughputOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// What is dispatched.
    #[arg(long, value_enum, default_value_t = KernelName::Fma)]
    pub(crate) kernel: KernelName,
    /// Workgroups of 256 threads of the fma kernel.
    #[arg(long, default_value_t = 8)]
    pub(crate) groups: u32,
    /// Dependent fused multiply-adds per thread of the fma kernel.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) iterations: u32,
    /// Chooses the iterations so that one dispatch takes about this long.
    #[arg(long)]
    pub(crate) kernel_ms: Option<f64>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FairnessOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// How long the shortest kernel takes on an own device; the longest takes eight times as long.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) kernel_ms: f64,
    /// A line for each client's share, 1 being what all have on average.
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PriorityOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// How long a kernel of the background takes on an own device.
    #[arg(long, default_value_t = 1.6)]
    pub(crate) kernel_ms: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CapsOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// How long a kernel takes on an own device.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) kernel_ms: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct IsolationOptions {
    #[command(flatten)]
    pub(crate) common: Options,
    /// Clients that live at a time; --clients says how many die.
    #[arg(long, default_value_t = 32)]
    pub(crate) alive: usize,
    /// What is looked at, at least, MiB.
    #[arg(long, default_value_t = 2048)]
    pub(crate) checked_mib: u64,
    /// Of all random choices.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ScaleOptions {
    /// Only with this many clients that submit, instead of 1 to 10 000.
    #[arg(long)]
    pub(crate) clients: Option<usize>,
    /// Only with this many clients that do nothing.
    #[arg(long)]
    pub(crate) idle: Option<usize>,
    /// Only with this many streams of each client.
    #[arg(long)]
    pub(crate) streams: Option<usize>,
    /// Only with this many hardware queues.
    #[arg(long)]
    pub(crate) queues: Option<usize>,
    /// How long each arm runs in each round.
    #[arg(long, default_value_t = 0.1)]
    pub(crate) seconds: f64,
    /// Rounds of all arms in turn; medians are reported.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelName {
    /// Chains of dependent multiply-adds.
    Fma,
    /// Nothing at all.
    Noop,
    /// The sum of two vectors of 1 Ki numbers.
    VectorAdd,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoOptions {
    /// A PNG picture to blur and edge-detect instead of the Mandelbrot set.
    pub(crate) image: Option<PathBuf>,
    /// Worker processes.
    #[arg(long, default_value_t = 8)]
    pub(crate) clients: usize,
    /// The Vulkan device; without it the best.
    #[arg(long)]
    pub(crate) device: Option<usize>,
    /// Where the pictures and the timeline go.
    #[arg(short = 'o', long, default_value = "vkmps-demo")]
    pub(crate) output: PathBuf,
    /// Edge of the Mandelbrot picture, pixels.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=4096))]
    pub(crate) size: u32,
    /// The most iterations per Mandelbrot pixel.
    #[arg(long, default_value_t = 512)]
    pub(crate) iterations: u32,
}
