//! `org.vkmps.Client`; `dbus/org.vkmps.Client.xml` documents it.

use super::outbox::Outbox;
use super::port::Port;
use super::served::Current;
use super::words;
use crate::control::{ClientView, Request};
use crate::statistics::ns;
use vkmps_bus::{ClientEntry, DEVICE, Error, client_path};
use zbus::{ObjectPath, interface};

/// One client's object.
pub(super) struct Client {
    port: Port,
    outbox: Outbox,
    view: ClientView,
}

impl Client {
    pub(super) fn new(port: Port, outbox: Outbox, view: ClientView) -> Self {
        Self { port, outbox, view }
    }

    /// The same in a list.
    pub(super) fn entry(&self) -> ClientEntry {
        ClientEntry {
            id: self.id(),
            uid: self.uid(),
            pid: self.pid(),
            name: self.name(),
            unit: self.unit(),
            priority: self.priority().to_owned(),
            memory_used_bytes: self.memory_used(),
            dispatches: self.dispatches(),
            queue_depth: self.queue_depth(),
            device_time_ns: self.device_time_ns(),
            connected_since_us: self.connected_since(),
            object: client_path(self.id()),
        }
    }
}

impl Current for Client {
    const IN_TREE: bool = false;

    async fn now(&self) -> Result<Self, Error> {
        let id = self.view.id;
        let view = self.port.ask(|reply| Request::Client(id, reply)).await?;
        let view = view.ok_or_else(|| words::no_such_client(id))?;
        Ok(Self::new(self.port.clone(), self.outbox.clone(), view))
    }
}

#[interface(name = "org.vkmps.Client", introspection_docs = false)]
impl Client {
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u64 {
        self.view.id.0
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn uid(&self) -> u32 {
        self.view.uid
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn pid(&self) -> u32 {
        self.view.pid.try_into().unwrap_or_default()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        words::plain(&self.view.name)
    }

    #[zbus(property)]
    fn unit(&self) -> String {
        self.outbox.unit(self.view.id)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> ObjectPath<'static> {
        ObjectPath::from_static_str_unchecked(DEVICE)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn connected_since(&self) -> u64 {
        self.view.connected_since_us
    }

    #[zbus(property)]
    fn priority(&self) -> &'static str {
        words::priority(self.view.priority).name()
    }

    #[zbus(property)]
    fn demoted(&self) -> bool {
        self.view.demoted
    }

    #[zbus(property)]
    fn max_priority(&self) -> &'static str {
        words::priority(self.view.limits.max_priority).name()
    }

    #[zbus(property)]
    fn memory_limit(&self) -> u64 {
        self.view.memory_limit_bytes
    }

    #[zbus(property)]
    fn active_thread_percentage(&self) -> u8 {
        self.view.limits.cap_percent
    }

    #[zbus(property)]
    fn weight(&self) -> u16 {
        self.view.limits.weight
    }

    #[zbus(property)]
    fn buffers_limit(&self) -> u32 {
        self.view.limits.buffers
    }

    #[zbus(property)]
    fn programs_limit(&self) -> u32 {
        self.view.limits.programs
    }

    #[zbus(property)]
    fn streams_limit(&self) -> u32 {
        self.view.limits.streams
    }

    #[zbus(property)]
    fn submits_limit(&self) -> u32 {
        self.view.limits.submits
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> u64 {
        self.view.memory_used_bytes
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn buffers(&self) -> u32 {
        self.view.buffers
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn shared_buffers(&self) -> u32 {
        self.view.shared_buffers
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn attached_buffers(&self) -> u32 {
        self.view.attached_buffers
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn programs(&self) -> u32 {
        self.view.programs
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn queue_depth(&self) -> u32 {
        self.view.queue_depth
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn dispatches(&self) -> u64 {
        self.view.dispatches
    }

    #[zbus(property(emits_changed_signal = "false"), name = "DeviceTimeNSec")]
    fn device_time_ns(&self) -> u64 {
        ns(self.view.device_time)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn share(&self) -> f64 {
        self.view.share
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn submits(&self) -> u64 {
        self.view.submits
    }

    #[zbus(property(emits_changed_signal = "false"), name = "WaitTimeNSec")]
    fn wait_time_ns(&self) -> u64 {
        ns(self.view.wait)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn slices(&self) -> u64 {
        self.view.slices
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn preemptions(&self) -> u64 {
        self.view.preemptions
    }
}
