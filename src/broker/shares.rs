//! How the device's time is shared: what the engine's scheduler is told.

use crate::event::Event;
use crate::session::Phase;
use crate::{Action, Broker};
use std::time::Duration;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::DaemonMessage;
use vkmps_protocol::share::Mode;

/// The rule for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Which.
    pub mode: Mode,
    /// Loop iterations of a slice of a shader.
    pub loop_slice_quota: u64,
    /// Device time that a client of the highest priority may use as such in each period; then it runs one lane lower.
    pub realtime_budget: Duration,
    /// The period.
    pub realtime_period: Duration,
}

impl Policy {
    fn message(self) -> ToEngine {
        let us = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        ToEngine::SetPolicy {
            mode: self.mode,
            loop_slice_quota: self.loop_slice_quota,
            realtime_budget_us: us(self.realtime_budget),
            realtime_period_us: us(self.realtime_period),
        }
    }
}

impl Broker {
    /// Tells the engine of the rule for everybody.
    pub(crate) fn send_policy(&mut self) {
        if self.engine.is_ready() {
            let message = self.config.policy.message();
            self.push(Action::ToEngine(message));
        }
    }

    /// A client has used its budget of the highest priority up, or may use the next one.
    pub(crate) fn demoted(&mut self, id: SessionId, demoted: bool) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !matches!(session.phase, Phase::Open { .. }) || session.demoted == demoted {
            return;
        }
        session.demoted = demoted;
        let client = session.client(id);
        self.say_lane(id);
        self.log(Event::Demoted { client, demoted });
    }

    /// Lets a client see in which lane its work runs.
    pub(crate) fn say_lane(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            self.actions.push(Action::Lane {
                session: id,
                priority: session.priority,
                demoted: session.demoted,
            });
        }
    }

    /// An administrator decides, until the configuration is read again.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        if std::mem::replace(&mut self.config.policy, policy) != policy {
            self.send_policy();
        }
    }

    /// What a client asks of itself.
    pub(crate) fn answer_quota(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get(&id) {
            let quota = self.quota(session);
            self.answer(id, DaemonMessage::Quota(quota));
        }
    }
}
