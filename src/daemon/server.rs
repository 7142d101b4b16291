//! The main loop: what happens goes into the broker, what it says is done. One task, one owner of all state.

use crate::announcement::{Known, Told};
use crate::bus::{Bus, Outbox};
use crate::causes;
use crate::client_link::{ClientLink, Stalled};
use crate::config::{self, Config, Options};
use crate::doors::Doors;
use crate::happening::{Happening, Happenings};
use crate::journal::{self, LogControl};
use crate::module;
use crate::process::Delivery;
use crate::resources::Resources;
use crate::statistics::Statistics;
use crate::supervisor::Supervisor;
use crate::watchdog::{self, Watchdog};
use sd_notify::NotifyState;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use vkmps_broker::{Action, Broker, ConnectionId, Input, Peer, Source};
use vkmps_ipc::socket::Seqpacket;
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::DaemonMessage;

/// Everything the main loop owns. What administrators see of it is in `administration` and `announcement`.
pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) supervisor: Supervisor,
    resources: Resources,
    links: HashMap<ConnectionId, ClientLink>,
    next_conn: u64,
    happenings: Happenings,
    /// What the broker has not heard of yet.
    pub(crate) inbox: VecDeque<Input>,
    /// What is not done yet. Actions keep their order: while the engine does not read, all that follow wait, so that no
    /// client hears of a thing before the engine does.
    outbox: VecDeque<Action>,
    blocked_since: Option<Instant>,
    drain_deadline: Option<Instant>,
    pub(crate) started: Instant,
    end: Option<Result<(), SpawnerGone>>,

    /// Whether systemd was told that the daemon serves.
    is_ready: bool,
    doors: Doors,
    watchdog: Option<Watchdog>,
    /// Whether systemd starts another daemon when somebody comes: only then this one may leave for idleness.
    activated: bool,
    /// When the last connection went, or somebody asked something last.
    idle_since: Option<Instant>,

    options: Options,
    /// Whether an administrator changed how the device's time is shared since the configuration was read.
    pub(crate) policy_set: bool,
    pub(crate) config: Config,
    /// What was in force at the start: some keys stay so until a restart.
    initial: Config,
    pub(crate) log: LogControl,
    /// What the bus is told.
    pub(crate) administrators: Outbox,
    pub(crate) statistics: Statistics,
    /// Sessions that are open.
    pub(crate) clients: BTreeMap<SessionId, Known>,
    pub(crate) told: Option<Told>,
    /// Groups that somebody on the bus holds, each with what says there that it is over by being dropped.
    pub(crate) held_groups: BTreeMap<GroupId, oneshot::Sender<()>>,
    /// What the engine said when it lost its device; its end is reported next.
    pub(crate) lost_device: Option<String>,
    /// Checks of this process's sandbox that failed and are only warned of.
    pub(crate) warnings: Vec<String>,
}

/// The spawner died: no engine can be started any more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the spawner is gone")]
pub(crate) struct SpawnerGone;

/// What start-up makes for the main loop.
pub(crate) struct Equipment {
    pub(crate) supervisor: Supervisor,
    pub(crate) happenings: Happenings,
    pub(crate) doors: Doors,
    pub(crate) activated: bool,
    pub(crate) options: Options,
    pub(crate) config: Config,
    pub(crate) log: LogControl,
    pub(crate) administrators: Outbox,
    pub(crate) warnings: Vec<String>,
}

impl Server {
    pub(crate) fn new(equipment: Equipment) -> Self {
        let Equipment {
            supervisor,
            happenings,
            doors,
            activated,
            options,
            config,
            log,
            administrators,
            warnings,
        } = equipment;
        let broker = config.broker();
        let now = Instant::now();
        Self {
            resources: Resources::new(broker.arena_bytes),
            broker: Broker::new(broker),
            supervisor,
            links: HashMap::new(),
            next_conn: 1,
            happenings,
            inbox: VecDeque::new(),
            outbox: VecDeque::new(),
            blocked_since: None,
            drain_deadline: None,
            started: now,
            end: None,
            is_ready: false,
            doors,
            watchdog: Watchdog::from_environment(now),
            activated,
            idle_since: Some(now),
            options,
            policy_set: false,
            initial: config.clone(),
            config,
            log,
            administrators,
            statistics: Statistics::default(),
            clients: BTreeMap::new(),
            told: None,
            held_groups: BTreeMap::new(),
            lost_device: None,
            warnings,
        }
    }

