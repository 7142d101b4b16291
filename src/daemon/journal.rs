//! The log: where it goes, and how much of it.
//!
//! Under systemd lines go to journald with a field for each fact, else to standard error or a file, as text. Either way
//! nobody who reads the log, or does not, can stop the daemon.

mod event;
mod journald;
mod losses;
mod message_id;
mod output;
mod rate;
mod text;

use crate::config::{Config, Options};
use crate::startup::RunError;
use event::Doer;
use journald::Journald;
use message_id::Kind;
use output::Output;
use rate::{Cause, Limits, Verdict};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;
use text::Text;
use tracing::{Subscriber, error, info, warn};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use vkmps_broker::Event;
use vkmps_bus::LogLevel;
use vkmps_ipc::SystemError;

/// Changes how much is logged.
#[derive(Debug)]
pub(crate) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    level: LogLevel,
    /// What `VKMPS_LOG` said at start.
    environment: Option<String>,
    /// Nobody asked for a log, so that what is configured for one does not apply.
    quiet: bool,
}

impl LogControl {
    /// What is logged now, apart from what the environment says.
    pub(crate) fn level(&self) -> LogLevel {
        self.level
    }

    /// An administrator wants this much logged.
    pub(crate) fn set_level(&mut self, level: LogLevel) {
        self.level = level;
        let filter = filter(level, self.environment.as_deref());
        if let Err(error) = self.filter.reload(filter) {
            warn!(%error, "cannot change the log level, ignoring");
        }
    }

    /// The configuration says this.
    pub(crate) fn configure(&mut self, config: &Config) {
        self.set_level(level(config, self.quiet));
    }
}

/// Opens the log: journald's if systemd connected it, else a file or standard error. Without options only warnings go
/// to standard error.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn start(options: &Options, config: &Config) -> Result<LogControl, RunError> {
    let asked = options.log || options.log_path.is_some();
    // Without journald standard error is as good as ever.
    let journald = (!asked && journald::reads_stderr())
        .then(|| Journald::new(Path::new(journald::SOCKET)).ok())
        .flatten();
    let quiet = !asked && journald.is_none();
    let to_stderr = journald.is_none() && (options.log || options.log_path.is_none());
    let stderr = to_stderr.then(|| lines(Output::new(std::io::stderr())));
    let file = options.log_path.as_deref().map(open).transpose()?;
    let level = level(config, quiet);
    let environment = std::env::var("VKMPS_LOG").ok();
    let (filter, handle) = reload::Layer::new(filter(level, environment.as_deref()));
    tracing_subscriber::registry()
        .with(filter)
        .with(journald)
        .with(stderr)
        .with(file.map(|file| lines(Output::new(file))))
        .init();
    std::panic::set_hook(Box::new(|panic| {
        // A daemon in an unknown state serves nobody; systemd starts another one.
        error!(MESSAGE_ID = Kind::Bug.id(), %panic, "vkmpsd has a bug and stops");
        std::process::abort();
    }));
    Ok(LogControl {
        filter: handle,
        level,
        environment,
        quiet,
    })
}

/// One line for one event, unless its client caused too many of them.
pub(crate) fn write(event: &Event) {
    match event::subject(event) {
        (_, Doer::Other) => event::write(event, None),
        (kind, Doer::Someone) => {
            within_limits(None, kind, |suppressed| event::write(event, suppressed))
        }
        (kind, Doer::Client(client)) => {
            let uid = Some(client.uid);
            within_limits(uid, kind, |suppressed| event::write(event, suppressed));
            if let Some(limit) = event.limit() {
                within_limits(uid, Kind::LimitReached, |suppressed| {
                    event::write_limit(client, limit, suppressed);
                });
            }
        }
    }
}

/// A D-Bus call was refused.
pub(crate) fn denied(uid: Option<u32>, sender: &str, action: &str) {
    within_limits(uid, Kind::CallDenied, |suppressed| {
        warn!(
            MESSAGE_ID = Kind::CallDenied.id(),
            VKMPS_UID = uid,
            VKMPS_SENDER = sender,
            VKMPS_ACTION = action,
            VKMPS_SUPPRESSED = suppressed,
            "call denied"
        );
    });
}

/// A compiler died that was to compile a client's module; whose it was is said when the client is told.
pub(crate) fn compiler_died(reason: &str) {
    within_limits(None, Kind::CompilerDied, |suppressed| {
        warn!(
            MESSAGE_ID = Kind::CompilerDied.id(),
            VKMPS_REASON = reason,
            VKMPS_SUPPRESSED = suppressed,
            "a compiler died"
        );
    });
}

/// A client waits that cannot be let in: there is no descriptor or memory left.
pub(crate) fn not_accepted(error: &SystemError) {
    within_limits(None, Kind::NotAccepted, |suppressed| {
        warn!(
            MESSAGE_ID = Kind::NotAccepted.id(),
            VKMPS_REASON = %error,
            VKMPS_SUPPRESSED = suppressed,
            "cannot accept a client, trying again"
        );
    });
}

/// The daemon serves.
pub(crate) fn started() {
    let version = env!("CARGO_PKG_VERSION");
    info!(MESSAGE_ID = Kind::Started.id(), version, "ready");
}

