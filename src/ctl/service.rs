//! vkmpsd, as it is reached over a bus.

use crate::agent::Agent;
use crate::error::Error;
use serde::Serialize;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use vkmps_bus::ManagerProxy;
use zbus::fdo::{self, DBusProxy, ObjectManagerProxy, PeerProxy, PropertiesProxy};
use zbus::names::BusName;
use zbus::proxy::{CacheProperties, MethodFlags};
use zbus::wire::DynamicDeserialize;
use zbus::{Connection, DynamicType, OwnedVariant, connection};

/// Which bus, and whether polkit may ask somebody.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bus {
    /// D-Bus address of the bus that vkmpsd is on [default: the system bus]
    #[arg(long, value_name = "ADDRESS", global = true)]
    pub(crate) address: Option<String>,
    /// Fail instead of asking for a password
    #[arg(long, global = true)]
    pub(crate) no_ask_password: bool,
}

/// vkmpsd behind its bus.
#[derive(Debug)]
pub(crate) struct Service {
    bus: Connection,
    manager: ManagerProxy<'static>,
    flags: MethodFlags,
    /// Started when the first guarded call is made.
    agent: OnceCell<Option<Agent>>,
    wants_agent: bool,
}

impl Service {
    /// Connects to the bus; vkmpsd itself is only asked, and started if need be, by what follows.
    pub(crate) async fn connect(options: &Bus) -> Result<Self, Error> {
        let builder = match &options.address {
            Some(address) => connection::Builder::address(address.as_str()),
            None => connection::Builder::system(),
        };
        let connecting = builder.method_timeout(ANSWER).build();
        let bus = connecting.await.map_err(Error::NoBus)?;
        let manager = ManagerProxy::builder(&bus)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let flags = match options.no_ask_password {
            true => MethodFlags::empty(),
            false => MethodFlags::ALLOW_INTERACTIVE_AUTH,
        };
        Ok(Self {
            bus,
            manager,
            flags,
            agent: OnceCell::new(),
            // On another bus there is no polkit that we could help.
            wants_agent: options.address.is_none() && !options.no_ask_password,
        })
    }

    pub(crate) fn bus(&self) -> &Connection {
        &self.bus
    }

    pub(crate) fn manager(&self) -> &ManagerProxy<'static> {
        &self.manager
    }

    /// Flags of calls about which polkit may have to ask somebody, who is there from now on.
    pub(crate) fn guarded_flags(&self) -> MethodFlags {
        if self.wants_agent {
            self.agent.get_or_init(Agent::start);
        }
        self.flags
    }

    /// Calls a method of the manager that polkit guards.
    pub(crate) async fn guarded<R>(
        &self,
        method: &'static str,
        arguments: &(impl Serialize + DynamicType),
    ) -> Result<R, Error>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        let flags = self.guarded_flags();
        let calling = self
            .manager
            .inner()
            .call_with_flags(method, flags, arguments);
        let reply = calling.await.map_err(vkmps_bus::Error::from)?;
        Ok(reply.expect("a reply is expected of a call without NO_REPLY_EXPECTED"))
    }

    /// Whether vkmpsd runs, without starting it.
    pub(crate) async fn presence(&self) -> Result<Presence, Error> {
        let bus = DBusProxy::new(&self.bus).await?;
        let name: BusName = vkmps_bus::SERVICE.try_into().expect("it is a name");
        if bus.name_has_owner(name).await? {
            return Ok(Presence::Running);
        }
        let startable = bus.list_activatable_names().await?;
        match startable.iter().any(|name| *name == vkmps_bus::SERVICE) {
            true => Ok(Presence::Startable),
            false => Ok(Presence::Absent),
        }
    }

    /// Has it started, if it does not run.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let peer = PeerProxy::builder(&self.bus)
            .destination(vkmps_bus::SERVICE)
            .path(vkmps_bus::MANAGER)
            .build()
            .await?;
        Ok(peer.ping().await?)
    }

    /// All properties of the manager.
    pub(crate) async fn properties(&self) -> Result<Properties, Error> {
        Ok(self.properties_of(vkmps_bus::MANAGER, MANAGER).await?)
    }

    /// All properties of the manager and of every client, as of one moment; clients in the order they came.
    pub(crate) async fn tree(&self) -> Result<(Properties, Vec<Properties>), Error> {
        let proxy = ObjectManagerProxy::builder(&self.bus)
            .destination(vkmps_bus::SERVICE)
            .path(vkmps_bus::ROOT)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let objects = proxy.get_managed_objects().await?;
        let mut manager = HashMap::new();
        let mut clients = BTreeMap::new();
        for (path, mut interfaces) in objects {
            if let Some(values) = interfaces.remove(MANAGER) {
                manager = values;
            } else if let Some(values) = interfaces.remove(CLIENT) {
                let id = path.rsplit('/').next().and_then(|id| id.parse().ok());
                clients.insert(id.unwrap_or(u64::MAX), values);
            }
        }
        let of = |interface, values| Properties { interface, values };
        let clients = clients.into_values().map(|values| of(CLIENT, values));
        Ok((of(MANAGER, manager), clients.collect()))
    }

    /// All properties of the device; none while there is none.
    pub(crate) async fn device(&self) -> Result<Option<Properties>, Error> {
        present(self.properties_of(vkmps_bus::DEVICE, DEVICE).await)
    }

    /// All properties of a client.
    pub(crate) async fn client(&self, id: u64) -> Result<Properties, Error> {
        let path = vkmps_bus::client_path(id);
        let properties = present(self.properties_of(path.as_str(), CLIENT).await)?;
        properties.ok_or(Error::NoSuchClient(id))
    }

    async fn properties_of(
        &self,
        path: &str,
        interface: &'static str,
    ) -> Result<Properties, fdo::Error> {
        let proxy = PropertiesProxy::builder(&self.bus)
            .destination(vkmps_bus::SERVICE)
            .path(path)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        let name = interface.try_into().expect("it is an interface's name");
        let values = proxy.get_all(name).await?;
        Ok(Properties { interface, values })
    }
}

/// Whether there is somebody to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Running,
    /// The bus would start it.
    Startable,
    Absent,
}

/// What became of an object that may not be there.
fn present(found: Result<Properties, fdo::Error>) -> Result<Option<Properties>, Error> {
    match found {
        Ok(properties) => Ok(Some(properties)),
        // The second where the path is only a step to others.
        Err(fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The properties that an object has on one interface.
#[derive(Debug)]
pub(crate) struct Properties {
    interface: &'static str,
    values: HashMap<String, OwnedVariant>,
}

impl Properties {
    /// One of them.
    pub(crate) fn take<T: TryFrom<OwnedVariant>>(
        &mut self,
        property: &'static str,
    ) -> Result<T, Error> {
        let value = self.values.remove(property);
        let value = value.and_then(|value| T::try_from(value).ok());
        value.ok_or(Error::Foreign {
            interface: self.interface,
            property,
        })
    }
}

/// How long an answer may take: as long as somebody may need to find a password.
const ANSWER: Duration = Duration::from_secs(120);

const MANAGER: &str = "org.vkmps.Manager";
const CLIENT: &str = "org.vkmps.Client";
const DEVICE: &str = "org.vkmps.Device";
