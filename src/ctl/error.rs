//! What can go wrong, told so that the reader knows what to do.

use crate::exit::Exit;
use std::io;
use std::path::PathBuf;
use zbus::fdo;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no D-Bus to ask (is dbus.service running?)")]
    NoBus(#[source] zbus::Error),
    #[error(
        "vkmpsd does not answer (is vkmpsd.socket enabled? systemctl enable --now vkmpsd.socket)"
    )]
    Unreachable(#[source] zbus::Error),
    #[error(
        "there is no vkmpsd on this bus (is vkmpsd.socket enabled? systemctl enable --now vkmpsd.socket)"
    )]
    Absent,
    #[error("vkmpsd has left the bus (journalctl -u vkmpsd says why)")]
    Gone,
    #[error("the connection to the bus was closed")]
    BusClosed,
    #[error("not authorised: {0}{hint}", hint = who_is())]
    NotAuthorised(String),
    #[error("no client {0}; vkmpsctl list shows those that are connected")]
    NoSuchClient(u64),
    #[error("no session {0}; vkmpsctl sessions shows those that there are")]
    NoSuchSession(u64),
    #[error("no such session: {0}")]
    UnknownSession(String),
    #[error("no such client: {0}")]
    UnknownClient(String),
    #[error("the configuration is bad and the old one stays: {0}")]
    BadConfiguration(String),
    #[error("vkmpsd refuses: {0}")]
    Refused(String),
    #[error("another vkmpsd than this program's: it has no {interface}.{property} of that type")]
    Foreign {
        interface: &'static str,
        property: &'static str,
    },
    #[error("D-Bus failed")]
    Bus(#[source] zbus::Error),
    #[error("somebody resumed the service before all clients had left")]
    Resumed,
    #[error("vkmpsd is drained, but not run by systemd: end it where it was started")]
    NotBySystemd,
    #[error("{path} cannot be started")]
    Start {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} cannot be written")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another vkmpsd than this program's: its recorder has another layout")]
    OtherRecorder,
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// Who read our output has seen enough.
    #[error("the output is closed")]
    OutputClosed,
    /// Several things failed and were reported when they did.
    #[error("failed")]
    Reported(Exit),
}

impl Error {
    /// What the program ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::Success,
            Self::NoBus(_) | Self::Unreachable(_) | Self::Gone | Self::BusClosed | Self::Absent => {
                Exit::Unreachable
            }
            Self::NotAuthorised(_) => Exit::NotAuthorised,
            Self::NoSuchClient(_)
            | Self::UnknownClient(_)
            | Self::NoSuchSession(_)
            | Self::UnknownSession(_) => Exit::NoSuchClient,
            Self::BadConfiguration(_) => Exit::BadConfiguration,
            Self::Reported(exit) => *exit,
            Self::Refused(_)
            | Self::Foreign { .. }
            | Self::Bus(_)
            | Self::Resumed
            | Self::NotBySystemd
            | Self::Start { .. }
            | Self::Write { .. }
            | Self::OtherRecorder
            | Self::System(..) => Exit::Failure,
        }
    }

    /// Whether nothing is left to say.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Reported(_))
    }
}

impl From<vkmps_bus::Error> for Error {
    fn from(error: vkmps_bus::Error) -> Self {
        match error {
            vkmps_bus::Error::Bus(error) => error.into(),
            vkmps_bus::Error::NoSuchClient(text) => Self::UnknownClient(text),
            vkmps_bus::Error::NoSuchSession(text) => Self::UnknownSession(text),
            vkmps_bus::Error::NotAuthorized(text) => Self::NotAuthorised(text),
            vkmps_bus::Error::BadConfiguration(text) => Self::BadConfiguration(text),
            vkmps_bus::Error::InvalidArgument(text)
            | vkmps_bus::Error::Draining(text)
            | vkmps_bus::Error::Busy(text)
            | vkmps_bus::Error::LimitExceeded(text)
            | vkmps_bus::Error::Internal(text) => Self::Refused(text),
        }
    }
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::InputOutput(_) => Self::Unreachable(error),
            zbus::Error::FDO(reason) => match &**reason {
                fdo::Error::AccessDenied(text)
                | fdo::Error::AuthFailed(text)
                | fdo::Error::InteractiveAuthorizationRequired(text) => {
                    Self::NotAuthorised(text.clone())
                }
                reason if is_absence(reason) => Self::Unreachable(error),
                _ => Self::Bus(error),
            },
            // What systemd says when it cannot start the service for the bus.
            zbus::Error::MethodError(name, ..)
                if name.starts_with("org.freedesktop.systemd1.")
                    || name.starts_with("org.freedesktop.DBus.Error.Spawn.") =>
            {
                Self::Unreachable(error)
            }
            _ => Self::Bus(error),
        }
    }
}

impl From<fdo::Error> for Error {
    fn from(error: fdo::Error) -> Self {
        match error {
            fdo::Error::ZBus(error) => error.into(),
            error => zbus::Error::FDO(Box::new(error)).into(),
        }
    }
}

/// Who is authorised, for those who may not know.
fn who_is() -> &'static str {
    match nix::unistd::geteuid().is_root() {
        // Then polkit is missing, or an administrator forbade it.
        true => "",
        false => "; try it as root",
    }
}

/// Whether the bus says so of a service that is not there.
fn is_absence(error: &fdo::Error) -> bool {
    matches!(
        error,
        fdo::Error::ServiceUnknown(_)
            | fdo::Error::NameHasNoOwner(_)
            | fdo::Error::NoReply(_)
            | fdo::Error::NoServer(_)
            | fdo::Error::Disconnected(_)
            | fdo::Error::Timeout(_)
            | fdo::Error::TimedOut(_)
            | fdo::Error::SpawnExecFailed(_)
            | fdo::Error::SpawnForkFailed(_)
            | fdo::Error::SpawnChildExited(_)
            | fdo::Error::SpawnChildSignaled(_)
            | fdo::Error::SpawnFailed(_)
            | fdo::Error::SpawnFailedToSetup(_)
            | fdo::Error::SpawnConfigInvalid(_)
            | fdo::Error::SpawnServiceNotValid(_)
            | fdo::Error::SpawnServiceNotFound(_)
            | fdo::Error::SpawnPermissionsInvalid(_)
            | fdo::Error::SpawnFileInvalid(_)
            | fdo::Error::SpawnNoMemory(_)
    )
}

/// The error and its causes in one line; some types repeat their cause, which is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
