//! What happened since the daemon started, in numbers.

use std::time::Duration;
use vkmps_broker::Event;
use vkmps_protocol::window::Window;

/// Counters for administrators. They only grow, and names are only ever added.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    clients: u64,
    refused_connections: u64,
    violations: u64,
    programs: u64,
    refused_programs: u64,
    quarantined_programs: u64,
    refused_allocations: u64,
    refused_submits: u64,
    lost_devices: u64,
    dead_engines: u64,
    denied_calls: u64,
    /// Of clients that are gone.
    past: Work,
}

/// What was done for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Dispatches that are over.
    pub(crate) dispatches: u64,
    /// Its part of the batches it was in.
    pub(crate) device_time: Duration,
    /// Submits accepted and not over.
    pub(crate) queued: u32,
    /// Submits that the device was given, or the first piece of.
    pub(crate) submits: u64,
    /// What these waited for that.
    pub(crate) wait: Duration,
    /// Pieces that the device was given.
    pub(crate) slices: u64,
    /// Pieces that waited for work of others after the piece before them.
    pub(crate) preemptions: u64,
    /// Device time of late.
    pub(crate) recent: Window,
}

impl Statistics {
    /// Counts what the log is told of.
    pub(crate) fn count(&mut self, event: &Event) {
        let counter = match event {
            Event::ClientConnected { .. } => &mut self.clients,
            Event::ConnectionRefused { .. } => &mut self.refused_connections,
            Event::ProtocolViolation { .. } => &mut self.violations,
            Event::ProgramRegistered { .. } => &mut self.programs,
            Event::ProgramRefused { .. } => &mut self.refused_programs,
            Event::ProgramQuarantined { .. } => &mut self.quarantined_programs,
            Event::AllocationRefused { .. } => &mut self.refused_allocations,
            Event::SubmitRefused { suppressed, .. } => {
                self.refused_submits += u64::from(*suppressed);
                &mut self.refused_submits
            }
            Event::DeviceLost { .. } => &mut self.lost_devices,
            Event::EngineDied { .. } => &mut self.dead_engines,
            Event::ClientDisconnected { .. }
            | Event::EngineReady { .. }
            | Event::EngineNotStarted { .. }
            | Event::PriorityChanged { .. }
            | Event::LimitsChanged { .. }
            | Event::UserLimitsChanged { .. }
            | Event::DefaultLimitsChanged { .. }
            | Event::Demoted { .. }
            | Event::AdmissionChanged { .. }
            | Event::GroupOpened { .. }
            | Event::GroupEnded { .. }
            | Event::Stopping { .. } => return,
        };
        *counter += 1;
    }

    /// Counts a call that polkit refused.
    pub(crate) fn denied(&mut self) {
        self.denied_calls += 1;
    }

    /// A client is gone; what was done for it stays counted.
    pub(crate) fn bury(&mut self, work: Work) {
        self.past = sum(self.past, Work { queued: 0, ..work });
    }

    /// Dispatches and device time of all clients there ever were.
    pub(crate) fn total(&self, present: impl Iterator<Item = Work>) -> Work {
        present.fold(self.past, sum)
    }

    /// All counters by name.
    pub(crate) fn named(&self, total: Work, batches: u64) -> Vec<(&'static str, u64)> {
        vec![
            ("AllocationsRefused", self.refused_allocations),
            ("Batches", batches),
            ("CallsDenied", self.denied_calls),
            ("Clients", self.clients),
            ("ConnectionsRefused", self.refused_connections),
            ("DeviceTimeNSec", ns(total.device_time)),
            ("DevicesLost", self.lost_devices),
            ("Dispatches", total.dispatches),
            ("EnginesDied", self.dead_engines),
            ("Preemptions", total.preemptions),
            ("Programs", self.programs),
            ("ProgramsQuarantined", self.quarantined_programs),
            ("ProgramsRefused", self.refused_programs),
            ("ProtocolViolations", self.violations),
            ("Slices", total.slices),
            ("Submits", total.submits),
            ("SubmitsRefused", self.refused_submits),
            ("WaitTimeNSec", ns(total.wait)),
        ]
    }
}

/// What was done for two clients. Shares of a second are told of each only.
fn sum(one: Work, other: Work) -> Work {
    Work {
        dispatches: one.dispatches.saturating_add(other.dispatches),
        device_time: one.device_time.saturating_add(other.device_time),
        queued: one.queued.saturating_add(other.queued),
        submits: one.submits.saturating_add(other.submits),
        wait: one.wait.saturating_add(other.wait),
        slices: one.slices.saturating_add(other.slices),
        preemptions: one.preemptions.saturating_add(other.preemptions),
        recent: Window::default(),
    }
}

/// Nanoseconds, as counters have them.
pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
