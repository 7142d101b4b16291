//! The daemon's interfaces as callers see them.

use crate::{ClientEntry, Error, SessionEntry};
use std::collections::HashMap;
use zbus::{OwnedFd, OwnedObjectPath, OwnedVariant, Variant, proxy};

/// `org.vkmps.Manager`; `dbus/org.vkmps.Manager.xml` documents it. What changes something lets polkit ask its user for a
/// password, if there is an agent to do so.
#[proxy(
    interface = "org.vkmps.Manager",
    default_service = "org.vkmps.Manager",
    default_path = "/org/vkmps/Manager"
)]
pub trait Manager {
    /// All clients, in the order they came.
    fn list_clients(&self) -> Result<Vec<ClientEntry>, Error>;
    /// State, engine, detail, engine's pid, engines replaced, warnings of the sandbox.
    fn get_status(&self) -> Result<(String, String, String, u32, u32, Vec<String>), Error>;
    /// Counters by name.
    fn get_statistics(&self) -> Result<HashMap<String, u64>, Error>;
    /// A descriptor that reads the recorder.
    #[zbus(allow_interactive_auth)]
    fn trace(&self) -> Result<OwnedFd, Error>;
    /// Changes the priority of a client's future work.
    #[zbus(allow_interactive_auth)]
    fn set_priority(&self, client: u64, priority: &str) -> Result<(), Error>;
    /// Changes limits of a client, by the names in [`crate::limits`]; what it is beyond with them.
    #[zbus(allow_interactive_auth)]
    fn set_limits(
        &self,
        client: u64,
        limits: HashMap<&str, Variant<'_>>,
    ) -> Result<Vec<String>, Error>;
    /// Changes limits of all clients of a user together; what they are beyond with them.
    #[zbus(allow_interactive_auth)]
    fn set_user_limits(
        &self,
        uid: u32,
        limits: HashMap<&str, Variant<'_>>,
    ) -> Result<Vec<String>, Error>;
    /// The limits of all clients of a user together, and what they have.
    fn get_user_limits(&self, uid: u32) -> Result<HashMap<String, OwnedVariant>, Error>;
    /// Changes the limits that clients have unless a rule says otherwise.
    #[zbus(allow_interactive_auth)]
    fn set_default_limits(&self, limits: HashMap<&str, Variant<'_>>) -> Result<(), Error>;
    /// Changes how the device's time is shared.
    #[zbus(allow_interactive_auth)]
    fn set_scheduling_mode(&self, mode: &str) -> Result<(), Error>;
    /// Changes the loop iterations of a slice.
    #[zbus(allow_interactive_auth)]
    fn set_loop_slice_quota(&self, iterations: u64) -> Result<(), Error>;
    /// Ends a client's session.
    #[zbus(allow_interactive_auth)]
    fn terminate_client(&self, client: u64) -> Result<(), Error>;
    /// Opens a session that lasts until the caller leaves the bus, with limits by the names in [`crate::limits`] and an end
    /// after so many microseconds, if not 0: its number and its token.
    #[zbus(allow_interactive_auth)]
    fn create_session(
        &self,
        name: &str,
        limits: HashMap<&str, Variant<'_>>,
        ttl_usec: u64,
    ) -> Result<(u64, String), Error>;
    /// All sessions, oldest first.
    fn list_sessions(&self) -> Result<Vec<SessionEntry>, Error>;
    /// Ends a session, and its clients with it.
    #[zbus(allow_interactive_auth)]
    fn release_session(&self, session: u64) -> Result<(), Error>;
    /// Refuses newcomers.
    #[zbus(allow_interactive_auth)]
    fn drain(&self) -> Result<(), Error>;
    /// Lets newcomers in again.
    #[zbus(allow_interactive_auth)]
    fn resume(&self) -> Result<(), Error>;
    /// Reads the configuration again; what needs a restart.
    #[zbus(allow_interactive_auth)]
    fn reload(&self) -> Result<Vec<String>, Error>;
    /// Sets how much is logged.
    #[zbus(allow_interactive_auth)]
    fn set_log_level(&self, level: &str) -> Result<(), Error>;

    /// Of the daemon.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
    /// As `GetStatus` has it.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// A [`crate::LogLevel`].
    #[zbus(property)]
    fn log_level(&self) -> zbus::Result<String>;
    /// Empty without a device.
    #[zbus(property)]
    fn device_name(&self) -> zbus::Result<String>;
    /// Driver's name and version.
    #[zbus(property)]
    fn driver_info(&self) -> zbus::Result<String>;
    /// Hexadecimal.
    #[zbus(property, name = "DeviceUUID")]
    fn device_uuid(&self) -> zbus::Result<String>;
    /// `exclusive-throughput` or `cooperative-fairshare`.
    #[zbus(property)]
    fn scheduling_mode(&self) -> zbus::Result<String>;
    /// Loop iterations.
    #[zbus(property)]
    fn loop_slice_quota(&self) -> zbus::Result<u64>;
    /// Percent of the device's time.
    #[zbus(property)]
    fn default_active_thread_percentage(&self) -> zbus::Result<u8>;
    /// Bytes.
    #[zbus(property)]
    fn default_memory_limit(&self) -> zbus::Result<u64>;
    /// Microseconds.
    #[zbus(property, name = "RealtimeBudgetUSec")]
    fn realtime_budget_us(&self) -> zbus::Result<u64>;
    /// Microseconds.
    #[zbus(property, name = "RealtimePeriodUSec")]
    fn realtime_period_us(&self) -> zbus::Result<u64>;
    /// Sessions that are open.
    #[zbus(property)]
    fn client_count(&self) -> zbus::Result<u32>;
    /// Bytes.
    #[zbus(property)]
    fn memory_total(&self) -> zbus::Result<u64>;
    /// Bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> zbus::Result<u64>;
    /// Submits accepted and not over.
    #[zbus(property(emits_changed_signal = "false"))]
    fn queue_depth(&self) -> zbus::Result<u64>;
    /// Dispatches that are over.
    #[zbus(property(emits_changed_signal = "false"))]
    fn dispatches_total(&self) -> zbus::Result<u64>;
    /// Microseconds.
    #[zbus(property(emits_changed_signal = "false"))]
    fn uptime(&self) -> zbus::Result<u64>;

    /// A session opened.
    #[zbus(signal)]
    fn client_added(&self, client: u64, object: OwnedObjectPath, uid: u32) -> zbus::Result<()>;
    /// A session ended.
    #[zbus(signal)]
    fn client_removed(
        &self,
        client: u64,
        object: OwnedObjectPath,
        reason: String,
    ) -> zbus::Result<()>;
    /// The device or its engine failed.
    #[zbus(signal)]
    fn device_fault(&self, reason: String, sessions: u32) -> zbus::Result<()>;
    /// A client was refused something.
    #[zbus(signal)]
    fn limit_reached(&self, client: u64, uid: u32, limit: String) -> zbus::Result<()>;
}

/// `org.vkmps.Client`; `dbus/org.vkmps.Client.xml` documents it.
#[proxy(interface = "org.vkmps.Client", default_service = "org.vkmps.Manager")]
pub trait Client {
    /// Session id.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> zbus::Result<u64>;
    /// User.
    #[zbus(property(emits_changed_signal = "const"))]
    fn uid(&self) -> zbus::Result<u32>;
    /// Process when it connected.
    #[zbus(property(emits_changed_signal = "const"))]
    fn pid(&self) -> zbus::Result<u32>;
    /// What it calls itself; hostile.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;
    /// systemd unit or scope; empty while unknown.
    #[zbus(property)]
    fn unit(&self) -> zbus::Result<String>;
    /// The device it uses.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> zbus::Result<OwnedObjectPath>;
    /// Microseconds of CLOCK_REALTIME.
    #[zbus(property(emits_changed_signal = "const"))]
    fn connected_since(&self) -> zbus::Result<u64>;
    /// A [`crate::Priority`].
    #[zbus(property)]
    fn priority(&self) -> zbus::Result<String>;
    /// Whether work of priority realtime runs as high for now.
    #[zbus(property)]
    fn demoted(&self) -> zbus::Result<bool>;
    /// Highest priority that it gets by asking.
    #[zbus(property)]
    fn max_priority(&self) -> zbus::Result<String>;
    /// Bytes.
    #[zbus(property)]
    fn memory_limit(&self) -> zbus::Result<u64>;
    /// Percent of the device's time.
    #[zbus(property)]
    fn active_thread_percentage(&self) -> zbus::Result<u8>;
    /// Against its user's other clients.
    #[zbus(property)]
    fn weight(&self) -> zbus::Result<u16>;
    /// How many at most.
    #[zbus(property)]
    fn buffers_limit(&self) -> zbus::Result<u32>;
    /// How many at most.
    #[zbus(property)]
    fn programs_limit(&self) -> zbus::Result<u32>;
    /// How many at most.
    #[zbus(property)]
    fn streams_limit(&self) -> zbus::Result<u32>;
    /// How many at most that are not over.
    #[zbus(property)]
    fn submits_limit(&self) -> zbus::Result<u32>;
    /// Bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    fn memory_used(&self) -> zbus::Result<u64>;
    /// How many.
    #[zbus(property(emits_changed_signal = "false"))]
    fn buffers(&self) -> zbus::Result<u32>;
    /// Those that others may attach.
    #[zbus(property(emits_changed_signal = "false"))]
    fn shared_buffers(&self) -> zbus::Result<u32>;
    /// Handles to buffers of others.
    #[zbus(property(emits_changed_signal = "false"))]
    fn attached_buffers(&self) -> zbus::Result<u32>;
    /// How many.
    #[zbus(property(emits_changed_signal = "false"))]
    fn programs(&self) -> zbus::Result<u32>;
    /// Submits accepted and not over.
    #[zbus(property(emits_changed_signal = "false"))]
    fn queue_depth(&self) -> zbus::Result<u32>;
    /// Dispatches that are over.
    #[zbus(property(emits_changed_signal = "false"))]
    fn dispatches(&self) -> zbus::Result<u64>;
    /// Nanoseconds.
    #[zbus(property(emits_changed_signal = "false"), name = "DeviceTimeNSec")]
    fn device_time_ns(&self) -> zbus::Result<u64>;
    /// Of the last second's time; 1 is all of it.
    #[zbus(property(emits_changed_signal = "false"))]
    fn share(&self) -> zbus::Result<f64>;
    /// Submits that the device was given.
    #[zbus(property(emits_changed_signal = "false"))]
    fn submits(&self) -> zbus::Result<u64>;
    /// What they waited, nanoseconds.
    #[zbus(property(emits_changed_signal = "false"), name = "WaitTimeNSec")]
    fn wait_time_ns(&self) -> zbus::Result<u64>;
    /// Pieces that the device was given.
    #[zbus(property(emits_changed_signal = "false"))]
    fn slices(&self) -> zbus::Result<u64>;
    /// How often a submit in pieces had to wait for others.
    #[zbus(property(emits_changed_signal = "false"))]
    fn preemptions(&self) -> zbus::Result<u64>;
}

/// `org.vkmps.Device`; `dbus/org.vkmps.Device.xml` documents it.
#[proxy(
    interface = "org.vkmps.Device",
    default_service = "org.vkmps.Manager",
    default_path = "/org/vkmps/device/0"
)]
pub trait Device {
    /// `VkPhysicalDeviceProperties::deviceName`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> zbus::Result<String>;
    /// Driver's name and version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn driver_info(&self) -> zbus::Result<String>;
    /// Hexadecimal.
    #[zbus(property(emits_changed_signal = "const"), name = "UUID")]
    fn uuid(&self) -> zbus::Result<String>;
    /// Whether it computes on the host's cores.
    #[zbus(property(emits_changed_signal = "const"))]
    fn software(&self) -> zbus::Result<bool>;
    /// Hardware queues in use.
    #[zbus(property(emits_changed_signal = "const"))]
    fn queues(&self) -> zbus::Result<u32>;
    /// Vulkan extensions in use.
    #[zbus(property(emits_changed_signal = "const"))]
    fn extensions(&self) -> zbus::Result<Vec<String>>;
    /// Of each hardware queue among all on the hardware: `medium`, `high` or `realtime`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn global_priorities(&self) -> zbus::Result<Vec<String>>;
    /// Process that runs the driver.
    #[zbus(property(emits_changed_signal = "const"))]
    fn engine_pid(&self) -> zbus::Result<u32>;
    /// Bytes; 0 when the device uses the host's memory.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device_memory_total(&self) -> zbus::Result<u64>;
    /// Bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    fn device_memory_used(&self) -> zbus::Result<u64>;
    /// Bytes.
    #[zbus(property(emits_changed_signal = "const"))]
    fn host_memory_total(&self) -> zbus::Result<u64>;
    /// Bytes.
    #[zbus(property(emits_changed_signal = "false"))]
    fn host_memory_used(&self) -> zbus::Result<u64>;
}
