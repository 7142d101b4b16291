//! Tells the bus what changed: objects come and go, signals, changed properties.

use super::client::Client;
use super::device::Device;
use super::limits;
use super::manager::Manager;
use super::objects::{Objects, picture};
use super::outbox::{News, Outbox};
use super::overview::Overview;
use super::port::Port;
use super::served::{Calls, Served};
use super::words;
use crate::control::{ClientView, DeviceView, Status};
use std::borrow::Cow;
use std::collections::BTreeMap;
use vkmps_bus::{DEVICE, MANAGER, ROOT, client_path};
use vkmps_protocol::handle::SessionId;
use zbus::names::InterfaceName;
use zbus::object_server::{Interface, SignalEmitter};
use zbus::{Connection, ObjectPath, Variant};

/// The only one who adds and removes objects, and who sends signals.
pub(super) struct Publisher {
    connection: Connection,
    outbox: Outbox,
    port: Port,
    calls: Calls,
    tree: SignalEmitter<'static>,
    manager: SignalEmitter<'static>,
    status: Option<Status>,
    device: Option<DeviceView>,
    /// What the bus was told of the manager.
    told: Overview,
}

impl Publisher {
    pub(super) fn new(connection: &Connection, outbox: Outbox, port: Port, calls: Calls) -> Self {
        let emitter = |path| {
            let path = ObjectPath::from_static_str_unchecked(path);
            SignalEmitter::from_parts(connection.clone(), path)
        };
        Self {
            connection: connection.clone(),
            outbox,
            port,
            calls,
            tree: emitter(ROOT),
            manager: emitter(MANAGER),
            status: None,
            device: None,
            told: Overview::default(),
        }
    }

    /// Serves what is there before the name is ours; nobody listens yet.
    pub(super) async fn begin(&mut self) -> zbus::Result<()> {
        while let Some(news) = self.outbox.next() {
            match news {
                News::Added(view) => self.serve_client(&view).await?,
                other => self.publish(other).await?,
            }
        }
        self.told = self.overview();
        Ok(())
    }

    /// Publishes until the bus fails.
    pub(super) async fn run(&mut self) -> zbus::Result<()> {
        loop {
            while let Some(news) = self.outbox.next() {
                self.publish(news).await?;
            }
            self.tell_overview().await?;
            self.outbox.changed().await;
        }
    }

    async fn publish(&mut self, news: News) -> zbus::Result<()> {
        match news {
            News::Status(status) => {
                self.status = Some(status);
                self.tell_overview().await
            }
            News::Device(device) => self.replace_device(device).await,
            News::Added(view) => {
                self.serve_client(&view).await?;
                self.announce_client(&view).await
            }
            News::Changed {
                client,
                priority,
                unit,
                limits,
            } => {
                let priority = priority.map(|priority| words::priority(priority).name());
                let changed = [
                    ("Priority", priority.map(Variant::from)),
                    ("Unit", unit.map(Variant::from)),
                ];
                let changed = changed
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)));
                let changed = changed.chain(limits.iter().flat_map(|view| {
                    let most = words::priority(view.limits.max_priority).name();
                    let others = [
                        ("Demoted", Variant::from(view.demoted)),
                        ("MaxPriority", Variant::from(most)),
                    ];
                    let limits = limits::properties(&view.limits, view.memory_limit_bytes);
                    limits.into_iter().chain(others)
                }));
                let changed = changed.collect();
                let path = client_path(client.0);
                self.properties_changed::<Client>(&path, changed).await
            }
            News::Removed { client, reason } => self.remove_client(client, &reason).await,
            News::Fault { reason, sessions } => {
                Manager::device_fault(&self.manager, &words::plain(&reason), sessions).await
            }
            News::Limit(limit) => {
                let client = limit.client.map_or(0, |client| client.0);
                Manager::limit_reached(&self.manager, client, limit.uid, limit.limit).await
            }
        }
    }

    fn client(&self, view: &ClientView) -> Client {
        Client::new(self.port.clone(), self.outbox.clone(), view.clone())
    }

    async fn serve_client(&self, view: &ClientView) -> zbus::Result<()> {
        let served = Served::new(self.client(view), self.calls.clone());
        let server = self.connection.object_server();
        server.at(client_path(view.id.0), served).await?;
        Ok(())
    }

    async fn announce_client(&self, view: &ClientView) -> zbus::Result<()> {
        let path = client_path(view.id.0);
        self.announce(&self.client(view), &path).await?;
        Manager::client_added(&self.manager, view.id.0, path.into(), view.uid).await
    }

    async fn remove_client(&self, client: SessionId, reason: &str) -> zbus::Result<()> {
        let path = client_path(client.0);
        self.remove::<Client>(&path).await?;
        let reason = words::plain(reason);
        Manager::client_removed(&self.manager, client.0, path.into(), &reason).await
    }

    /// All of it is constant, so that another one is another object.
    async fn replace_device(&mut self, device: Option<DeviceView>) -> zbus::Result<()> {
        let path = ObjectPath::from_static_str_unchecked(DEVICE);
        if self.device.take().is_some() {
            self.remove::<Device>(&path).await?;
        }
        if let Some(view) = &device {
            let object = || Device::new(self.port.clone(), view.clone());
            let served = Served::new(object(), self.calls.clone());
            self.connection.object_server().at(&path, served).await?;
            self.announce(&object(), &path).await?;
        }
        self.device = device;
        self.tell_overview().await
    }

    async fn announce<I: Interface>(
        &self,
        interface: &I,
        path: &ObjectPath<'_>,
    ) -> zbus::Result<()> {
        let shown = picture(interface, path, &self.connection).await;
        let shown = shown.map_err(|error| zbus::Error::Failure(error.to_string()))?;
        Objects::interfaces_added(&self.tree, path.as_ref(), shown).await
    }

    async fn remove<I: super::served::Current>(&self, path: &ObjectPath<'_>) -> zbus::Result<()> {
        let server = self.connection.object_server();
        server.remove::<Served<I>, _>(path).await?;
        let interfaces: Cow<'_, [InterfaceName<'_>]> = Cow::Owned(vec![I::name()]);
        Objects::interfaces_removed(&self.tree, path.as_ref(), interfaces).await
    }

    fn overview(&self) -> Overview {
        let Some(status) = &self.status else {
            return Overview::default();
        };
        Overview {
            clients: self.outbox.clients(),
            ..Overview::new(status, self.device.as_ref())
        }
    }

    async fn tell_overview(&mut self) -> zbus::Result<()> {
        let overview = self.overview();
        let told = std::mem::replace(&mut self.told, overview.clone());
        let before = told.announced();
        let mut changed = overview.announced();
        changed.retain(|name, value| before.get(name) != Some(value));
        if changed.is_empty() {
            return Ok(());
        }
        let path = self.manager.path().clone();
        self.properties_changed::<Manager>(&path, changed).await
    }

    async fn properties_changed<I: Interface>(
        &self,
        path: &ObjectPath<'_>,
        changed: BTreeMap<&str, Variant<'_>>,
    ) -> zbus::Result<()> {
        let nothing: &[&str] = &[];
        let emitter = SignalEmitter::from_parts(self.connection.clone(), path.as_ref());
        let body = (I::name(), changed, nothing);
        emitter
            .emit(
                "org.freedesktop.DBus.Properties",
                "PropertiesChanged",
                &body,
            )
            .await
    }
}
