//! What polkit is asked about.

/// One per verb; `polkit/org.vkmps.Manager.policy` has the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// See clients, state and counters.
    Read,
    /// See what the device was given, of all clients.
    Trace,
    /// Change the priority of one's own client, within what the configuration grants.
    SetOwnPriority,
    /// Change any client's priority.
    SetPriority,
    /// Make the limits of one's own client tighter.
    SetOwnLimits,
    /// Change limits of any client, of users and of all.
    SetLimits,
    /// Change how the device's time is shared.
    SetPolicy,
    /// End one's own client.
    TerminateOwnClient,
    /// End any client.
    TerminateClient,
    /// Open a session.
    CreateSession,
    /// End one's own session.
    ReleaseOwnSession,
    /// End any session.
    ReleaseSession,
    /// Refuse newcomers, and let them in again.
    Drain,
    /// Read the configuration again.
    Reload,
    /// Change what is logged.
    SetLogLevel,
}

impl Action {
    /// polkit's name of it.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Read => "org.vkmps.Manager.read",
            Self::Trace => "org.vkmps.Manager.trace",
            Self::SetOwnPriority => "org.vkmps.Manager.set-own-priority",
            Self::SetPriority => "org.vkmps.Manager.set-priority",
            Self::SetOwnLimits => "org.vkmps.Manager.set-own-limits",
            Self::SetLimits => "org.vkmps.Manager.set-limits",
            Self::SetPolicy => "org.vkmps.Manager.set-policy",
            Self::TerminateOwnClient => "org.vkmps.Manager.terminate-own-client",
            Self::TerminateClient => "org.vkmps.Manager.terminate-client",
            Self::CreateSession => "org.vkmps.Manager.create-session",
            Self::ReleaseOwnSession => "org.vkmps.Manager.release-own-session",
            Self::ReleaseSession => "org.vkmps.Manager.release-session",
            Self::Drain => "org.vkmps.Manager.drain",
            Self::Reload => "org.vkmps.Manager.reload",
            Self::SetLogLevel => "org.vkmps.Manager.set-log-level",
        }
    }

    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 15] = [
        Self::Read,
        Self::Trace,
        Self::SetOwnPriority,
        Self::SetPriority,
        Self::SetOwnLimits,
        Self::SetLimits,
        Self::SetPolicy,
        Self::TerminateOwnClient,
        Self::TerminateClient,
        Self::CreateSession,
        Self::ReleaseOwnSession,
        Self::ReleaseSession,
        Self::Drain,
        Self::Reload,
        Self::SetLogLevel,
    ];
}
