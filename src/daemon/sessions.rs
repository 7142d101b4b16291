//! Sessions that administrators and users open, list and release over the bus.

use crate::announcement::realtime_us;
use crate::control::{Held, NewSession, NoSuchSession, SessionView};
use crate::server::Server;
use std::time::Duration;
use tokio::sync::oneshot;
use vkmps_broker::{GroupView, Input};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::group::GroupId;

impl Server {
    /// Opens one; or why not.
    pub(crate) fn create_session(&mut self, new: NewSession) -> Result<Held, (ErrorCode, String)> {
        let NewSession { peer, group } = new;
        // What is on its way to the broker may change the answer.
        self.feed(Vec::new());
        if let Some(refusal) = self.broker.refuses_group(peer.uid, &group) {
            return Err(refusal);
        }
        let id = self.broker.next_group();
        let (ends, over) = oneshot::channel();
        self.held_groups.insert(id, ends);
        self.inbox.push_back(Input::OpenGroup { peer, group });
        self.feed(Vec::new());
        Ok(Held { id, over })
    }

    pub(crate) fn release_session(&mut self, group: GroupId) -> Result<(), NoSuchSession> {
        self.broker.group(group).ok_or(NoSuchSession)?;
        self.inbox.push_back(Input::ReleaseGroup { group });
        Ok(())
    }

    /// All of them, oldest first.
    pub(crate) fn session_views(&self) -> Vec<SessionView> {
        self.broker
            .groups()
            .map(|group| self.session_view(&group))
            .collect()
    }

    fn session_view(&self, group: &GroupView<'_>) -> SessionView {
        let clients = self.broker.sessions();
        let members = clients.filter(|client| client.group == Some(group.id));
        let (now_us, elapsed) = (realtime_us(), self.started.elapsed());
        let age = elapsed.saturating_sub(group.opened);
        let rest = group
            .deadline
            .map(|deadline| deadline.saturating_sub(elapsed));
        SessionView {
            id: group.id,
            uid: group.peer.uid,
            pid: group.peer.pid,
            name: group.name.to_owned(),
            limits: group.limits,
            clients: members.map(|client| client.id).collect(),
            memory_bytes: (
                self.of_device(group.memory_used),
                self.of_device(group.memory_limit),
            ),
            created_us: now_us.saturating_sub(micros(age)),
            ends_us: rest.map_or(0, |rest| now_us.saturating_add(micros(rest))),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
