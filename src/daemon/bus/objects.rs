//! `org.freedesktop.DBus.ObjectManager`: all objects in one answer. Not zbus's: that reads every property of every client
//! on its own and holds a lock over it that adding an object needs.

use super::client::Client;
use super::device::Device;
use super::manager::Manager;
use super::outbox::Outbox;
use super::port::Port;
use super::served::Current;
use crate::control::Request;
use std::borrow::Cow;
use std::collections::HashMap;
use vkmps_bus::{DEVICE, Error, MANAGER, client_path};
use zbus::names::{InterfaceName, OwnedInterfaceName};
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, interface};

/// The tree's object.
#[derive(Clone)]
pub(super) struct Objects {
    port: Port,
    outbox: Outbox,
    manager: Manager,
}

/// Interfaces of an object with their properties.
pub(super) type Interfaces = HashMap<OwnedInterfaceName, HashMap<String, OwnedVariant>>;

impl Objects {
    pub(super) fn new(port: Port, outbox: Outbox, manager: Manager) -> Self {
        Self {
            port,
            outbox,
            manager,
        }
    }
}

impl Current for Objects {
    const IN_TREE: bool = true;

    async fn now(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }
}

/// What an object with this interface shows.
pub(super) async fn picture<I: Interface>(
    interface: &I,
    path: &ObjectPath<'_>,
    connection: &Connection,
) -> Result<Interfaces, Error> {
    let emitter = SignalEmitter::from_parts(connection.clone(), path.clone());
    let server = connection.object_server();
    let properties = interface.get_all(server, connection, None, &emitter).await;
    let properties = properties.map_err(|error| Error::Internal(error.to_string()))?;
    Ok(HashMap::from([(I::name().into(), properties)]))
}

#[interface(
    name = "org.freedesktop.DBus.ObjectManager",
    introspection_docs = false
)]
impl Objects {
    #[zbus(out_args("objpath_interfaces_and_properties"))]
    async fn get_managed_objects(
        &self,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<HashMap<OwnedObjectPath, Interfaces>, Error> {
        let path = ObjectPath::from_static_str_unchecked(MANAGER);
        let manager = self.manager.now().await?;
        let shown = picture(&manager, &path, connection).await?;
        let mut objects = HashMap::from([(path.into(), shown)]);
        if let Some(view) = self.port.ask(Request::Device).await? {
            let path = ObjectPath::from_static_str_unchecked(DEVICE);
            let device = Device::new(self.port.clone(), view);
            let shown = picture(&device, &path, connection).await?;
            objects.insert(path.into(), shown);
        }
        for view in self.port.ask(Request::Clients).await? {
            let path = client_path(view.id.0);
            let client = Client::new(self.port.clone(), self.outbox.clone(), view);
            let shown = picture(&client, &path, connection).await?;
            objects.insert(path, shown);
        }
        Ok(objects)
    }

    #[zbus(signal)]
    pub(super) async fn interfaces_added(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces_and_properties: Interfaces,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn interfaces_removed(
        emitter: &SignalEmitter<'_>,
        object_path: ObjectPath<'_>,
        interfaces: Cow<'_, [InterfaceName<'_>]>,
    ) -> zbus::Result<()>;
}
