//! `org.vkmps.Manager`; `dbus/org.vkmps.Manager.xml` documents it.

use super::action::Action;
use super::authority::Authority;
use super::client::Client;
use super::limits;
use super::outbox::Outbox;
use super::overview::Overview;
use super::port::Port;
use super::served::Current;
use super::sessions;
use super::words;
use crate::config::LoopSliceQuota;
use crate::control::{
    ClientView, LimitsError, NoSuchClient, PriorityError, Request, State, Stopping,
};
use std::collections::HashMap;
use std::sync::Arc;
use vkmps_bus::{ClientEntry, Error, LogLevel, SessionEntry};
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::quota::Limit;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedFd, OwnedVariant, Variant, interface};

/// The daemon's object.
#[derive(Clone)]
pub(super) struct Manager {
    port: Port,
    authority: Arc<Authority>,
    outbox: Outbox,
    overview: Overview,
}

impl Manager {
    pub(super) fn new(port: Port, authority: Arc<Authority>, outbox: Outbox) -> Self {
        Self {
            port,
            authority,
            outbox,
            overview: Overview::default(),
        }
    }

    pub(super) fn port(&self) -> &Port {
        &self.port
    }

    /// Whose client this is.
    async fn owner(&self, client: SessionId) -> Result<u32, Error> {
        Ok(self.client(client).await?.uid)
    }

    /// As it is now.
    async fn client(&self, client: SessionId) -> Result<ClientView, Error> {
        let view = self.port.ask(|reply| Request::Client(client, reply));
        view.await?.ok_or_else(|| words::no_such_client(client))
    }
}

impl Current for Manager {
    const IN_TREE: bool = true;

    async fn now(&self) -> Result<Self, Error> {
        let status = self.port.ask(Request::Status).await?;
        let device = self.port.ask(Request::Device).await?;
        Ok(Self {
            overview: Overview::new(&status, device.as_ref()),
            ..self.clone()
        })
    }
}

