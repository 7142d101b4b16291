//! The main loop's answers to administrators.

use crate::control::{
    ClientView, DeviceView, Held, NoSuchClient, PriorityError, Reply, Request, State, Status,
    Stopping,
};
use crate::server::Server;
use crate::statistics::{Work, ns};
use nix::time::{ClockId, clock_gettime};
use vkmps_broker::{Admission, Input, MemoryBytes, SessionView};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;

impl Server {
    /// Answers, or does what is asked. Who asks may have gone: then nobody hears the answer.
    pub(crate) fn request(&mut self, request: Request) {
        match request {
            Request::Status(reply) => answer(reply, self.status()),
            Request::Statistics(reply) => {
                let batches = self.supervisor.batches();
                answer(reply, self.statistics.named(self.total(), batches));
            }
            Request::Clients(reply) => {
                let views = self
                    .broker
                    .sessions()
                    .map(|session| self.client_view(&session));
                answer(reply, views.collect());
            }
            Request::Client(id, reply) => {
                let session = self.broker.session(id);
                answer(reply, session.map(|session| self.client_view(&session)));
            }
            Request::Device(reply) => answer(reply, self.device_view()),
            Request::Trace(reply) => answer(reply, self.supervisor.recorder()),
            Request::SetPriority {
                client,
                priority,
                granted_only,
                reply,
            } => {
                let session = self.broker.session(client);
                let most = session.map_or(Priority::Low, |session| session.limits.max_priority);
                let granted = !granted_only || session.is_none() || priority <= most;
                let input = Input::SetPriority {
                    session: client,
                    priority,
                };
                let done = match granted {
                    true => self
                        .of_client(client, input)
                        .map_err(|NoSuchClient| PriorityError::NoSuchClient),
                    false => Err(PriorityError::NotGranted),
                };
                answer(reply, done);
            }
            Request::SetLimits {
                client,
                changes,
                by_owner,
                reply,
            } => answer(reply, self.set_limits(client, changes, by_owner)),
            Request::SetUserLimits {
                uid,
                changes,
                reply,
            } => answer(reply, self.set_user_limits(uid, changes)),
            Request::UserLimits(uid, reply) => {
                let view = self.broker.user(uid);
                let used = self.of_device(view.memory_used);
                let limit = self.of_device(view.limits.memory);
                answer(reply, (view, (used, limit)));
            }
            Request::SetDefaultLimits(changes, reply) => {
                self.inbox.push_back(Input::SetDefaultLimits(changes));
                answer(reply, ());
            }
            Request::SetMode(mode, reply) => {
                self.config.scheduling.mode = mode.into();
                self.apply_policy();
                answer(reply, ());
            }
            Request::SetLoopSliceQuota(quota, reply) => {
                self.config.scheduling.loop_slice_quota = quota;
                self.apply_policy();
                answer(reply, ());
            }
            Request::Terminate { client, reply } => {
                let input = Input::Terminate { session: client };
                answer(reply, self.of_client(client, input));
            }
            Request::CreateSession(new, reply) => {
                let held = self.create_session(new);
                // Nobody is there to hold it.
                if let Err(Ok(Held { id, .. })) = reply.send(held) {
                    let _ = self.release_session(id);
                }
            }
            Request::Sessions(reply) => answer(reply, self.session_views()),
            Request::ReleaseSession(group, reply) => {
                let done = self.release_session(group);
                if let Some(reply) = reply {
                    answer(reply, done);
                }
            }
            Request::Drain(reply) => answer(reply, self.set_admission(Admission::Closed)),
            Request::Resume(reply) => answer(reply, self.set_admission(Admission::Open)),
            Request::Reload(reply) => answer(reply, self.reload()),
            Request::SetLogLevel(level, reply) => {
                self.log.set_level(level);
                answer(reply, ());
            }
            Request::Denied {
                uid,
                sender,
                action,
            } => {
                self.statistics.denied();
                crate::journal::denied(uid, &sender, action);
            }
        }
    }

    /// How the daemon is.
    pub(crate) fn status(&self) -> Status {
        let total = self.total();
        Status {
            state: self.state(),
            detail: self.broker.engine_failure().unwrap_or_default().to_owned(),
            engine_pid: self.supervisor.engine_pid().unwrap_or(0),
            restarts: self.supervisor.restarts(),
            warnings: [&self.warnings, self.broker.warnings()].concat(),
            uptime: self.started.elapsed(),
            log_level: self.log.level(),
            clients: u32::try_from(self.clients.len()).unwrap_or(u32::MAX),
            scheduling_mode: self.config.scheduling.mode.name(),
            loop_slice_quota: self.config.scheduling.loop_slice_quota.number(),
            default_limits: self.default_limits(),
            realtime_us: self.realtime_us(),
            queue_depth: total.queued.into(),
            dispatches: total.dispatches,
        }
    }

