//! `org.vkmps.Client` and `org.vkmps.Device`.

use super::World;
use super::manager::{Manager, UUID};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use vkmps_bus::ClientEntry;
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, OwnedObjectPath, OwnedVariant, fdo, interface};

pub(super) struct ClientObject {
    world: Arc<Mutex<World>>,
    id: u64,
}

impl ClientObject {
    pub(super) fn new(world: &Arc<Mutex<World>>, id: u64) -> Self {
        let world = Arc::clone(world);
        Self { world, id }
    }

    fn entry(&self) -> fdo::Result<ClientEntry> {
        let world = self.world.lock().unwrap();
        let entry = world.clients.iter().find(|client| client.id == self.id);
        entry
            .cloned()
            .ok_or_else(|| fdo::Error::Failed("it has gone".into()))
    }
}

#[interface(name = "org.vkmps.Client")]
impl ClientObject {
    #[zbus(property)]
    async fn id(&self) -> u64 {
        self.id
    }
    #[zbus(property)]
    async fn uid(&self) -> fdo::Result<u32> {
        Ok(self.entry()?.uid)
    }
    #[zbus(property)]
    async fn pid(&self) -> fdo::Result<u32> {
        Ok(self.entry()?.pid)
    }
    #[zbus(property)]
    async fn name(&self) -> fdo::Result<String> {
        Ok(self.entry()?.name)
    }
    #[zbus(property)]
    async fn unit(&self) -> fdo::Result<String> {
        Ok(self.entry()?.unit)
    }
    #[zbus(property)]
    async fn device(&self) -> OwnedObjectPath {
        vkmps_bus::DEVICE.try_into().unwrap()
    }
    #[zbus(property)]
    async fn connected_since(&self) -> fdo::Result<u64> {
        Ok(self.entry()?.connected_since_us)
    }
    #[zbus(property)]
    async fn priority(&self) -> fdo::Result<String> {
        Ok(self.entry()?.priority)
    }
    #[zbus(property)]
    async fn demoted(&self) -> bool {
        false
    }
    #[zbus(property)]
    async fn max_priority(&self) -> String {
        "high".into()
    }
    #[zbus(property)]
    async fn active_thread_percentage(&self) -> u8 {
        30
    }
    #[zbus(property)]
    async fn weight(&self) -> u16 {
        100
    }
    #[zbus(property)]
    async fn buffers_limit(&self) -> u32 {
        65_536
    }
    #[zbus(property)]
    async fn programs_limit(&self) -> u32 {
        4096
    }
    #[zbus(property)]
    async fn streams_limit(&self) -> u32 {
        256
    }
    #[zbus(property)]
    async fn submits_limit(&self) -> u32 {
        32_768
    }
    #[zbus(property)]
    async fn memory_limit(&self) -> u64 {
        1 << 30
    }
    #[zbus(property)]
    async fn memory_used(&self) -> fdo::Result<u64> {
        Ok(self.entry()?.memory_used_bytes)
    }
    #[zbus(property)]
    async fn buffers(&self) -> u32 {
        4
    }
    #[zbus(property)]
    async fn shared_buffers(&self) -> u32 {
        2
    }
    #[zbus(property)]
    async fn attached_buffers(&self) -> u32 {
        1
    }
    #[zbus(property)]
    async fn programs(&self) -> u32 {
        1
    }
    #[zbus(property)]
    async fn queue_depth(&self) -> fdo::Result<u32> {
        Ok(self.entry()?.queue_depth)
    }
    #[zbus(property)]
    async fn dispatches(&self) -> fdo::Result<u64> {
        Ok(self.entry()?.dispatches)
    }
    #[zbus(property, name = "DeviceTimeNSec")]
    async fn device_time_ns(&self) -> fdo::Result<u64> {
        Ok(self.entry()?.device_time_ns)
    }
    #[zbus(property)]
    async fn share(&self) -> f64 {
        0.25
    }
    #[zbus(property)]
    async fn submits(&self) -> u64 {
        80
    }
    #[zbus(property, name = "WaitTimeNSec")]
    async fn wait_time_ns(&self) -> u64 {
        4000
    }
    #[zbus(property)]
    async fn slices(&self) -> u64 {
        90
    }
    #[zbus(property)]
    async fn preemptions(&self) -> u64 {
        3
    }
}

/// All objects but the device, which nobody asks it for.
pub(super) struct Tree(Arc<Mutex<World>>);

impl Tree {
    pub(super) fn new(world: &Arc<Mutex<World>>) -> Self {
        Self(Arc::clone(world))
    }
}

type Properties = HashMap<String, OwnedVariant>;

/// What an object shows.
async fn shown<I: Interface>(
    object: I,
    connection: &Connection,
    path: &OwnedObjectPath,
) -> Properties {
    let emitter = SignalEmitter::from_parts(connection.clone(), path.as_ref());
    let server = connection.object_server();
    object
        .get_all(server, connection, None, &emitter)
        .await
        .unwrap()
}

#[interface(name = "org.freedesktop.DBus.ObjectManager")]
impl Tree {
    async fn get_managed_objects(
        &self,
        #[zbus(connection)] connection: &Connection,
    ) -> HashMap<OwnedObjectPath, HashMap<String, Properties>> {
        let path: OwnedObjectPath = vkmps_bus::MANAGER.try_into().unwrap();
        let properties = shown(Manager::new(&self.0), connection, &path).await;
        let interface = "org.vkmps.Manager".to_owned();
        let mut objects = HashMap::from([(path, HashMap::from([(interface, properties)]))]);
        let clients = self.0.lock().unwrap().clients.clone();
        for client in clients {
            let object = ClientObject::new(&self.0, client.id);
            let properties = shown(object, connection, &client.object).await;
            let interface = "org.vkmps.Client".to_owned();
            objects.insert(client.object, HashMap::from([(interface, properties)]));
        }
        objects
    }
}

pub(super) struct DeviceObject;

#[interface(name = "org.vkmps.Device")]
impl DeviceObject {
    #[zbus(property)]
    async fn name(&self) -> String {
        "Test, device\x1b[2J".into()
    }
    #[zbus(property)]
    async fn driver_info(&self) -> String {
        "driver 1.2".into()
    }
    #[zbus(property, name = "UUID")]
    async fn uuid(&self) -> String {
        UUID.into()
    }
    #[zbus(property)]
    async fn software(&self) -> bool {
        true
    }
    #[zbus(property)]
    async fn queues(&self) -> u32 {
        1
    }
    #[zbus(property)]
    async fn extensions(&self) -> Vec<String> {
        vec!["VK_KHR_a".into()]
    }
    #[zbus(property)]
    async fn global_priorities(&self) -> Vec<String> {
        vec!["medium".into()]
    }
    #[zbus(property)]
    async fn engine_pid(&self) -> u32 {
        4711
    }
    #[zbus(property)]
    async fn device_memory_total(&self) -> u64 {
        0
    }
    #[zbus(property)]
    async fn device_memory_used(&self) -> u64 {
        0
    }
    #[zbus(property)]
    async fn host_memory_total(&self) -> u64 {
        8 << 30
    }
    #[zbus(property)]
    async fn host_memory_used(&self) -> u64 {
        3 << 20
    }
}
