//! D-Bus names, types and proxies of vkmpsd, shared by the daemon and its tools. The contract is `dbus/*.xml`; a test
//! compares it with what the daemon serves.
#![forbid(unsafe_code)]

mod client;
mod error;
mod level;
pub mod limits;
mod priority;
mod proxy;
mod session;

pub use client::ClientEntry;
pub use error::Error;
pub use level::{LogLevel, UnknownLogLevel};
pub use priority::{Priority, UnknownPriority};
pub use proxy::{ClientProxy, DeviceProxy, ManagerProxy};
pub use session::SessionEntry;

/// Well-known name of the daemon on the system bus.
pub const SERVICE: &str = "org.vkmps.Manager";
/// Path of the ObjectManager.
pub const ROOT: &str = "/org/vkmps";
/// Path of the daemon's object.
pub const MANAGER: &str = "/org/vkmps/Manager";
/// Path of the device's object.
pub const DEVICE: &str = "/org/vkmps/device/0";
/// Clients' objects are below this, by id.
pub const CLIENTS: &str = "/org/vkmps/client";

/// Path of a client's object.
pub fn client_path(id: u64) -> zbus::OwnedObjectPath {
    zbus::OwnedObjectPath::try_from(format!("{CLIENTS}/{id}"))
        .expect("a number is a valid element of a path")
}
