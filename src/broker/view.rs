//! What can be seen of the broker from outside; nothing here changes anything.

use crate::admission::Admission;
use crate::engine::Engine;
use crate::limits::ClientLimits;
use crate::memory::MemoryBytes;
use crate::session::{Phase, Session};
use crate::{Broker, Peer};
use vkmps_protocol::engine::GlobalPriority;
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::{DeviceDescription, Priority};

/// An open session, as administrators see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionView<'a> {
    /// Its name.
    pub id: SessionId,
    /// Whose.
    pub peer: Peer,
    /// What the client calls itself; hostile, may hold control characters.
    pub name: &'a str,
    /// The group that it belongs to.
    pub group: Option<GroupId>,
    /// Of its work.
    pub priority: Priority,
    /// Whether its work runs one lane lower than that, for want of budget.
    pub demoted: bool,
    /// Its slot in the ledger.
    pub slot: u32,
    /// What it took of the device's and the host's memory, in whole chunks.
    pub memory_used: MemoryBytes,
    /// The same in sizes of buffers, which is what limits are about.
    pub memory_charged: MemoryBytes,
    /// What it may take, by its own limit and its user's.
    pub memory_limit: MemoryBytes,
    /// All its limits.
    pub limits: ClientLimits,
    /// How many it has.
    pub buffers: usize,
    /// Of its buffers, those that it may offer.
    pub shared: usize,
    /// Handles to buffers of others.
    pub attached: usize,
    /// How many it has.
    pub programs: usize,
}

impl Broker {
    /// Sessions that are open, oldest first: each was welcomed, and none is closing.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions
            .iter()
            .filter_map(|(id, session)| self.view(*id, session))
    }

    /// One of [`Self::sessions`].
    pub fn session(&self, id: SessionId) -> Option<SessionView<'_>> {
        self.view(id, self.sessions.get(&id)?)
    }

    /// Connections in any stage, sessions that are not gone although their connection is, and groups that no connection
    /// holds: with none, nothing is lost when the daemon leaves.
    pub fn connections(&self) -> usize {
        self.connections.len() + self.closing() + self.unheld_groups()
    }

    /// The device, while an engine serves it.
    pub fn device(&self) -> Option<&DeviceDescription> {
        match &self.engine {
            Engine::Ready { device, .. } => Some(device),
            Engine::Starting | Engine::Failed { .. } => None,
        }
    }

    /// Extensions of the device that are in use.
    pub fn extensions(&self) -> &[String] {
        match &self.engine {
            Engine::Ready { extensions, .. } => extensions,
            Engine::Starting | Engine::Failed { .. } => &[],
        }
    }

    /// The global priority of each hardware queue.
    pub fn global_priorities(&self) -> &[GlobalPriority] {
        match &self.engine {
            Engine::Ready { ranks, .. } => &ranks.global,
            Engine::Starting | Engine::Failed { .. } => &[],
        }
    }

    /// Checks of the engine's sandbox that failed and are only warned of.
    pub fn warnings(&self) -> &[String] {
        match &self.engine {
            Engine::Ready { warnings, .. } => warnings,
            Engine::Starting | Engine::Failed { .. } => &[],
        }
    }

    /// Why there is no engine, if it could not be started.
    pub fn engine_failure(&self) -> Option<&str> {
        match &self.engine {
            Engine::Failed { text } => Some(text),
            Engine::Starting | Engine::Ready { .. } => None,
        }
    }

    /// Whether newcomers get sessions, as far as administrators decide.
    pub fn admission(&self) -> Admission {
        self.admission
    }

    /// What all sessions took together, closing ones included.
    pub fn memory_used(&self) -> MemoryBytes {
        MemoryBytes {
            device: self.budget.device.used_bytes,
            shared: self.budget.shared.used_bytes,
        }
    }

    /// What there is for all sessions together; 0 until an engine served. On a unified device all of it is shared.
    pub fn memory_total(&self) -> MemoryBytes {
        MemoryBytes {
            device: self.budget.device.limit_bytes,
            shared: self.budget.shared.limit_bytes,
        }
    }

    /// Sessions whose connection is gone already.
    pub(crate) fn closing(&self) -> usize {
        let closing = |session: &&Session| session.phase == Phase::Closing;
        self.sessions.values().filter(closing).count()
    }

    fn view<'a>(&'a self, id: SessionId, session: &'a Session) -> Option<SessionView<'a>> {
        matches!(session.phase, Phase::Open { .. }).then(|| SessionView {
            id,
            peer: session.peer,
            name: &session.name,
            group: session.group,
            priority: session.priority,
            demoted: session.demoted,
            slot: session.slot,
            memory_used: session.memory.bytes(),
            memory_charged: session.used,
            memory_limit: self.memory_limit(session),
            limits: session.limits,
            buffers: session.memory.buffers(),
            shared: self.shares_of(id).count(),
            attached: session.memory.attachments(),
            programs: session.programs.len(),
        })
    }
}
