//! As much of `org.freedesktop.systemd1` as `quit` needs.

use super::{Act, World};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::UnboundedSender;
use zbus::{Connection, OwnedObjectPath, interface};

struct Systemd {
    world: Arc<Mutex<World>>,
    service: UnboundedSender<Act>,
}

pub(super) async fn serve(
    address: &str,
    world: &Arc<Mutex<World>>,
    service: UnboundedSender<Act>,
) -> Connection {
    let world = Arc::clone(world);
    zbus::connection::Builder::address(address)
        .serve_at("/org/freedesktop/systemd1", Systemd { world, service })
        .name("org.freedesktop.systemd1")
        .build()
        .await
        .unwrap()
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    async fn stop_unit(&self, name: &str, mode: &str) -> OwnedObjectPath {
        self.world
            .lock()
            .unwrap()
            .ask(format!("StopUnit {name} {mode}"));
        if name == "vkmpsd.service" {
            self.service.send(Act::End).unwrap();
        }
        "/org/freedesktop/systemd1/job/1".try_into().unwrap()
    }
}
