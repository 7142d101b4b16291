//! A private bus, and everybody that the D-Bus side talks to.

use super::others::Polkit;
use super::samples::{device, session_view, status, view};
use crate::bus::authority::Patience;
use crate::bus::{Bus, BusAddress, Outbox, Times, start_with};
use crate::control::{
    Change, ClientView, DeviceView, Held, LimitsError, NoSuchSession, PriorityError, Request,
    SessionView, Status,
};
use crate::happening::Happening;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use vkmps_broker::{Change as Setting, MemoryBytes, UserLimits, UserView};
use vkmps_bus::SERVICE;
use vkmps_ipc::memory::memfd_with;
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::quota::Limit;
use zbus::connection::Builder;
use zbus::export::futures_core::Stream;
use zbus::{Connection, fdo};

/// The user that the bus sees: everybody here is the same.
pub(super) fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// A `dbus-daemon` with a policy as strict as the system bus's, and ours.
pub(super) struct PrivateBus {
    folder: PathBuf,
    daemon: Option<Child>,
}

impl PrivateBus {
    pub(super) fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vkmps-bus-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("the folder is new");
        let mut bus = Self {
            folder,
            daemon: None,
        };
        let policy = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../dbus/org.vkmps.Manager.conf"
        );
        let config = CONFIG
            .replace("SOCKET", &bus.socket())
            .replace("POLICY", policy)
            .replace("UID", &uid().to_string());
        std::fs::write(bus.folder.join("bus.conf"), config).expect("the folder is writable");
        bus.restart();
        bus
    }

    /// Everybody on it is thrown off.
    pub(super) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("it is ours");
            daemon.wait().expect("it is ours");
        }
    }

    pub(super) fn restart(&mut self) {
        self.stop();
        let _ = std::fs::remove_file(self.socket());
        let mut daemon = Command::new("dbus-daemon")
            .arg("--config-file")
            .arg(self.folder.join("bus.conf"))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed");
        let output = daemon.stdout.take().expect("it is piped");
        let mut address = String::new();
        BufReader::new(output)
            .read_line(&mut address)
            .expect("it prints its address");
        assert!(!address.is_empty(), "dbus-daemon does not start");
        self.daemon = Some(daemon);
    }

    /// It hangs: it reads nothing, and closes nothing.
    pub(super) fn hang(&self) {
        let daemon = self.daemon.as_ref().expect("it runs");
        let pid = i32::try_from(daemon.id()).expect("it is a pid");
        let stopped = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        stopped.expect("it is ours");
    }

    fn socket(&self) -> String {
        self.folder.join("socket").display().to_string()
    }

    pub(super) fn address(&self) -> String {
        format!("unix:path={}", self.socket())
    }

    pub(super) async fn connect(&self) -> Connection {
        let builder = Builder::address(self.address().as_str());
        builder.build().await.expect("the bus is there")
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// As /usr/share/dbus-1/system.conf has it, but that one user may be everybody: root's part is played as well.
const CONFIG: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.systemd1"/>
  </policy>
  <policy user="UID">
    <allow own="*"/>
  </policy>
  <include>POLICY</include>
</busconfig>
"#;

/// What the main loop knows and was asked.
pub(super) struct World {
    pub(super) clients: BTreeMap<SessionId, ClientView>,
    pub(super) status: Status,
    pub(super) device: Option<DeviceView>,
    pub(super) reload: Result<Vec<String>, String>,
    pub(super) stopping: bool,
    /// What those who trace are given.
    pub(super) recorder: OwnedFd,
    /// The configuration was changed after the caller was authorised.
    pub(super) grants_less: bool,
    /// Each question in a word, and who was denied what.
    pub(super) asked: Vec<String>,
    /// Questions that wait until somebody answers.
    pub(super) hold: bool,
    pub(super) held: Vec<Request>,
    pub(super) sessions: Vec<SessionView>,
    /// What holders of sessions wait for.
    pub(super) ends: Vec<oneshot::Sender<()>>,
}

/// The main loop.
#[derive(Clone)]
pub(super) struct MainLoop {
    world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<()>>,
}

impl MainLoop {
    fn start(world: World, mut happened: mpsc::Receiver<Happening>) -> Self {
        let main_loop = Self {
            world: Arc::new(Mutex::new(world)),
            changed: Arc::new(watch::Sender::new(())),
        };
        let serving = main_loop.clone();
        tokio::spawn(async move {
            while let Some(happening) = happened.recv().await {
                let Happening::Request(request) = happening else {
                    panic!("the bus only asks");
                };
                serving.world().take(request);
                serving.changed.send_replace(());
            }
        });
        main_loop
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics with it")
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, so: impl Fn(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !so(&self.world()) {
                changed.changed().await.expect("the sender is ours");
            }
        };
        timeout(LONG, waiting).await.expect("it becomes so");
    }

    /// Answers what was held.
    pub(super) fn release(&self) {
        let mut world = self.world();
        world.hold = false;
        for request in std::mem::take(&mut world.held) {
            world.answer(request);
        }
    }
}

impl World {
    fn take(&mut self, request: Request) {
        match self.hold {
            true => self.held.push(request),
            false => self.answer(request),
        }
    }

    fn answer(&mut self, request: Request) {
        let asked = match request {
            Request::Status(reply) => {
                let _ = reply.send(self.status.clone());
                "status".to_owned()
            }
            Request::Statistics(reply) => {
                let _ = reply.send(vec![("dispatches", 7), ("clients", 2)]);
                "statistics".to_owned()
            }
            Request::Clients(reply) => {
                let _ = reply.send(self.clients.values().cloned().collect());
                "clients".to_owned()
            }
            Request::Client(id, reply) => {
                let _ = reply.send(self.clients.get(&id).cloned());
                format!("client {}", id.0)
            }
            Request::Device(reply) => {
                let _ = reply.send(self.device.clone());
                "device".to_owned()
            }
            Request::Trace(reply) => {
                let _ = reply.send(self.recorder.try_clone());
                "trace".to_owned()
            }
            Request::SetPriority {
                client,
                priority,
                granted_only,
                reply,
            } => {
                let refusal = match self.clients.contains_key(&client) {
                    false => Some(PriorityError::NoSuchClient),
                    // As if it had been lowered since.
                    true if granted_only && self.grants_less => Some(PriorityError::NotGranted),
                    true => None,
                };
                let _ = reply.send(refusal.map_or(Ok(()), Err));
                format!("set-priority {} {priority:?}", client.0)
            }
            Request::SetLimits {
                client,
                changes,
                by_owner,
                reply,
            } => {
                let refusal = match self.clients.contains_key(&client) {
                    false => Some(LimitsError::NoSuchClient),
                    // As if the limit were this low.
                    true if by_owner && changes.cap_percent == Setting::Set(99) => {
                        Some(LimitsError::Wider)
                    }
                    true => None,
                };
                let _ = reply.send(refusal.map_or(Ok(vec![Limit::Memory]), Err));
                format!(
                    "set-limits {} {by_owner} {:?}",
                    client.0, changes.cap_percent
                )
            }
            Request::SetUserLimits {
                uid,
                changes,
                reply,
            } => {
                let refusal = match changes.reserve_percent {
                    Setting::Set(90) => Some(LimitsError::Overbooked(120)),
                    _ => None,
                };
                let _ = reply.send(refusal.map_or(Ok(Vec::new()), Err));
                format!("set-user-limits {uid} {:?}", changes.reserve_percent)
            }
            Request::UserLimits(uid, reply) => {
                let limits = UserLimits {
                    memory: MemoryBytes::default(),
                    cap_percent: 50,
                    weight: 300,
                    reserve_percent: 10,
                };
                let memory_used = MemoryBytes::default();
                let view = UserView {
                    limits,
                    memory_used,
                };
                let _ = reply.send((view, (7, 8)));
                format!("user-limits {uid}")
            }
            Request::SetDefaultLimits(changes, reply) => {
                let _ = reply.send(());
                format!("set-default-limits {:?}", changes.memory)
            }
            Request::SetMode(mode, reply) => {
                let _ = reply.send(());
                format!("set-mode {}", mode.name())
            }
            Request::SetLoopSliceQuota(quota, reply) => {
                let _ = reply.send(());
                format!("set-loop-slice-quota {}", quota.number())
            }
            Request::Terminate { client, reply } => {
                let known = self.clients.remove(&client).is_some();
                let _ = reply.send(known.then_some(()).ok_or(crate::control::NoSuchClient));
                format!("terminate {}", client.0)
            }
            Request::Drain(reply) => {
                let _ = reply.send(self.unless_stopping());
                "drain".to_owned()
            }
            Request::Resume(reply) => {
                let _ = reply.send(self.unless_stopping());
                "resume".to_owned()
            }
            Request::Reload(reply) => {
                let _ = reply.send(self.reload.clone());
                "reload".to_owned()
            }
            Request::SetLogLevel(level, reply) => {
                let _ = reply.send(());
                format!("log-level {level}")
            }
            Request::CreateSession(new, reply) => {
                let id = GroupId(self.sessions.len() as u64 + 1);
                let (ends, over) = oneshot::channel();
                self.ends.push(ends);
                let asked = format!("create-session {} {:?}", new.peer.uid, new.group);
                self.sessions.push(session_view(id, new));
                let _ = reply.send(Ok(Held { id, over }));
                asked
            }
            Request::Sessions(reply) => {
                let _ = reply.send(self.sessions.clone());
                "sessions".to_owned()
            }
            Request::ReleaseSession(id, reply) => {
                let before = self.sessions.len();
                self.sessions.retain(|session| session.id != id);
                let found = before > self.sessions.len();
                if let Some(reply) = reply {
                    let _ = reply.send(found.then_some(()).ok_or(NoSuchSession));
                }
                format!("release-session {}", id.0)
            }
            Request::Denied { uid, action, .. } => format!("denied {uid:?} {action}"),
        };
        self.asked.push(asked);
    }

    fn unless_stopping(&self) -> Result<(), crate::control::Stopping> {
        match self.stopping {
            true => Err(crate::control::Stopping),
            false => Ok(()),
        }
    }
}

/// Everybody together.
pub(super) struct Rig {
    pub(super) polkit: Polkit,
    pub(super) main_loop: MainLoop,
    pub(super) outbox: Outbox,
    pub(super) daemon: Bus,
    /// Somebody who calls.
    pub(super) caller: Connection,
    pub(super) bus: PrivateBus,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let bus = PrivateBus::start();
        let polkit = Polkit::start(&bus).await;
        let (main_loop, outbox, daemon) = daemon(&bus, times()).await;
        let caller = bus.connect().await;
        Self {
            polkit,
            main_loop,
            outbox,
            daemon,
            caller,
            bus,
        }
    }

    /// A client comes.
    pub(super) fn add(&self, view: ClientView) {
        self.main_loop.world().clients.insert(view.id, view.clone());
        self.outbox.push(Change::ClientAdded(view));
    }
}