#[interface(name = "org.vkmps.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(out_args("clients"))]
    async fn list_clients(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<ClientEntry>, Error> {
        self.authority.authorise(&header, Action::Read).await?;
        let views = self.port.ask(Request::Clients).await?;
        let clients = views
            .into_iter()
            .map(|view| Client::new(self.port.clone(), self.outbox.clone(), view));
        Ok(clients.map(|client| client.entry()).collect())
    }

    #[zbus(out_args("state", "engine", "detail", "engine_pid", "restarts", "warnings"))]
    async fn get_status(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(&'static str, &'static str, String, u32, u32, Vec<String>), Error> {
        self.authority.authorise(&header, Action::Read).await?;
        let device = self.port.ask(Request::Device).await?;
        let status = self.port.ask(Request::Status).await?;
        let engine = match (device, status.state) {
            (Some(_), _) => "ready",
            (None, State::Failed) => "failed",
            (None, _) => "starting",
        };
        let warnings = status.warnings.iter().map(|text| words::plain(text));
        Ok((
            words::state(status.state),
            engine,
            words::plain(&status.detail),
            status.engine_pid,
            status.restarts,
            warnings.collect(),
        ))
    }

    #[zbus(out_args("counters"))]
    async fn get_statistics(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<HashMap<&'static str, u64>, Error> {
        self.authority.authorise(&header, Action::Read).await?;
        let counters = self.port.ask(Request::Statistics).await?;
        Ok(counters.into_iter().collect())
    }

    #[zbus(out_args("recorder"))]
    async fn trace(&self, #[zbus(header)] header: Header<'_>) -> Result<OwnedFd, Error> {
        self.authority.authorise(&header, Action::Trace).await?;
        let recorder = self.port.ask(Request::Trace).await?;
        let recorder = recorder.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(recorder.into())
    }

    async fn set_priority(
        &self,
        #[zbus(header)] header: Header<'_>,
        client: u64,
        priority: &str,
    ) -> Result<(), Error> {
        let (client, priority) = (SessionId(client), words::parse_priority(priority)?);
        let view = self.client(client).await?;
        let own = view.uid == self.authority.uid(&header).await?;
        let granted = priority <= view.limits.max_priority;
        let action = match own && granted {
            true => Action::SetOwnPriority,
            false => Action::SetPriority,
        };
        self.authority.authorise(&header, action).await?;
        let set = |reply| Request::SetPriority {
            client,
            priority,
            granted_only: action == Action::SetOwnPriority,
            reply,
        };
        self.port.ask(set).await?.map_err(|error| match error {
            PriorityError::NoSuchClient => words::no_such_client(client),
            PriorityError::NotGranted => Error::NotAuthorized(format!(
                "the configuration grants less than {} by now; ask again",
                words::priority(priority)
            )),
        })
    }

    #[zbus(out_args("exceeded"))]
    async fn set_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        client: u64,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<Vec<&'static str>, Error> {
        let (client, changes) = (SessionId(client), limits::of_client(&limits)?);
        let set = |by_owner| {
            self.port.ask(move |reply| Request::SetLimits {
                client,
                changes,
                by_owner,
                reply,
            })
        };
        let own = self.owner(client).await? == self.authority.uid(&header).await?;
        if own {
            self.authority
                .authorise(&header, Action::SetOwnLimits)
                .await?;
            match set(true).await? {
                // Wider ones are for administrators, as those of others.
                Err(LimitsError::Wider) => {}
                done => return exceeded(done, client),
            }
        }
        self.authority.authorise(&header, Action::SetLimits).await?;
        exceeded(set(false).await?, client)
    }

    #[zbus(out_args("exceeded"))]
    async fn set_user_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        uid: u32,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<Vec<&'static str>, Error> {
        let changes = limits::of_user(&limits)?;
        self.authority.authorise(&header, Action::SetLimits).await?;
        let set = |reply| Request::SetUserLimits {
            uid,
            changes,
            reply,
        };
        exceeded(self.port.ask(set).await?, SessionId(0))
    }

    #[zbus(out_args("limits"))]
    async fn get_user_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        uid: u32,
    ) -> Result<HashMap<&'static str, Variant<'static>>, Error> {
        self.authority.authorise(&header, Action::Read).await?;
        let asked = self.port.ask(|reply| Request::UserLimits(uid, reply));
        let (view, memory) = asked.await?;
        Ok(limits::describe_user(&view, memory))
    }

    async fn set_default_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<(), Error> {
        let changes = limits::of_client(&limits)?;
        self.authority.authorise(&header, Action::SetLimits).await?;
        self.port
            .ask(|reply| Request::SetDefaultLimits(changes, reply))
            .await
    }

    async fn set_scheduling_mode(
        &self,
        #[zbus(header)] header: Header<'_>,
        mode: &str,
    ) -> Result<(), Error> {
        let mode = words::parse_mode(mode)?;
        self.authority.authorise(&header, Action::SetPolicy).await?;
        self.port.ask(|reply| Request::SetMode(mode, reply)).await
    }

    async fn set_loop_slice_quota(
        &self,
        #[zbus(header)] header: Header<'_>,
        iterations: u64,
    ) -> Result<(), Error> {
        let quota = LoopSliceQuota::new(iterations).ok_or_else(|| {
            Error::InvalidArgument("a slice has 1 to 1000000000000 iterations".to_owned())
        })?;
        self.authority.authorise(&header, Action::SetPolicy).await?;
        self.port
            .ask(|reply| Request::SetLoopSliceQuota(quota, reply))
            .await
    }

    async fn terminate_client(
        &self,
        #[zbus(header)] header: Header<'_>,
        client: u64,
    ) -> Result<(), Error> {
        let client = SessionId(client);
        let own = self.owner(client).await? == self.authority.uid(&header).await?;
        let action = match own {
            true => Action::TerminateOwnClient,
            false => Action::TerminateClient,
        };
        self.authority.authorise(&header, action).await?;
        let end = |reply| Request::Terminate { client, reply };
        let done = self.port.ask(end).await?;
        done.map_err(|NoSuchClient| words::no_such_client(client))
    }

    #[zbus(out_args("session", "token"))]
    async fn create_session(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        limits: HashMap<String, OwnedVariant>,
        ttl_usec: u64,
    ) -> Result<(u64, String), Error> {
        let group = sessions::new_group(name, &limits, ttl_usec)?;
        self.authority
            .authorise(&header, Action::CreateSession)
            .await?;
        let departure = self.authority.departure_of(&header).await?;
        let peer = self.authority.peer(&header).await?;
        self.open_session(peer, group, departure).await
    }

    #[zbus(out_args("sessions"))]
    async fn list_sessions(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<SessionEntry>, Error> {
        self.authority.authorise(&header, Action::Read).await?;
        self.sessions().await
    }

    async fn release_session(
        &self,
        #[zbus(header)] header: Header<'_>,
        session: u64,
    ) -> Result<(), Error> {
        let own = self.session_owner(session).await? == self.authority.uid(&header).await?;
        let action = match own {
            true => Action::ReleaseOwnSession,
            false => Action::ReleaseSession,
        };
        self.authority.authorise(&header, action).await?;
        self.end_session(session).await
    }

    async fn drain(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.authorise(&header, Action::Drain).await?;
        self.port.ask(Request::Drain).await?.map_err(stopping)
    }

    async fn resume(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.authority.authorise(&header, Action::Drain).await?;
        self.port.ask(Request::Resume).await?.map_err(stopping)
    }

    #[zbus(out_args("restart"))]
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>, Error> {
        self.authority.authorise(&header, Action::Reload).await?;
        let keys = self.port.ask(Request::Reload).await?;
        keys.map_err(|text| Error::BadConfiguration(words::plain(&text)))
    }

    async fn set_log_level(
        &self,
        #[zbus(header)] header: Header<'_>,
        level: &str,
    ) -> Result<(), Error> {
        let level: LogLevel = level.parse().map_err(|error: vkmps_bus::UnknownLogLevel| {
            Error::InvalidArgument(error.to_string())
        })?;
        self.authority
            .authorise(&header, Action::SetLogLevel)
            .await?;
        self.port
            .ask(|reply| Request::SetLogLevel(level, reply))
            .await
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn state(&self) -> &'static str {
        self.overview.state
    }

    #[zbus(property)]
    fn log_level(&self) -> &'static str {
        self.overview.log_level
    }

    #[zbus(property)]
    fn device_name(&self) -> &str {
        &self.overview.device_name
    }

    #[zbus(property)]
    fn driver_info(&self) -> &str {
        &self.overview.driver_info
    }

    #[zbus(property, name = "DeviceUUID")]
    fn device_uuid(&self) -> &str {
        &self.overview.device_uuid
    }

    #[zbus(property)]
    fn scheduling_mode(&self) -> &'static str {
        self.overview.scheduling_mode
    }

    #[zbus(property)]
    fn loop_slice_quota(&self) -> u64 {
        self.overview.loop_slice_quota
    }

    #[zbus(property)]
    fn default_active_thread_percentage(&self) -> u8 {
        self.overview.default_limits.0
    }

    #[zbus(property)]
    fn default_memory_limit(&self) -> u64 {
        self.overview.default_limits.1
    }

    #[zbus(property, name = "RealtimeBudgetUSec")]
    fn realtime_budget_us(&self) -> u64 {
        self.overview.realtime_us.0
    }

    #[zbus(property, name = "RealtimePeriodUSec")]
    fn realtime_period_us(&self) -> u64 {
        self.overview.realtime_us.1
    }

    #[zbus(property)]
    fn client_count(&self) -> u32 {
        self.overview.clients
    }

    #[zbus(property)]
    fn memory_total(&self) -> u64 {
        self.overview.memory_total_bytes
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> u64 {
        self.overview.memory_used_bytes
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn queue_depth(&self) -> u64 {
        self.overview.queue_depth
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn dispatches_total(&self) -> u64 {
        self.overview.dispatches
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn uptime(&self) -> u64 {
        self.overview.uptime_us
    }

    #[zbus(signal)]
    pub(super) async fn client_added(
        emitter: &SignalEmitter<'_>,
        client: u64,
        object: ObjectPath<'_>,
        uid: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn client_removed(
        emitter: &SignalEmitter<'_>,
        client: u64,
        object: ObjectPath<'_>,
        reason: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn device_fault(
        emitter: &SignalEmitter<'_>,
        reason: &str,
        sessions: u32,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn limit_reached(
        emitter: &SignalEmitter<'_>,
        client: u64,
        uid: u32,
        limit: &str,
    ) -> zbus::Result<()>;
}

/// Names of limits, or why they stay.
fn exceeded(
    done: Result<Vec<Limit>, LimitsError>,
    client: SessionId,
) -> Result<Vec<&'static str>, Error> {
    match done {
        Ok(limits) => Ok(limits.into_iter().map(Limit::name).collect()),
        Err(LimitsError::NoSuchClient) => Err(words::no_such_client(client)),
        Err(LimitsError::Wider) => Err(Error::NotAuthorized(
            "one's own limits can only be made tighter".to_owned(),
        )),
        Err(LimitsError::Overbooked(sum)) => Err(Error::LimitExceeded(format!(
            "{sum} percent would be reserved in all, at most 100 can be"
        ))),
    }
}

fn stopping(_: Stopping) -> Error {
    Error::Draining("the daemon is stopping".to_owned())
}
