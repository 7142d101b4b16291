//! The command line, and what follows from it.

use clap::{Parser, ValueEnum};
use std::path::{Path, PathBuf};
use vkmps_broker::{Instrumentation, SchedulingMode};

/// Multi-process service for Vulkan compute: many processes share one device, and their work runs concurrently.
#[derive(Debug, Parser)]
#[command(name = "vkmpsd", version)]
pub(crate) struct Options {
    /// Socket to listen on; sockets passed by systemd come first
    #[arg(short, long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Vulkan device to use [default: the best discrete, integrated, then CPU device]
    #[arg(short, long, value_name = "IDX")]
    pub(crate) device: Option<u32>,
    /// How clients share the device's time [default: exclusive-throughput]
    #[arg(short = 'M', long, value_name = "MODE")]
    pub(crate) scheduling_mode: Option<Mode>,
    /// Loop iterations of one slice of a shader [default: 100000]
    #[arg(short = 'q', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) loop_slice_quota: Option<u64>,
    /// Choose yield points in shaders by submodular selection
    #[arg(long)]
    pub(crate) instrument_submodular: bool,
    /// Log to standard error, not only warnings (VKMPS_LOG=debug for more)
    #[arg(short, long)]
    pub(crate) log: bool,
    /// Log to a file
    #[arg(short = 'L', long, value_name = "PATH")]
    pub(crate) log_path: Option<PathBuf>,
    /// Executable that runs the driver [default: vkmps-engine beside vkmpsd, else in /usr/libexec/vkmps]
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Shader caches of the driver [default: $CACHE_DIRECTORY, $XDG_CACHE_HOME/vkmps or ~/.cache/vkmps]
    #[arg(long, value_name = "PATH")]
    cache_dir: Option<PathBuf>,
}

/// How clients share the device's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Long slices, most throughput
    ExclusiveThroughput,
    /// Short slices by backlog and priority
    CooperativeFairshare,
}

impl Options {
    /// What the broker needs of them.
    pub(crate) fn broker(&self) -> vkmps_broker::Config {
        vkmps_broker::Config {
            arena_bytes: ARENA_BYTES,
            scheduling: match self.scheduling_mode {
                None | Some(Mode::ExclusiveThroughput) => SchedulingMode::ExclusiveThroughput,
                Some(Mode::CooperativeFairshare) => SchedulingMode::CooperativeFairshare,
            },
            loop_slice_quota: self.loop_slice_quota.unwrap_or(100_000),
            instrumentation: match self.instrument_submodular {
                false => Instrumentation::EveryLoop,
                true => Instrumentation::Submodular,
            },
        }
    }

    /// Options that were given and do nothing yet.
    pub(crate) fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.scheduling_mode.is_some(), "--scheduling-mode"),
            (self.loop_slice_quota.is_some(), "--loop-slice-quota"),
            (self.instrument_submodular, "--instrument-submodular"),
        ]
        .into_iter()
        .filter_map(|(given, name)| given.then_some(name))
    }

    /// The executable of engines and compilers.
    pub(crate) fn engine(&self) -> PathBuf {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("vkmps-engine"));
        self.engine
            .clone()
            .or_else(|| beside().filter(|path| path.exists()))
            .unwrap_or_else(|| Path::new("/usr/libexec/vkmps/vkmps-engine").to_owned())
    }

    /// Where drivers cache what they compiled.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        // systemd separates several directories by colons; the first is ours.
        let of_unit = |value: std::ffi::OsString| {
            value.to_string_lossy().split(':').next().map(PathBuf::from)
        };
        self.cache_dir
            .clone()
            .or_else(|| variable("CACHE_DIRECTORY").and_then(of_unit))
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| PathBuf::from(path).join("vkmps")))
            .or_else(|| variable("HOME").map(|path| PathBuf::from(path).join(".cache/vkmps")))
            .unwrap_or_else(|| Path::new("/var/cache/vkmps").to_owned())
    }
}

/// Socket of the system's daemon; its directory is created when missing.
pub(crate) const DEFAULT_SOCKET: &str = "/run/vkmps/vkmps.sock";
/// A session's shared memory: more than any host has, and sparse.
const ARENA_BYTES: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_those_of_the_manual() {
        Options::command().debug_assert();
        let given = [
            "vkmpsd",
            "-s",
            "/x",
            "-d",
            "1",
            "-M",
            "cooperative-fairshare",
            "-q",
            "5",
            "-l",
        ];
        let options =
            Options::parse_from(
                given
                    .into_iter()
                    .chain(["--instrument-submodular", "-L", "/y"]),
            );
        assert_eq!(
            options.broker().scheduling,
            SchedulingMode::CooperativeFairshare
        );
        assert_eq!(options.broker().loop_slice_quota, 5);
        assert_eq!(options.without_effect().count(), 3);
        assert_eq!(Options::parse_from(["vkmpsd"]).without_effect().count(), 0);
    }
}
