//! `org.vkmps.Manager`.

use super::World;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use vkmps_bus::{ClientEntry, Error, SessionEntry};
use zbus::message::{Flags, Header};
use zbus::object_server::SignalEmitter;
use zbus::{ObjectServer, OwnedObjectPath, OwnedVariant, Variant, interface};

pub(super) struct Manager(Arc<Mutex<World>>);

impl Manager {
    pub(super) fn new(world: &Arc<Mutex<World>>) -> Self {
        Self(Arc::clone(world))
    }

    fn ask(&self, what: &str) {
        self.0.lock().unwrap().ask(what.to_owned());
    }

    /// A verb that polkit guards.
    fn guard(&self, header: &Header<'_>, what: &str) -> Result<(), Error> {
        let flags = header.primary().flags();
        let asks = flags.contains(Flags::ALLOW_INTERACTIVE_AUTH);
        self.ask(&format!("{}{what}", if asks { "!" } else { "" }));
        match self.0.lock().unwrap().denies {
            true => Err(Error::NotAuthorized("polkit says no".into())),
            false => Ok(()),
        }
    }

    fn find(&self, id: u64) -> Result<(), Error> {
        let world = self.0.lock().unwrap();
        match world.clients.iter().any(|client| client.id == id) {
            true => Ok(()),
            false => Err(Error::NoSuchClient(format!("there is no client {id}"))),
        }
    }

    fn state_now(&self) -> String {
        self.0.lock().unwrap().state().to_owned()
    }

    async fn close(&self, emitter: &SignalEmitter<'_>, closed: bool) -> Result<(), Error> {
        self.0.lock().unwrap().closed = closed;
        Ok(self.state_changed(emitter).await?)
    }
}

/// A client goes, as it would after `TerminateClient` or by itself.
pub(super) async fn leave(
    server: &ObjectServer,
    emitter: &SignalEmitter<'_>,
    world: &Arc<Mutex<World>>,
    id: u64,
    reason: &str,
) {
    world
        .lock()
        .unwrap()
        .clients
        .retain(|client| client.id != id);
    let path = vkmps_bus::client_path(id);
    server
        .remove::<super::ClientObject, _>(&path)
        .await
        .unwrap();
    Manager::client_removed(emitter, id, path, reason)
        .await
        .unwrap();
    let manager = Manager::new(world);
    manager.client_count_changed(emitter).await.unwrap();
    manager.state_changed(emitter).await.unwrap();
}

#[interface(name = "org.vkmps.Manager")]
impl Manager {
    async fn list_clients(&self) -> Result<Vec<ClientEntry>, Error> {
        self.ask("ListClients");
        Ok(self.0.lock().unwrap().clients.clone())
    }

    async fn get_status(&self) -> Result<(String, String, String, u32, u32, Vec<String>), Error> {
        self.ask("GetStatus");
        let (engine, pid) = match self.0.lock().unwrap().without_device {
            true => ("starting", 0),
            false => ("ready", 4711),
        };
        Ok((
            self.state_now(),
            engine.into(),
            String::new(),
            pid,
            1,
            vec!["seccomp".into()],
        ))
    }

    async fn get_statistics(&self) -> Result<HashMap<String, u64>, Error> {
        Ok(HashMap::from([
            ("submits".into(), 12),
            ("sessions".into(), 3),
        ]))
    }