    /// Serves until the daemon is asked to stop and has drained, or nobody needs it. READY is said when the D-Bus side
    /// has started, or given up for the time being.
    pub(crate) async fn run(
        mut self,
        mut happened: mpsc::Receiver<Happening>,
        bus: impl Future<Output = Option<Bus>>,
    ) -> Result<(), SpawnerGone> {
        let mut starting = std::pin::pin!(bus);
        let mut bus = None;
        loop {
            let news = self.supervisor.settle();
            self.feed(news);
            self.announce_status();
            if let Some(end) = self.end {
                watchdog::notify(&[NotifyState::Stopping]);
                if let Some(bus) = bus {
                    self.leave_bus(bus, &mut happened).await;
                }
                return end;
            }
            self.mark_idleness();
            let deadline = self.next_deadline();
            let blocked = self
                .supervisor
                .engine_socket()
                .filter(|_| !self.outbox.is_empty());
            tokio::select! {
                Some(happening) = happened.recv() => self.take(happening),
                started = &mut starting, if !self.is_ready => {
                    (bus, self.is_ready) = (started, true);
                    watchdog::notify(&[NotifyState::Ready]);
                    journal::started();
                }
                () = sleep_until(deadline) => {
                    self.time_passed();
                    if self.may_leave() {
                        self.leave(&mut happened).await;
                    }
                }
                Some(Ok(mut guard)) = async { Some(blocked.as_ref()?.writable().await) } => {
                    guard.clear_ready();
                }
            }
        }
    }

    /// Goes off the bus; what was asked before is still answered.
    async fn leave_bus(&mut self, bus: Bus, happened: &mut mpsc::Receiver<Happening>) {
        let mut leaving = std::pin::pin!(bus.leave());
        loop {
            tokio::select! {
                () = &mut leaving => return,
                Some(happening) = happened.recv() => {
                    if let Happening::Request(request) = happening {
                        self.request(request);
                    }
                }
            }
        }
    }

    /// Leaves if nobody comes through the doors while they close.
    async fn leave(&mut self, happened: &mut mpsc::Receiver<Happening>) {
        let mut late = Vec::new();
        let sockets = {
            let mut closing = std::pin::pin!(self.doors.close());
            loop {
                tokio::select! {
                    biased;
                    Some(happening) = happened.recv() => late.push(happening),
                    sockets = &mut closing => break sockets,
                }
            }
        };
        while let Ok(happening) = happened.try_recv() {
            late.push(happening);
        }
        if late.is_empty() {
            tracing::info!("idle, leaving until somebody comes");
            self.terminate();
        } else {
            self.idle_since = None;
            self.doors.admit(sockets);
            late.into_iter().for_each(|happening| self.take(happening));
        }
    }

