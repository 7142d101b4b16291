//! What administrators do to a daemon that runs.

use crate::admission::{Admission, DRAINED};
use crate::event::{Cause, Event, TERMINATED};
use crate::session::Phase;
use crate::{Action, Broker, Config};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;

impl Broker {
    pub(crate) fn set_priority(&mut self, id: SessionId, priority: Priority) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !matches!(session.phase, Phase::Open { .. }) {
            return;
        }
        let from = std::mem::replace(&mut session.priority, priority);
        if from == priority {
            return;
        }
        let client = session.client(id);
        self.push(Action::ToEngine(ToEngine::SetPriority {
            session: id,
            priority,
        }));
        self.say_lane(id);
        self.log(Event::PriorityChanged {
            client,
            from,
            to: priority,
        });
    }

    pub(crate) fn terminate(&mut self, id: SessionId) {
        let open = |phase| matches!(phase, Phase::Open { .. });
        if self.sessions.get(&id).is_some_and(|s| open(s.phase)) {
            let code = ErrorCode::PermissionDenied;
            self.end_session(id, Cause::Terminated, code, TERMINATED.to_owned());
        }
    }

    pub(crate) fn set_admission(&mut self, admission: Admission) {
        if std::mem::replace(&mut self.admission, admission) == admission {
            return;
        }
        self.log(Event::AdmissionChanged {
            admission,
            sessions: self.sessions().count(),
        });
        // Who waits for an engine is a newcomer still.
        if admission == Admission::Closed {
            self.refuse_waiting(ErrorCode::Draining, DRAINED);
        }
    }

    pub(crate) fn configure(&mut self, config: Config) {
        let before = std::mem::replace(&mut self.config, config);
        self.config.arena_bytes = before.arena_bytes;
        if self.config.policy != before.policy {
            self.send_policy();
        }
        self.refresh_users(None);
        self.refresh_sessions(None);
    }
}
