//! What the main loop tells without being asked: to the log, to the counters, to the bus.

use crate::control::{Change, State};
use crate::server::Server;
use vkmps_broker::{Client, Event};
use vkmps_bus::LogLevel;

/// What the broker does not know of a client, and what is needed when the broker has forgotten it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// Its slot in the ledger.
    pub(crate) slot: u32,
    /// Microseconds of CLOCK_REALTIME.
    pub(crate) connected_since_us: u64,
}

/// What of the status was told last; the rest of it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    state: State,
    log_level: LogLevel,
    clients: usize,
    configured: (&'static str, u64),
    default_limits: (u8, u64),
    realtime_us: (u64, u64),
}

impl Server {
    /// Writes an event down, counts it, and tells administrators of it.
    pub(crate) fn announce(&mut self, event: &Event) {
        crate::journal::write(event);
        self.statistics.count(event);
        match event {
            Event::ClientConnected { client, .. } => {
                // It may be gone again before this is done; then it was never there.
                let session = client.session.and_then(|id| self.broker.session(id));
                if let Some(session) = session {
                    let known = Known {
                        slot: session.slot,
                        connected_since_us: realtime_us(),
                    };
                    self.clients.insert(session.id, known);
                    let view = self.client_view(&session);
                    self.tell(Change::ClientAdded(view));
                }
            }
            Event::ClientDisconnected { client, cause } => {
                if let Some(id) = client.session
                    && let Some(known) = self.clients.remove(&id)
                {
                    self.statistics.bury(self.supervisor.work(known.slot, id));
                    self.tell(Change::ClientRemoved {
                        client: id,
                        reason: cause.to_string(),
                    });
                }
            }
            Event::PriorityChanged { client, to, .. } => {
                if let Some(client) = client.session {
                    self.tell(Change::Priority {
                        client,
                        priority: *to,
                    });
                }
            }
            Event::LimitsChanged { client, .. } | Event::Demoted { client, .. } => {
                let session = client.session.and_then(|id| self.broker.session(id));
                let view = session.map(|session| self.client_view(&session));
                view.into_iter()
                    .for_each(|view| self.tell(Change::Limits(view)));
            }
            Event::UserLimitsChanged { uid, .. } => {
                let sessions = self
                    .broker
                    .sessions()
                    .filter(|session| session.peer.uid == *uid);
                let views: Vec<_> = sessions.map(|session| self.client_view(&session)).collect();
                views
                    .into_iter()
                    .for_each(|view| self.tell(Change::Limits(view)));
            }
            Event::EngineReady { .. } => {
                let view = self.device_view();
                self.tell(Change::Device(view));
            }
            Event::GroupEnded { group, .. } => drop(self.held_groups.remove(group)),
            Event::DeviceLost { text } => self.lost_device = Some(text.clone()),
            Event::EngineDied { reason, sessions } => {
                let reason = match self.lost_device.take() {
                    Some(text) => format!("{text}; {reason}"),
                    None => reason.clone(),
                };
                self.tell(Change::DeviceFault {
                    reason,
                    sessions: u32::try_from(*sessions).unwrap_or(u32::MAX),
                });
                self.tell(Change::Device(None));
            }
            _ => {}
        }
        if let Some((client, limit)) = limit_reached(event) {
            self.tell(Change::LimitReached {
                client: client.session,
                uid: client.uid,
                limit,
            });
        }
    }

    /// Tells of a new status, if it is one.
    pub(crate) fn announce_status(&mut self) {
        let told = Told {
            state: self.state(),
            log_level: self.log.level(),
            clients: self.clients.len(),
            configured: (
                self.config.scheduling.mode.name(),
                self.config.scheduling.loop_slice_quota.number(),
            ),
            default_limits: self.default_limits(),
            realtime_us: self.realtime_us(),
        };
        if self.told != Some(told) {
            self.told = Some(told);
            let status = self.status();
            self.tell(Change::Status(status));
        }
    }

    fn tell(&mut self, change: Change) {
        self.administrators.push(change);
    }
}

/// Who was refused what, if that is what happened.
fn limit_reached(event: &Event) -> Option<(&Client, &'static str)> {
    let limit = event.limit()?.name();
    match event {
        Event::ConnectionRefused { client, .. }
        | Event::AllocationRefused { client, .. }
        | Event::ProgramRefused { client, .. }
        | Event::SubmitRefused { client, .. } => Some((client, limit)),
        _ => None,
    }
}

/// Microseconds of CLOCK_REALTIME.
pub(crate) fn realtime_us() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