    async fn set_priority(
        &self,
        #[zbus(header)] header: Header<'_>,
        client: u64,
        priority: &str,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("SetPriority {client} {priority}"))?;
        self.find(client)
    }

    async fn set_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        client: u64,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<Vec<String>, Error> {
        self.guard(&header, &format!("SetLimits {client} {}", words(&limits)))?;
        self.find(client)?;
        Ok(vec!["memory".into()])
    }

    async fn set_user_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        uid: u32,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<Vec<String>, Error> {
        self.guard(&header, &format!("SetUserLimits {uid} {}", words(&limits)))?;
        Ok(Vec::new())
    }

    async fn set_default_limits(
        &self,
        #[zbus(header)] header: Header<'_>,
        limits: HashMap<String, OwnedVariant>,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("SetDefaultLimits {}", words(&limits)))
    }

    async fn set_scheduling_mode(
        &self,
        #[zbus(header)] header: Header<'_>,
        mode: &str,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("SetSchedulingMode {mode}"))
    }

    async fn set_loop_slice_quota(
        &self,
        #[zbus(header)] header: Header<'_>,
        iterations: u64,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("SetLoopSliceQuota {iterations}"))
    }

    async fn terminate_client(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        client: u64,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("TerminateClient {client}"))?;
        self.find(client)?;
        leave(server, &emitter, &self.0, client, "terminated").await;
        Ok(())
    }

    async fn create_session(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        limits: HashMap<String, OwnedVariant>,
        ttl_usec: u64,
    ) -> Result<(u64, String), Error> {
        let what = format!("CreateSession {name} {} {ttl_usec}", words(&limits));
        self.guard(&header, &what)?;
        Ok((1, "0".repeat(64)))
    }

    async fn list_sessions(&self) -> Vec<SessionEntry> {
        self.ask("ListSessions");
        self.0.lock().unwrap().sessions.clone()
    }

    async fn release_session(
        &self,
        #[zbus(header)] header: Header<'_>,
        session: u64,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("ReleaseSession {session}"))?;
        let sessions = &mut self.0.lock().unwrap().sessions;
        let before = sessions.len();
        sessions.retain(|known| known.id != session);
        match sessions.len() < before {
            true => Ok(()),
            false => Err(Error::NoSuchSession(format!(
                "there is no session {session}"
            ))),
        }
    }

    async fn drain(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Error> {
        self.guard(&header, "Drain")?;
        self.close(&emitter, true).await
    }

    async fn resume(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), Error> {
        self.guard(&header, "Resume")?;
        self.close(&emitter, false).await
    }

    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>, Error> {
        self.guard(&header, "Reload")?;
        match self.0.lock().unwrap().bad_configuration {
            Some(text) => Err(Error::BadConfiguration(text.into())),
            None => Ok(vec!["device.queues".into()]),
        }
    }

    async fn set_log_level(
        &self,
        #[zbus(header)] header: Header<'_>,
        level: &str,
    ) -> Result<(), Error> {
        self.guard(&header, &format!("SetLogLevel {level}"))?;
        self.0.lock().unwrap().log_level = level.to_owned();
        Ok(())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> String {
        "0.1.0".into()
    }
    #[zbus(property)]
    async fn state(&self) -> String {
        self.ask("State");
        self.state_now()
    }
    #[zbus(property)]
    async fn log_level(&self) -> String {
        self.0.lock().unwrap().log_level.clone()
    }
    #[zbus(property)]
    async fn device_name(&self) -> String {
        "Test, device\x1b[2J".into()
    }
    #[zbus(property)]
    async fn driver_info(&self) -> String {
        "driver 1.2".into()
    }
    #[zbus(property, name = "DeviceUUID")]
    async fn device_uuid(&self) -> String {
        UUID.into()
    }
    #[zbus(property)]
    async fn scheduling_mode(&self) -> String {
        "exclusive-throughput".into()
    }
    #[zbus(property)]
    async fn loop_slice_quota(&self) -> u64 {
        100_000
    }
    #[zbus(property)]
    async fn default_active_thread_percentage(&self) -> u8 {
        50
    }
    #[zbus(property)]
    async fn default_memory_limit(&self) -> u64 {
        2 << 30
    }
    #[zbus(property)]
    async fn client_count(&self) -> u32 {
        u32::try_from(self.0.lock().unwrap().clients.len()).unwrap()
    }
    #[zbus(property)]
    async fn memory_total(&self) -> u64 {
        8 << 30
    }
    #[zbus(property(emits_changed_signal = "false"))]
    async fn memory_used(&self) -> u64 {
        3 << 20
    }
    #[zbus(property(emits_changed_signal = "false"))]
    async fn queue_depth(&self) -> u64 {
        2
    }
    #[zbus(property(emits_changed_signal = "false"))]
    async fn dispatches_total(&self) -> u64 {
        99
    }
    #[zbus(property(emits_changed_signal = "false"))]
    async fn uptime(&self) -> u64 {
        61_000_000
    }

    #[zbus(signal)]
    pub(super) async fn client_added(
        emitter: &SignalEmitter<'_>,
        client: u64,
        object: OwnedObjectPath,
        uid: u32,
    ) -> zbus::Result<()>;
    #[zbus(signal)]
    pub(super) async fn client_removed(
        emitter: &SignalEmitter<'_>,
        client: u64,
        object: OwnedObjectPath,
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

/// Names and values in the order of the names.
fn words(limits: &HashMap<String, OwnedVariant>) -> String {
    let mut words: Vec<String> = limits
        .iter()
        .map(|(name, value)| match &**value {
            Variant::Str(text) => format!("{name}={text}"),
            Variant::U8(number) => format!("{name}={number}"),
            Variant::U16(number) => format!("{name}={number}"),
            Variant::U32(number) => format!("{name}={number}"),
            other => format!("{name}={other:?}"),
        })
        .collect();
    words.sort_unstable();
    words.join(" ")
}

pub(super) const UUID: &str = "138fb9bd-ceed-2c35-2db4-47ddd10ee8db";
