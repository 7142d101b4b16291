//! Named errors of the bus.

use zbus::DBusError;

/// Why a call failed; the text says what to do.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.vkmps.Error")]
pub enum Error {
    /// Anything else that zbus reports.
    #[zbus(error)]
    Bus(zbus::Error),
    /// No client has this id (any more).
    NoSuchClient(String),
    /// No session has this id (any more).
    NoSuchSession(String),
    /// An argument makes no sense.
    InvalidArgument(String),
    /// polkit says no, or does not answer.
    NotAuthorized(String),
    /// The configuration is bad, and the old one stays.
    BadConfiguration(String),
    /// More is asked for than there is to give.
    LimitExceeded(String),
    /// The daemon is stopping.
    Draining(String),
    /// The caller has too many calls unanswered.
    Busy(String),
    /// A bug, or the system failed.
    Internal(String),
}
