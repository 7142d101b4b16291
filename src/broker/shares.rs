//! How the device's time is shared: what the engine's scheduler is told.

use crate::{Action, Broker};
use std::time::Duration;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::SessionId;
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
        if let Some(session) = self.sessions.get_mut(&id) {
            session.demoted = demoted;
        }
    }
}
