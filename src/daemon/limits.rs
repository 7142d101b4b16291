//! Limits and the policy of sharing, as administrators change them while the daemon runs.

use crate::control::LimitsError;
use crate::server::Server;
use vkmps_broker::{ClientChanges, Input, UserChanges};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::quota::Limit;

impl Server {
    /// Limits of a client; what it is beyond with them. Its owner may only make them tighter.
    pub(crate) fn set_limits(
        &mut self,
        session: SessionId,
        changes: ClientChanges,
        by_owner: bool,
    ) -> Result<Vec<Limit>, LimitsError> {
        if self.broker.session(session).is_none() {
            return Err(LimitsError::NoSuchClient);
        }
        if by_owner && !self.broker.tightens(session, &changes) {
            return Err(LimitsError::Wider);
        }
        let exceeded = self.broker.would_exceed(session, &changes, by_owner);
        self.inbox.push_back(Input::SetLimits {
            session,
            changes,
            by_owner,
        });
        Ok(exceeded)
    }

    /// Limits of all clients of a user together.
    pub(crate) fn set_user_limits(
        &mut self,
        uid: u32,
        changes: UserChanges,
    ) -> Result<Vec<Limit>, LimitsError> {
        let limits = self.broker.configured_limits();
        let sum = self.broker.reserved_percent(limits, Some((uid, changes)));
        if sum > 100 {
            return Err(LimitsError::Overbooked(sum));
        }
        let exceeded = self.broker.user_would_exceed(uid, &changes);
        self.inbox.push_back(Input::SetUserLimits { uid, changes });
        Ok(exceeded)
    }

    /// Passes on how the device's time is to be shared, until the configuration is read again.
    pub(crate) fn apply_policy(&mut self) {
        self.policy_set = true;
        let policy = self.config.broker().policy;
        self.inbox.push_back(Input::SetPolicy(policy));
    }
}