    /// Whether there was nobody and nothing for the configured time.
    fn may_leave(&self) -> bool {
        self.idle_deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    fn idle_deadline(&self) -> Option<Instant> {
        let after = self
            .config
            .service
            .idle_exit
            .duration()
            .filter(|_| self.activated)?;
        Some(self.idle_since? + after)
    }

    fn mark_idleness(&mut self) {
        // Who comes later would not know what administrators decided.
        let settings = self.policy_set || self.broker.has_settings();
        if self.broker.connections() > 0 || self.is_stopping() || settings {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the daemon leaves.
    pub(crate) fn is_stopping(&self) -> bool {
        self.drain_deadline.is_some()
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Accepted {
                socket,
                peer,
                groups,
            } => self.accepted(socket, peer, groups),
            Happening::Client { conn, packet } => {
                let Some(link) = self.links.get_mut(&conn) else {
                    return;
                };
                self.inbox.push_back(match packet {
                    Ok((message, descriptors)) => {
                        link.descriptor = descriptors.into_iter().next();
                        Input::Message { conn, message }
                    }
                    Err(error) => Input::BadMessage { conn, error },
                });
            }
            Happening::ClientGone { conn } => {
                self.inbox.push_back(Input::ConnectionClosed { conn })
            }
            Happening::Module { conn, copied } => {
                let Some(link) = self.links.get_mut(&conn) else {
                    return;
                };
                self.inbox.push_back(match copied {
                    Ok((hash, copy)) => {
                        link.module = Some(copy);
                        Input::ModuleCopied { conn, hash }
                    }
                    Err(text) => Input::ModuleUnreadable { conn, text },
                });
            }
            Happening::Process {
                id,
                packet,
                descriptors,
            } => {
                let heard = self
                    .supervisor
                    .packet(id, &packet, descriptors, &mut self.resources);
                self.inbox.extend(heard);
            }
            Happening::ProcessClosed { id } => self.supervisor.closed(id),
            Happening::Spawner(report) => self.supervisor.report(report),
            Happening::SpawnerGone => self.end = Some(Err(SpawnerGone)),
            Happening::Request(request) => {
                // Who asks something wants the daemon to be there.
                self.idle_since = None;
                self.request(request);
            }
            Happening::Reload => {
                // What became of it is in the log; nobody waits for an answer.
                let _ = self.reload();
            }
            Happening::Terminate => self.terminate(),
        }
    }

    /// Lets the broker work on all that is new, and does what it says.
    pub(crate) fn feed(&mut self, news: Vec<Input>) {
        for input in news {
            // What was on its way to a dead engine goes nowhere; what waited behind it is done first.
            if matches!(input, Input::EngineGone { .. }) {
                self.outbox
                    .retain(|action| !matches!(action, Action::ToEngine(_)));
            }
            self.inbox.push_back(input);
        }
        loop {
            self.perform_all();
            let Some(input) = self.inbox.pop_front() else {
                return;
            };
            self.outbox
                .extend(self.broker.handle(input, self.started.elapsed()));
        }
    }

    fn perform_all(&mut self) {
        while let Some(action) = self.outbox.pop_front() {
            if let Action::ToEngine(message) = &action {
                if self.supervisor.to_engine(message, &self.resources) == Delivery::Full {
                    self.outbox.push_front(action);
                    self.blocked_since.get_or_insert_with(Instant::now);
                    if self.outbox.len() > MAX_OUTBOX {
                        self.supervisor
                            .kill_engine("it does not read what it is sent");
                    }
                    return;
                }
                // It reads, however slowly.
                self.blocked_since = None;
            }
            self.perform(action);
        }
        self.blocked_since = None;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send { conn, message } => self.send(conn, message),
            Action::SendShare {
                conn,
                message,
                chunk,
                grant,
            } => {
                let file = self.resources.share(chunk, grant);
                self.send_share(conn, message, file.as_ref());
            }
            Action::DropShare { chunk } => self.resources.drop_share(chunk),
            Action::Close { conn } => drop(self.links.remove(&conn)),
            Action::Create { session, resource } => {
                self.inbox
                    .push_back(match self.resources.create(session, resource) {
                        Ok(()) => Input::Created { session, resource },
                        Err(error) => Input::NotCreated {
                            session,
                            resource,
                            text: error.to_string(),
                        },
                    });
            }
            Action::End { session, code } => self.resources.end(session, code),
            Action::Lane {
                session,
                priority,
                demoted,
            } => self.resources.set_lane(session, priority, demoted),
            Action::Release { session } => self.resources.release(session),
            Action::CopyModule { conn, source } => self.copy_module(conn, source),
            Action::KeepModule { conn, hash } => {
                if let Some(module) = self
                    .links
                    .get_mut(&conn)
                    .and_then(|link| link.module.take())
                {
                    self.resources.keep_module(hash, module);
                }
            }
            Action::Compile { hash, source } => {
                let failed = self.supervisor.compile(hash, source, &self.resources);
                self.inbox.extend(failed);
            }
            Action::DropProgram { hash } => self.resources.drop_program(hash),
            // `perform_all` has sent it.
            Action::ToEngine(_) => {}
            Action::Log(event) => self.announce(&event),
            Action::Exit => self.end = Some(Ok(())),
        }
    }

    fn accepted(&mut self, socket: Seqpacket, peer: Peer, groups: Vec<u32>) {
        let conn = ConnectionId(self.next_conn);
        self.next_conn += 1;
        match ClientLink::new(conn, socket, self.happenings.clone()) {
            Ok(link) => {
                self.links.insert(conn, link);
                self.inbox
                    .push_back(Input::ConnectionOpened { conn, peer, groups });
            }
            Err(error) => {
                tracing::warn!(%error, pid = peer.pid, "cannot watch a client, closing it")
            }
        }
    }

    fn send(&mut self, conn: ConnectionId, message: DaemonMessage) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        if let DaemonMessage::Welcome { session, .. } = message {
            link.session = Some(session);
        }
        let sent = match self.resources.for_client(link.session, &message) {
            Some(descriptors) => link.send(message, &descriptors),
            None => Err(Stalled),
        };
        if let Err(Stalled) = sent {
            self.inbox.push_back(Input::ConnectionStalled { conn });
        }
    }

