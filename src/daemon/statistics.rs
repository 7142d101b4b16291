//! What happened since the daemon started, in numbers.

use std::time::Duration;
use vkmps_broker::Event;

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
            | Event::AdmissionChanged { .. }
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
        self.past.dispatches += work.dispatches;
        self.past.device_time += work.device_time;
    }

    /// Dispatches and device time of all clients there ever were.
    pub(crate) fn total(&self, present: impl Iterator<Item = Work>) -> Work {
        present.fold(self.past, |sum, work| Work {
            dispatches: sum.dispatches + work.dispatches,
            device_time: sum.device_time + work.device_time,
            queued: sum.queued.saturating_add(work.queued),
        })
    }

    /// All counters by name.
    pub(crate) fn named(&self, total: Work) -> Vec<(&'static str, u64)> {
        let device_time_ns = u64::try_from(total.device_time.as_nanos()).unwrap_or(u64::MAX);
        vec![
            ("AllocationsRefused", self.refused_allocations),
            ("CallsDenied", self.denied_calls),
            ("Clients", self.clients),
            ("ConnectionsRefused", self.refused_connections),
            ("DeviceTimeNSec", device_time_ns),
            ("DevicesLost", self.lost_devices),
            ("Dispatches", total.dispatches),
            ("EnginesDied", self.dead_engines),
            ("Programs", self.programs),
            ("ProgramsQuarantined", self.quarantined_programs),
            ("ProgramsRefused", self.refused_programs),
            ("ProtocolViolations", self.violations),
            ("SubmitsRefused", self.refused_submits),
        ]
    }
}