/// The D-Bus side with a main loop that knows two clients, one of them the caller's.
pub(super) async fn daemon(bus: &PrivateBus, times: Times) -> (MainLoop, Outbox, Bus) {
    let (happenings, happened) = mpsc::channel(16);
    let world = World {
        clients: BTreeMap::new(),
        status: status(),
        device: Some(device()),
        reload: Ok(vec!["device.queues".to_owned()]),
        stopping: false,
        recorder: memfd_with("recorder", RECORDER).expect("memory"),
        grants_less: false,
        asked: vec![],
        hold: false,
        held: vec![],
        sessions: vec![],
        ends: vec![],
    };
    let main_loop = MainLoop::start(world, happened);
    let outbox = Outbox::new();
    outbox.push(Change::Status(status()));
    outbox.push(Change::Device(Some(device())));
    for view in [view(1, uid()), view(2, uid() + 1)] {
        main_loop.world().clients.insert(view.id, view.clone());
        outbox.push(Change::ClientAdded(view));
    }
    let address = BusAddress::At(bus.address());
    let daemon = start_with(address, happenings, outbox.clone(), times).await;
    (main_loop, outbox, daemon)
}

/// Short where a test waits for the end of it.
pub(super) fn times() -> Times {
    Times {
        pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(20),
        polkit: Patience {
            brief: LONG,
            interactive: LONG,
        },
        ..Times::default()
    }
}

/// The next thing in a stream.
pub(super) async fn next<S: Stream + Unpin>(stream: &mut S) -> S::Item {
    let next = poll_fn(|context| Pin::new(&mut *stream).poll_next(context));
    let item = timeout(LONG, next).await.expect("something comes");
    item.expect("the bus is there")
}

/// Waits until the daemon has its name.
pub(super) async fn named(connection: &Connection) {
    let bus = fdo::DBusProxy::new(connection)
        .await
        .expect("the bus is there");
    let mut changes = bus
        .receive_name_owner_changed()
        .await
        .expect("the bus is there");
    let name = zbus::names::BusName::try_from(SERVICE).expect("it is a name");
    while !bus
        .name_has_owner(name.clone())
        .await
        .expect("the bus is there")
    {
        next(&mut changes).await;
    }
}

/// What is in the recorder.
pub(super) const RECORDER: &[u8] = b"recorded";
/// Nothing takes so long, on any machine: a test that waits for it has failed.
pub(super) const LONG: Duration = Duration::from_secs(60);