    /// What the daemon does, in a word.
    pub(crate) fn state(&self) -> State {
        if self.is_stopping() {
            return State::Stopping;
        }
        match self.broker.admission() {
            Admission::Closed if self.clients.is_empty() => State::Drained,
            Admission::Closed => State::Draining,
            Admission::Open if self.broker.engine_failure().is_some() => State::Failed,
            Admission::Open if self.broker.device().is_none() => State::Starting,
            Admission::Open => State::Serving,
        }
    }

    /// A client, as administrators see it.
    pub(crate) fn client_view(&self, session: &SessionView<'_>) -> ClientView {
        let work = self.supervisor.work(session.slot, session.id);
        ClientView {
            id: session.id,
            uid: session.peer.uid,
            pid: session.peer.pid,
            name: session.name.to_owned(),
            priority: session.priority,
            demoted: session.demoted,
            limits: session.limits,
            connected_since_us: self
                .clients
                .get(&session.id)
                .map_or(0, |known| known.connected_since_us),
            memory_limit_bytes: self.of_device(session.memory_limit),
            memory_used_bytes: self.of_device(session.memory_charged),
            buffers: u32::try_from(session.buffers).unwrap_or(u32::MAX),
            shared_buffers: u32::try_from(session.shared).unwrap_or(u32::MAX),
            attached_buffers: u32::try_from(session.attached).unwrap_or(u32::MAX),
            programs: u32::try_from(session.programs).unwrap_or(u32::MAX),
            queue_depth: work.queued,
            dispatches: work.dispatches,
            device_time: work.device_time,
            submits: work.submits,
            wait: work.wait,
            slices: work.slices,
            preemptions: work.preemptions,
            share: work.recent.share(monotonic_ns()),
        }
    }

    /// The device, while an engine serves it.
    pub(crate) fn device_view(&self) -> Option<DeviceView> {
        let device = self.broker.device()?;
        let (total, used) = (self.broker.memory_total(), self.broker.memory_used());
        Some(DeviceView {
            name: device.name.clone(),
            driver: device.driver.clone(),
            uuid: device.uuid,
            software: device.cpu,
            unified: device.unified,
            queues: device.queues,
            extensions: self.broker.extensions().to_vec(),
            global_priorities: self.broker.global_priorities().to_vec(),
            engine_pid: self.supervisor.engine_pid().unwrap_or(0),
            device_memory_bytes: (total.device, used.device),
            host_memory_bytes: (total.shared, used.shared),
        })
    }

    /// Percent and bytes of clients for whom nobody said something else.
    pub(crate) fn default_limits(&self) -> (u8, u64) {
        let limits = self.broker.default_limits();
        (limits.cap_percent, self.of_device(limits.memory))
    }

    /// Budget and period of priority realtime.
    pub(crate) fn realtime_us(&self) -> (u64, u64) {
        let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let realtime = &self.config.realtime;
        (
            us(realtime.budget.duration()),
            us(realtime.period.duration()),
        )
    }

    /// Of the memory that the device computes in: on a unified device that is the host's.
    pub(crate) fn of_device(&self, memory: MemoryBytes) -> u64 {
        match self.broker.device() {
            Some(device) if device.unified => memory.shared,
            _ => memory.device,
        }
    }

    /// Work of all clients there ever were.
    fn total(&self) -> Work {
        let sessions = self.broker.sessions();
        self.statistics
            .total(sessions.map(|session| self.supervisor.work(session.slot, session.id)))
    }

    /// Something for the broker about a client, if there is one.
    fn of_client(&mut self, client: SessionId, input: Input) -> Result<(), NoSuchClient> {
        if self.broker.session(client).is_none() {
            return Err(NoSuchClient);
        }
        self.inbox.push_back(input);
        Ok(())
    }

    fn set_admission(&mut self, admission: Admission) -> Result<(), Stopping> {
        if self.is_stopping() {
            return Err(Stopping);
        }
        self.inbox.push_back(Input::SetAdmission(admission));
        Ok(())
    }
}

/// The engine's clock, of which a session's share is told.
fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| ns(now.into()))
}

/// Who asked may have gone.
fn answer<T>(reply: Reply<T>, value: T) {
    let _ = reply.send(value);
}
