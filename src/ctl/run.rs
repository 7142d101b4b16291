//! `vkmpsctl run`: a command whose clients have limits together and end with it.
//!
//! It speaks to the service's own socket, not to the bus: that works where there is no bus, needs nobody's permission since
//! a session only takes away, and the service sees at once when this program is gone, however it went.

use crate::text::escape;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
use vkmps::{Amount, ErrorCode, Session, SessionLimits};
use vkmps_bus::Priority;

/// What to run, and what it may have.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Memory of all its clients together: 512M, 2G, 25%, ...
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<Amount>,
    /// Most of the device's time for all of them together, 1 to 100
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    percentage: Option<u8>,
    /// Highest priority of each: low, medium, high or realtime
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<Priority>,
    /// Most clients at one time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    clients: Option<u32>,
    /// End the session after so long, and the command with it: 90s, 10m, 2h, ...
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// What list shows [default: the command's name]
    #[arg(long)]
    name: Option<String>,
    /// The service's socket [default: $VKMPS_SOCKET, or /run/vkmps/vkmps.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Why the command was not run, or could not be waited for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no session")]
    NoSession(#[source] vkmps::Error),
    #[error("{program} cannot be run")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("signals cannot be listened for")]
    Signals(#[source] io::Error),
    #[error("the command cannot be waited for")]
    Wait(#[source] io::Error),
}

/// Runs it; the exit status is the command's.
pub(crate) async fn run(options: &Options) -> ExitCode {
    match supervise(options).await {
        Ok(Outcome::Ended(status)) => status_of(status).into(),
        Ok(Outcome::Expired) => EXPIRED.into(),
        Err(failure) => {
            crate::complain("vkmpsctl", &failure);
            failure.status().into()
        }
    }
}

/// How it went.
enum Outcome {
    Ended(ExitStatus),
    /// The session ended before the command.
    Expired,
}

async fn supervise(options: &Options) -> Result<Outcome, Failure> {
    // From here on, signals are for the command.
    let mut signals = Signals::new().map_err(Failure::Signals)?;
    let session = create(options).map_err(Failure::NoSession)?;
    let mut child = start(options, &session.token())?;
    let session = watch(session).map_err(Failure::Wait)?;
    let mut over = None;
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::Wait)? {
            // The end of its clients may have ended it before anything else was heard.
            let over = over.or_else(|| heard(session.get_ref()));
            return Ok(match over {
                Some(ErrorCode::SessionOver) => Outcome::Expired,
                _ => Outcome::Ended(status),
            });
        }
        tokio::select! {
            _ = signals.child.recv() => {}
            // The terminal sends it to the command as well.
            _ = signals.interrupt.recv() => {}
            _ = signals.terminate.recv() => pass_on(&child, Signal::SIGTERM),
            _ = signals.hang_up.recv() => pass_on(&child, Signal::SIGHUP),
            Ok(mut guard) = session.readable(), if over.is_none() => {
                guard.clear_ready();
                over = heard(session.get_ref());
                if let Some(code) = over {
                    // Of a service that went away the command hears by itself, and may find another one.
                    if code == ErrorCode::SessionOver {
                        pass_on(&child, Signal::SIGTERM);
                    }
                }
            }
        }
    }
}

/// Why the session is over, if it is; it is said once.
fn heard(session: &Session) -> Option<ErrorCode> {
    let end = session.end()?;
    eprintln!("vkmpsctl: {}", escape(&end.to_string()));
    Some(end.code())
}

/// A session's descriptor stays the same and open as long as the session lives.
#[expect(
    deprecated,
    reason = "tokio wants this promise in an unsafe block; this crate forbids them"
)]
fn watch(session: Session) -> io::Result<AsyncFd<Session>> {
    AsyncFd::with_interest(session, Interest::READABLE)
}

fn create(options: &Options) -> Result<Session, vkmps::Error> {
    let limits = SessionLimits {
        memory: options.memory,
        cap_percent: options.percentage,
        max_priority: options.priority.map(|priority| match priority {
            Priority::Low => vkmps::Priority::Low,
            Priority::Medium => vkmps::Priority::Medium,
            Priority::High => vkmps::Priority::High,
            Priority::Realtime => vkmps::Priority::Realtime,
        }),
        clients: options.clients,
    };
    let name = options.name.clone().unwrap_or_else(|| program(options));
    let mut builder = Session::builder()
        .limits(limits)
        .name(cut(name))
        .ttl(options.ttl.unwrap_or_default());
    if let Some(socket) = &options.socket {
        builder = builder.socket(socket);
    }
    builder.create()
}

fn start(options: &Options, token: &str) -> Result<Child, Failure> {
    let mut command = Command::new(&options.command[0]);
    command
        .args(&options.command[1..])
        .env("VKMPS_SESSION", token);
    if let Some(socket) = &options.socket {
        command.env("VKMPS_SOCKET", socket);
    }
    command.spawn().map_err(|source| Failure::Start {
        program: options.command[0].to_string_lossy().into_owned(),
        source,
    })
}

/// A command that has ended needs none.
fn pass_on(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn program(options: &Options) -> String {
    let path = Path::new(&options.command[0]);
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// At most as many bytes as a name may have, in whole characters.
fn cut(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(vkmps_protocol::limits::MAX_NAME_BYTES));
    name
}

/// What this program can be sent.
struct Signals {
    child: Listener,
    interrupt: Listener,
    terminate: Listener,
    hang_up: Listener,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

impl Failure {
    /// As env(1) and timeout(1) have it.
    fn status(&self) -> u8 {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Start { .. } => 126,
            Self::NoSession(_) | Self::Signals(_) | Self::Wait(_) => 125,
        }
    }
}

/// As shells have it.
fn status_of(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

/// A whole number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "a time is a whole number with a unit (ms, s, m, h or d), such as 90s".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.ok_or_else(bad)?);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let (_, unit_ms) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(bad)?;
    let ms = number.checked_mul(*unit_ms).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(bad)
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The session ended before the command, as timeout(1) has it.
const EXPIRED: u8 = 124;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_some() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for text in [
            "",
            "5",
            "s",
            "0s",
            "-1s",
            "1.5h",
            "1w",
            "5 s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_status_is_the_commands() {
        assert_eq!(status_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(status_of(ExitStatus::from_raw(9)), 137);
    }
}