    /// Without a descriptor the client cannot use what it was given, and the session is of no use.
    fn send_share(&mut self, conn: ConnectionId, message: DaemonMessage, file: Option<&OwnedFd>) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let sent = match file {
            Some(file) => link.send(message, &[file.as_fd()]),
            None => Err(Stalled),
        };
        if let Err(Stalled) = sent {
            self.inbox.push_back(Input::ConnectionStalled { conn });
        }
    }

    fn copy_module(&mut self, conn: ConnectionId, source: Source) {
        let Some(link) = self.links.get_mut(&conn) else {
            return;
        };
        let Some(descriptor) = link.descriptor.take() else {
            let text = "the module's descriptor is missing".to_owned();
            return self.inbox.push_back(Input::ModuleUnreadable { conn, text });
        };
        let happenings = self.happenings.clone();
        let copying = tokio::spawn(async move {
            let copied = module::copy(descriptor, source).await;
            let _ = happenings.send(Happening::Module { conn, copied }).await;
        });
        link.copying = Some(copying.abort_handle());
    }

    /// The first time politely; who asks again does not want to wait.
    fn terminate(&mut self) {
        match self.drain_deadline {
            None => {
                self.supervisor.stop();
                self.drain_deadline =
                    Some(Instant::now() + self.config.service.drain_timeout.duration());
                self.inbox.push_back(Input::Stop);
            }
            Some(_) => self.inbox.push_back(Input::StopDeadline),
        }
    }

    /// Reads the configuration again and applies it; keys that need a restart, or what is wrong.
    pub(crate) fn reload(&mut self) -> Result<Vec<String>, String> {
        let serves = self.is_ready && !self.is_stopping();
        if serves {
            watchdog::reloading();
        }
        let loaded = config::load(&self.options);
        let loaded = loaded.map_err(|error| causes::line(&error));
        let loaded = loaded.and_then(|config| match self.broker.reserved_percent(&config.broker().limits, None) {
            0..=100 => Ok(config),
            sum => Err(format!(
                "rule.reserved-percentage: {sum} percent reserved in all with what \"vkmpsctl set-limits --user\" has set, \
                 expected at most 100"
            )),
        });
        let result = loaded.map(|config| {
            let restart = self.initial.changes_needing_restart(&config);
            self.supervisor
                .set_engine_timeout(config.service.engine_timeout.duration());
            self.log.configure(&config);
            self.inbox.push_back(Input::Configure(config.broker()));
            self.config = config;
            self.policy_set = false;
            restart
        });
        match &result {
            Ok(restart) => journal::configuration_reloaded(restart),
            Err(reason) => journal::configuration_refused(reason),
        }
        if serves {
            watchdog::notify(&[NotifyState::Ready]);
        }
        Ok(result?.into_iter().map(str::to_owned).collect())
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(self.supervisor.is_alive(), now);
        }
        if self
            .broker
            .next_deadline()
            .is_some_and(|deadline| self.started + deadline <= now)
        {
            self.inbox.push_back(Input::Tick);
        }
        if self.drain_deadline.is_some_and(|deadline| deadline <= now) {
            self.inbox.push_back(Input::StopDeadline);
        }
        if self
            .blocked_since
            .is_some_and(|since| since + BLOCKED_TIME <= now)
        {
            self.blocked_since = Some(now);
            self.supervisor
                .kill_engine("it does not read what it is sent");
        }
    }

    fn next_deadline(&self) -> Instant {
        let broker = self
            .broker
            .next_deadline()
            .map(|deadline| self.started + deadline);
        let blocked = self.blocked_since.map(|since| since + BLOCKED_TIME);
        let all = [
            broker,
            blocked,
            self.drain_deadline,
            self.supervisor.next_deadline(),
            self.idle_deadline(),
            self.watchdog.as_ref().map(Watchdog::deadline),
        ];
        all.into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + FAR)
    }
}

/// An engine that reads nothing for so long hangs.
const BLOCKED_TIME: Duration = Duration::from_secs(10);
/// Actions that may wait for an engine to read: every client has one request, so more is a fault.
const MAX_OUTBOX: usize = 65_536;
/// With nothing to wait for, the timer is only there.
const FAR: Duration = Duration::from_secs(24 * 3600);
