//! What the administrator decides: the command line over the files over the defaults.
//!
//! [`Config`] is plain data. `systemd/vkmpsd.toml` documents every key of it; its defaults and this file's are the same.

mod accounts;
mod files;
mod options;
mod rules;
#[cfg(test)]
mod shipped;
mod token;
mod value;

use files::ConfigError;
pub(crate) use files::load;
pub(crate) use options::{DEFAULT_SOCKET, Options};
use rules::{Limits, Realtime, Rule};
pub(crate) use value::{Bus, Count, DeviceIndex, Time, TimeOrNever};

use clap::ValueEnum;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use value::MAX_LOOP_SLICE;
use vkmps_broker::Instrumentation;
use vkmps_bus::LogLevel;
use vkmps_protocol::limits::{MAX_SESSIONS, MAX_SESSIONS_PER_UID};
use vkmps_protocol::message::Priority;
use vkmps_protocol::share::Mode;
use vkmps_protocol::token::Pass;
use vkmps_sandbox::Check;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "tables"
)]
pub(crate) struct Config {
    /// The device.
    pub(crate) device: Device,
    /// The daemon.
    pub(crate) service: Service,
    /// The log.
    pub(crate) log: Log,
    /// What clients may have.
    pub(crate) clients: Clients,
    /// What each of them may have.
    pub(crate) limits: Limits,
    /// How long clients of the highest priority run as such.
    pub(crate) realtime: Realtime,
    /// What is different for some users; the first that says something of a limit decides it.
    pub(crate) rule: Vec<Rule>,
    /// The same with names made numbers.
    #[serde(skip)]
    resolved: Vec<vkmps_broker::Rule>,
    /// What is in the file of the token.
    #[serde(skip)]
    pass: Option<Pass>,
    /// How the device's time is shared.
    pub(crate) scheduling: Scheduling,
    /// How strict the daemon is about its own confinement.
    pub(crate) sandbox: Sandbox,
}

/// The device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Device {
    /// Which.
    pub(crate) index: DeviceIndex,
    /// Hardware queues to use at most.
    pub(crate) queues: Count<1, 64>,
    /// Whether some of them are to stand above those of other processes.
    pub(crate) global_priority: GlobalPriority,
    /// Shader cores that work of low and medium priority leaves free.
    pub(crate) reserved_shader_cores: Count<0, 1024>,
    /// Loop iterations that an invocation of a shader may do.
    pub(crate) loop_budget: Count<1, 2_147_483_647>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            index: DeviceIndex::Auto,
            queues: Count::known(16),
            global_priority: GlobalPriority::Auto,
            reserved_shader_cores: Count::known(0),
            loop_budget: Count::known(1 << 28),
        }
    }
}

/// Whether hardware queues are to stand above those of other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GlobalPriority {
    /// No.
    Off,
    /// Except with drivers where it changes nothing.
    Auto,
    /// Where the driver grants it.
    On,
}

impl GlobalPriority {
    /// Its name in files and on the engine's command line.
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::On => "on",
        }
    }
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Service {
    /// Leaves after so long without a client, if systemd holds its socket.
    pub(crate) idle_exit: TimeOrNever<1000, DAY>,
    /// An engine that is silent for so long hangs.
    pub(crate) engine_timeout: Time<1000, HOUR>,
    /// How long work in flight may take when the daemon is asked to stop.
    pub(crate) drain_timeout: Time<0, HOUR>,
    /// Where administrators reach the daemon.
    pub(crate) bus: Bus,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            idle_exit: TimeOrNever::known(300_000),
            engine_timeout: Time::known(10_000),
            drain_timeout: Time::known(5000),
            bus: Bus::Auto,
        }
    }
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Log {
    /// How much is logged.
    #[serde(deserialize_with = "value::level")]
    pub(crate) level: LogLevel,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
        }
    }
}

