//! The command line.

use super::value::MAX_LOOP_SLICE;
use super::{Bus, SchedulingMode};
use clap::Parser;
use std::path::{Path, PathBuf};

/// Multi-process service for Vulkan compute: many processes share one device, and their work runs concurrently.
#[derive(Debug, Clone, Parser)]
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
    pub(crate) scheduling_mode: Option<SchedulingMode>,
    /// Loop iterations of one slice of a shader [default: 100000]
    #[arg(short = 'q', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_LOOP_SLICE))]
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
    /// Configuration file; PATH.d/*.toml add to it [default: /etc/vkmps/vkmpsd.toml, if it is there]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Try to get out of the sandboxes of vkmpsd, engine and compiler, say what was possible, and end
    #[arg(long)]
    pub(crate) check_sandbox: bool,
    /// D-Bus to be managed through: auto, system, none or an address [default: auto]
    #[arg(long, value_name = "BUS")]
    pub(crate) bus: Option<Bus>,
    /// Executable that runs the driver [default: vkmps-engine beside vkmpsd, else in /usr/libexec/vkmps]
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// Shader caches of the driver [default: $CACHE_DIRECTORY, $XDG_CACHE_HOME/vkmps or ~/.cache/vkmps]
    #[arg(long, value_name = "PATH")]
    cache_dir: Option<PathBuf>,
}

impl Options {
    /// The configuration file.
    pub(crate) fn config_path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG))
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
/// Configuration of the system's daemon.
const DEFAULT_CONFIG: &str = "/etc/vkmps/vkmpsd.toml";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
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
        let more = [
            "--instrument-submodular",
            "-L",
            "/y",
            "--config",
            "/z",
            "--bus",
            "none",
        ];
        let options = Options::parse_from(given.into_iter().chain(more));
        assert_eq!(options.config_path(), Path::new("/z"));
        assert!(options.log && options.log_path.is_some());
    }

    #[test]
    fn the_command_line_overrides_the_files() {
        let given = [
            "vkmpsd",
            "-d",
            "1",
            "-M",
            "cooperative-fairshare",
            "-q",
            "5",
        ];
        let more = ["--instrument-submodular", "--bus", "unix:path=/x"];
        let options = Options::parse_from(given.into_iter().chain(more));
        let mut config = Config::default();
        config.override_by(&options);
        assert_eq!(config.scheduling.mode, SchedulingMode::CooperativeFairshare);
        assert_eq!(config.scheduling.loop_slice_quota.number(), 5);
        assert!(config.scheduling.instrument_submodular);
        assert_eq!(config.service.bus, Bus::Address("unix:path=/x".to_owned()));
        assert_eq!(config.engine_arguments()[..2], ["--device", "1"]);

        let warned = config.without_effect(&options);
        assert_eq!(warned, Some("--instrument-submodular"));

        let mut config = Config::default();
        let options = Options::parse_from(["vkmpsd"]);
        config.override_by(&options);
        assert_eq!(config, Config::default());
        assert_eq!(config.without_effect(&options), None);
    }
}