/// The daemon is about to end.
pub(crate) fn stopped() {
    let untold = limits().rest();
    untold.into_iter().for_each(report_suppressed);
    info!(MESSAGE_ID = Kind::Stopped.id(), "stopped");
}

/// New settings are in force, but for keys that need a restart.
pub(crate) fn configuration_reloaded(needing_restart: &[&str]) {
    let id = Kind::ConfigurationReloaded.id();
    match needing_restart {
        [] => info!(MESSAGE_ID = id, "configuration reloaded"),
        keys => {
            let keys = keys.join(" ");
            warn!(
                MESSAGE_ID = id,
                keys, "configuration reloaded, some keys need a restart"
            );
        }
    }
}

/// A reload changed nothing.
pub(crate) fn configuration_refused(reason: &str) {
    error!(
        MESSAGE_ID = Kind::ConfigurationRefused.id(),
        VKMPS_REASON = reason,
        "the configuration is bad, the old one stays"
    );
}

/// A check of the confinement failed and the daemon serves nevertheless.
pub(crate) fn sandbox_gap(reason: &str) {
    warn!(
        MESSAGE_ID = Kind::SandboxGap.id(),
        VKMPS_REASON = reason,
        "the sandbox has a gap"
    );
}

/// Lets `write` write if its cause may, and tells of floods that are over. Without a user it is nobody in particular.
fn within_limits(uid: Option<u32>, kind: Kind, write: impl FnOnce(Option<u64>)) {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let now = START.elapsed();
    let (verdict, over) = {
        let mut limits = limits();
        (limits.judge(Cause { uid, kind }, now), limits.over(now))
    };
    over.into_iter().for_each(report_suppressed);
    if let Verdict::Write { suppressed } = verdict {
        write((suppressed > 0).then_some(suppressed));
    }
}

fn report_suppressed((cause, lines): (Cause, u64)) {
    warn!(
        MESSAGE_ID = Kind::LinesSuppressed.id(),
        VKMPS_UID = cause.uid,
        VKMPS_SUPPRESSED = lines,
        kind = ?cause.kind,
        "lines suppressed"
    );
}

/// Limits of the one log that a process has. The lock is held for no wait; who writes and who
/// accepts clients share one thread.
fn limits() -> std::sync::MutexGuard<'static, Limits> {
    static LIMITS: LazyLock<Mutex<Limits>> = LazyLock::new(Mutex::default);
    LIMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn level(config: &Config, quiet: bool) -> LogLevel {
    match quiet {
        false => config.log.level,
        true => config.log.level.min(LogLevel::Warn),
    }
}

/// What the environment says comes on top.
fn filter(level: LogLevel, environment: Option<&str>) -> EnvFilter {
    // The bus library has much to say about every message.
    let library = level.min(LogLevel::Warn);
    let ours = format!("{level},zbus={library}");
    environment
        .and_then(|more| EnvFilter::builder().parse(format!("{ours},{more}")).ok())
        .unwrap_or_else(|| EnvFilter::new(ours))
}

/// For appending. What has no reader or no room is not waited for.
fn open(path: &Path) -> Result<File, RunError> {
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o640)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path);
    file.map_err(|source| RunError::Log {
        path: path.to_owned(),
        source,
    })
}

/// Lines of text with time and level.
fn lines<S>(output: Output<impl AsFd + Send + Sync + 'static>) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .fmt_fields(Text)
        .with_ansi(false)
        .with_target(false)
        .with_writer(output)
        // It would print to standard error, and panic if that fails too.
        .log_internal_errors(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tracing_subscriber::layer::Context;

    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many of a line of each level are written, after each change of the level.
    fn written(environment: Option<&str>, levels: &[LogLevel]) -> Vec<usize> {
        let counter = Counter::default();
        let (layer, handle) = reload::Layer::new(filter(LogLevel::Info, environment));
        let mut control = LogControl {
            filter: handle,
            level: LogLevel::Info,
            environment: environment.map(str::to_owned),
            quiet: false,
        };
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(counter.clone());
        tracing::subscriber::with_default(subscriber, || {
            let count = |level: &LogLevel| {
                control.set_level(*level);
                assert_eq!(control.level(), *level);
                error!("an error");
                warn!("a warning");
                info!("a fact");
                tracing::debug!("a detail");
                tracing::trace!("a step");
                counter.0.swap(0, Ordering::Relaxed)
            };
            levels.iter().map(count).collect()
        })
    }

    #[test]
    fn the_level_can_be_changed_while_the_daemon_runs() {
        assert_eq!(written(None, &LogLevel::ALL), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let levels = [LogLevel::Error, LogLevel::Info];
        assert_eq!(written(Some("debug"), &levels), [4, 4]);
        assert_eq!(written(Some("zbus=trace"), &levels), [1, 3]);
        assert_eq!(written(Some("a=b=c"), &levels), [1, 3]);
    }

    #[test]
    fn without_a_log_that_somebody_asked_for_only_warnings_are_written() {
        let mut config = Config::default();
        assert_eq!(level(&config, false), LogLevel::Info);
        assert_eq!(level(&config, true), LogLevel::Warn);
        config.log.level = LogLevel::Error;
        assert_eq!(level(&config, true), LogLevel::Error);
    }
}