/// What clients may have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Clients {
    /// Sessions of all users together.
    pub(crate) max_sessions: Count<1, { MAX_SESSIONS as u64 }>,
    /// Sessions of one user other than root.
    pub(crate) max_sessions_per_uid: Count<1, { MAX_SESSIONS_PER_UID as u64 }>,
    /// Highest priority of users other than root.
    #[serde(deserialize_with = "value::priority")]
    pub(crate) max_priority: Priority,
    /// Holds what all must know who connect; empty: nothing.
    token_file: PathBuf,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            max_sessions: Count::known(MAX_SESSIONS as u64),
            max_sessions_per_uid: Count::known(MAX_SESSIONS_PER_UID as u64),
            max_priority: Priority::High,
            token_file: PathBuf::new(),
        }
    }
}

/// How the device's time is shared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Scheduling {
    /// By which rule.
    pub(crate) mode: SchedulingMode,
    /// Loop iterations of one slice of a shader.
    pub(crate) loop_slice_quota: LoopSliceQuota,
    /// Whether yield points are chosen by submodular selection.
    pub(crate) instrument_submodular: bool,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            mode: SchedulingMode::ExclusiveThroughput,
            loop_slice_quota: Count::known(100_000),
            instrument_submodular: false,
        }
    }
}

/// Loop iterations.
pub(crate) type LoopSliceQuota = Count<1, MAX_LOOP_SLICE>;

/// How clients share the device's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SchedulingMode {
    /// Long slices, most throughput
    ExclusiveThroughput,
    /// Short slices by backlog and priority
    CooperativeFairshare,
}

impl SchedulingMode {
    /// Its name in files, on the command line and on the bus.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ExclusiveThroughput => "exclusive-throughput",
            Self::CooperativeFairshare => "cooperative-fairshare",
        }
    }
}

impl From<Mode> for SchedulingMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::ExclusiveThroughput => Self::ExclusiveThroughput,
            Mode::CooperativeFairshare => Self::CooperativeFairshare,
        }
    }
}

impl From<SchedulingMode> for Mode {
    fn from(mode: SchedulingMode) -> Self {
        match mode {
            SchedulingMode::ExclusiveThroughput => Self::ExclusiveThroughput,
            SchedulingMode::CooperativeFairshare => Self::CooperativeFairshare,
        }
    }
}

/// How strict the daemon is about its own confinement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table"
)]
pub(crate) struct Sandbox {
    /// Checks whose failure is only a warning.
    pub(crate) warn_only: Vec<SandboxCheck>,
}

/// What is checked of every thread before the daemon serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SandboxCheck {
    /// It has none.
    Capabilities,
    /// It can get none.
    NoNewPrivileges,
    /// Its system calls are filtered.
    Seccomp,
    /// Its files are those it needs.
    Landlock,
}

impl From<SandboxCheck> for Check {
    fn from(check: SandboxCheck) -> Self {
        match check {
            SandboxCheck::Capabilities => Self::Capabilities,
            SandboxCheck::NoNewPrivileges => Self::NoNewPrivileges,
            SandboxCheck::Seccomp => Self::Seccomp,
            SandboxCheck::Landlock => Self::Landlock,
        }
    }
}

impl Config {
    /// Checks of the sandbox whose failure is only a warning.
    pub(crate) fn warn_only(&self) -> Vec<Check> {
        let checks = self.sandbox.warn_only.iter();
        checks.map(|check| Check::from(*check)).collect()
    }

    /// Makes names of users and groups numbers, and checks what no single value is to blame for.
    fn resolve(&mut self, accounts: &accounts::Accounts) -> Result<(), rules::Complaint> {
        self.realtime.check()?;
        self.resolved = rules::resolve(&self.rule, accounts)?;
        Ok(())
    }

    /// Reads the token, if there is to be one; its path is from the folder of the configuration on.
    fn read_token(&mut self, main: &Path) -> Result<(), ConfigError> {
        let folder = main.parent().unwrap_or(Path::new(""));
        let file = Some(&self.clients.token_file).filter(|file| !file.as_os_str().is_empty());
        let pass = file.map(|file| token::read(&folder.join(file), folder));
        self.pass = pass.transpose()?;
        Ok(())
    }

