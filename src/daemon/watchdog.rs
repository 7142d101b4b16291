//! systemd's watchdog, fed while the engine answers.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::Instant;

/// When to feed it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    every: Duration,
    due: Instant,
}

impl Watchdog {
    /// None where systemd did not ask for it.
    pub(crate) fn from_environment(now: Instant) -> Option<Self> {
        // Twice within its time, as sd_watchdog_enabled(3) recommends.
        let every = sd_notify::watchdog_enabled()? / 2;
        Some(Self { every, due: now })
    }

    /// Feeds it if that is due and all is well; without, systemd kills and restarts the service.
    pub(crate) fn feed(&mut self, alive: bool, now: Instant) {
        if self.due > now {
            return;
        }
        self.due = now + self.every;
        if alive {
            notify(&[NotifyState::Watchdog]);
        }
    }

    /// When [`Self::feed`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        self.due
    }
}

/// Tells systemd that the configuration is being read; `READY=1` ends it.
pub(crate) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    notify(&states);
}

/// Tells systemd; without systemd nobody.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd, ignoring");
    }
}
