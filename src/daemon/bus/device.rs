//! `org.vkmps.Device`; `dbus/org.vkmps.Device.xml` documents it.

use super::port::Port;
use super::served::Current;
use super::words;
use crate::control::{DeviceView, Request};
use vkmps_bus::Error;
use zbus::interface;

/// The device's object.
pub(super) struct Device {
    port: Port,
    view: DeviceView,
}

impl Device {
    pub(super) fn new(port: Port, view: DeviceView) -> Self {
        Self { port, view }
    }
}

impl Current for Device {
    const IN_TREE: bool = true;

    async fn now(&self) -> Result<Self, Error> {
        let view = self.port.ask(Request::Device).await?;
        // Between two engines: what it was.
        let view = view.unwrap_or_else(|| self.view.clone());
        Ok(Self::new(self.port.clone(), view))
    }
}

#[interface(name = "org.vkmps.Device", introspection_docs = false)]
impl Device {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        words::plain(&self.view.name)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn driver_info(&self) -> String {
        words::plain(&self.view.driver)
    }

    #[zbus(property(emits_changed_signal = "const"), name = "UUID")]
    fn uuid(&self) -> String {
        words::uuid(self.view.uuid)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn software(&self) -> bool {
        self.view.software
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn queues(&self) -> u32 {
        self.view.queues
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn extensions(&self) -> Vec<String> {
        let names = self.view.extensions.iter();
        names.map(|name| words::plain(name)).collect()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn global_priorities(&self) -> Vec<String> {
        let priorities = self.view.global_priorities.iter();
        priorities.map(|one| one.name().to_owned()).collect()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn engine_pid(&self) -> u32 {
        self.view.engine_pid
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn device_memory_total(&self) -> u64 {
        self.view.device_memory_bytes.0
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn device_memory_used(&self) -> u64 {
        self.view.device_memory_bytes.1
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn host_memory_total(&self) -> u64 {
        self.view.host_memory_bytes.0
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn host_memory_used(&self) -> u64 {
        self.view.host_memory_bytes.1
    }
}