    /// The command line has the last word.
    pub(super) fn override_by(&mut self, options: &Options) {
        if let Some(index) = options.device {
            self.device.index = DeviceIndex::Number(index);
        }
        if let Some(mode) = options.scheduling_mode {
            self.scheduling.mode = mode;
        }
        if let Some(quota) = options.loop_slice_quota.and_then(Count::new) {
            self.scheduling.loop_slice_quota = quota;
        }
        self.scheduling.instrument_submodular |= options.instrument_submodular;
        if let Some(bus) = &options.bus {
            self.service.bus = bus.clone();
        }
    }

    /// What the broker needs of it.
    pub(crate) fn broker(&self) -> vkmps_broker::Config {
        vkmps_broker::Config {
            arena_bytes: ARENA_BYTES,
            max_priority: self.clients.max_priority,
            max_sessions: self.clients.max_sessions.size(),
            max_sessions_per_uid: self.clients.max_sessions_per_uid.size(),
            pass: self.pass.clone(),
            limits: rules::together(&self.limits, self.resolved.clone()),
            policy: vkmps_broker::Policy {
                mode: self.scheduling.mode.into(),
                loop_slice_quota: self.scheduling.loop_slice_quota.number(),
                realtime_budget: self.realtime.budget.duration(),
                realtime_period: self.realtime.period.duration(),
            },
            instrumentation: match self.scheduling.instrument_submodular {
                false => Instrumentation::EveryLoop,
                true => Instrumentation::Submodular,
            },
        }
    }

    /// What engines and compilers are told on their command line.
    pub(crate) fn engine_arguments(&self) -> Vec<String> {
        let device = match self.device.index {
            DeviceIndex::Auto => Vec::new(),
            DeviceIndex::Number(index) => vec!["--device".to_owned(), index.to_string()],
        };
        let queues = [
            "--queues".to_owned(),
            self.device.queues.number().to_string(),
            "--global-priority".to_owned(),
            self.device.global_priority.name().to_owned(),
            "--reserved-cores".to_owned(),
            self.device.reserved_shader_cores.number().to_string(),
            "--loop-budget".to_owned(),
            self.device.loop_budget.number().to_string(),
        ];
        let warn_only = self.warn_only();
        let warn_only = warn_only
            .iter()
            .flat_map(|check| ["--warn-only".to_owned(), check.to_string()]);
        device.into_iter().chain(queues).chain(warn_only).collect()
    }

    /// The option or key that was changed and does nothing yet.
    pub(crate) fn without_effect(&self, options: &Options) -> Option<&'static str> {
        match options.instrument_submodular {
            true => Some("--instrument-submodular"),
            false => self
                .scheduling
                .instrument_submodular
                .then_some("scheduling.instrument-submodular"),
        }
    }

    /// Keys that differ in `new` and that a running daemon cannot change.
    pub(crate) fn changes_needing_restart(&self, new: &Self) -> Vec<&'static str> {
        [
            (self.device.index != new.device.index, "device.index"),
            (self.device.queues != new.device.queues, "device.queues"),
            (
                self.device.global_priority != new.device.global_priority,
                "device.global-priority",
            ),
            (
                self.device.reserved_shader_cores != new.device.reserved_shader_cores,
                "device.reserved-shader-cores",
            ),
            (
                self.device.loop_budget != new.device.loop_budget,
                "device.loop-budget",
            ),
            (self.service.bus != new.service.bus, "service.bus"),
            (self.sandbox != new.sandbox, "sandbox.warn-only"),
        ]
        .into_iter()
        .filter_map(|(differs, key)| differs.then_some(key))
        .collect()
    }
}

/// A session's shared memory: more than any host has, and sparse.
const ARENA_BYTES: u64 = 1 << 40;
/// In milliseconds.
const HOUR: u64 = 3_600_000;
/// In milliseconds.
const DAY: u64 = 24 * HOUR;
