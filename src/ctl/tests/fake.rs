//! A service that does what the contract says, in place of vkmpsd; and one in place of systemd.

mod manager;
mod objects;
mod systemd;

use crate::bus::Bus;
use objects::{ClientObject, DeviceObject, Tree};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use vkmps_bus::{ClientEntry, SessionEntry};
use zbus::Connection;
use zbus::object_server::InterfaceRef;

/// What the service does when it is not asked.
pub(crate) enum Act {
    Join(ClientEntry),
    Leave(u64, &'static str),
    Fault(&'static str, u32),
    Limit(u64, u32, &'static str),
    /// Ends the service.
    End,
}

/// What it is, and what it was asked.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) clients: Vec<ClientEntry>,
    pub(crate) sessions: Vec<SessionEntry>,
    /// No newcomers.
    pub(crate) closed: bool,
    /// polkit says no.
    pub(crate) denies: bool,
    /// What is wrong with the configuration.
    pub(crate) bad_configuration: Option<&'static str>,
    pub(crate) without_device: bool,
    pub(crate) log_level: String,
    /// Where what it is asked is told.
    pub(crate) asked: Option<Sender<String>>,
}

impl World {
    pub(crate) fn with(clients: Vec<ClientEntry>) -> Self {
        Self {
            clients,
            log_level: "info".to_owned(),
            ..Self::default()
        }
    }

    /// Methods with their arguments; `!` in front where a password could be asked for.
    fn ask(&self, what: String) {
        if let Some(asked) = &self.asked {
            // The test may have ended.
            let _ = asked.send(what);
        }
    }

    fn state(&self) -> &'static str {
        match (self.closed, self.clients.is_empty()) {
            (false, _) => "serving",
            (true, false) => "draining",
            (true, true) => "drained",
        }
    }
}

/// A client like many.
pub(crate) fn client(id: u64, name: &str) -> ClientEntry {
    ClientEntry {
        id,
        uid: 0,
        pid: std::process::id(),
        name: name.to_owned(),
        unit: "session-2.scope".to_owned(),
        priority: "medium".to_owned(),
        memory_used_bytes: 3 << 20,
        dispatches: 99,
        queue_depth: 2,
        device_time_ns: 12_345_678,
        connected_since_us: 1_795_192_201_000_000,
        object: vkmps_bus::client_path(id),
    }
}

/// The service; it ends with its test.
pub(crate) struct Fake {
    asked: Receiver<String>,
    acts: UnboundedSender<Act>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// It is on the bus when this returns. systemd is, too, if there is to be one.
    pub(crate) fn start(bus: &Bus, world: World) -> Self {
        Self::launch(bus, world, false)
    }

    pub(crate) fn start_with_systemd(bus: &Bus, world: World) -> Self {
        Self::launch(bus, world, true)
    }

    fn launch(bus: &Bus, mut world: World, systemd: bool) -> Self {
        let (ask, asked) = channel();
        world.asked = Some(ask);
        let world = Arc::new(Mutex::new(world));
        let (acts, received) = unbounded_channel();
        let (ready, is_ready) = channel();
        let address = bus.address.clone();
        let stop = acts.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let _systemd = match systemd {
                    true => Some(systemd::serve(&address, &world, stop).await),
                    false => None,
                };
                let connection = serve(&address, &world).await;
                ready.send(()).unwrap();
                act(&connection, &world, received).await;
            });
        });
        is_ready.recv().expect("the service starts");
        Self {
            asked,
            acts,
            thread: Some(thread),
        }
    }

    pub(crate) fn act(&self, act: Act) {
        self.acts
            .send(act)
            .unwrap_or_else(|_| panic!("it has ended"));
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }

    /// Waits until that is asked.
    pub(crate) fn wait_until_asked(&self, what: &str) {
        let found = self.asked.iter().any(|asked| asked == what);
        assert!(found, "it ended without being asked for {what}");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.acts.send(Act::End);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

async fn serve(address: &str, world: &Arc<Mutex<World>>) -> Connection {
    let mut builder = zbus::connection::Builder::address(address)
        .serve_at(vkmps_bus::ROOT, Tree::new(world))
        .serve_at(vkmps_bus::MANAGER, manager::Manager::new(world))
        .name(vkmps_bus::SERVICE);
    let (clients, without_device) = {
        let world = world.lock().unwrap();
        (world.clients.clone(), world.without_device)
    };
    if !without_device {
        builder = builder.serve_at(vkmps_bus::DEVICE, DeviceObject);
    }
    for client in &clients {
        let object = ClientObject::new(world, client.id);
        builder = builder.serve_at(vkmps_bus::client_path(client.id), object);
    }
    builder.build().await.unwrap()
}

/// Until it is told to end.
async fn act(connection: &Connection, world: &Arc<Mutex<World>>, mut acts: UnboundedReceiver<Act>) {
    let server = connection.object_server();
    let manager: InterfaceRef<manager::Manager> =
        server.interface(vkmps_bus::MANAGER).await.unwrap();
    let emitter = manager.signal_emitter();
    while let Some(act) = acts.recv().await {
        match act {
            Act::Join(client) => {
                let (id, uid) = (client.id, client.uid);
                world.lock().unwrap().clients.push(client);
                let path = vkmps_bus::client_path(id);
                server
                    .at(&path, ClientObject::new(world, id))
                    .await
                    .unwrap();
                manager::Manager::client_added(emitter, id, path, uid)
                    .await
                    .unwrap();
            }
            Act::Leave(id, reason) => manager::leave(server, emitter, world, id, reason).await,
            Act::Fault(reason, sessions) => {
                manager::Manager::device_fault(emitter, reason, sessions)
                    .await
                    .unwrap();
            }
            Act::Limit(client, uid, limit) => {
                manager::Manager::limit_reached(emitter, client, uid, limit)
                    .await
                    .unwrap();
            }
            Act::End => break,
        }
    }
}
