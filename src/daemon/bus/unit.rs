//! Which systemd unit or scope a client belongs to. Asked of systemd, not read from /proc: the sandbox hides other users'
//! processes there.

use super::outbox::Outbox;
use super::port::Port;
use crate::control::Request;
use std::time::Duration;
use tokio::time::timeout;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

/// Looks up the units of clients, one at a time.
pub(super) struct Units {
    connection: Connection,
    manager: SystemdProxy<'static>,
    outbox: Outbox,
    port: Port,
    patience: Duration,
    absence_said: bool,
}

impl Units {
    pub(super) async fn new(
        connection: &Connection,
        outbox: Outbox,
        port: Port,
        patience: Duration,
    ) -> zbus::Result<Self> {
        let manager = SystemdProxy::builder(connection).cache_properties(CacheProperties::No);
        Ok(Self {
            connection: connection.clone(),
            manager: manager.build().await?,
            outbox,
            port,
            patience,
            absence_said: false,
        })
    }

    /// Never returns.
    pub(super) async fn run(&mut self) {
        loop {
            while let Some((client, pid)) = self.outbox.next_unasked() {
                let Some(unit) = self.of_process(pid).await else {
                    continue;
                };
                // A process that ended may have given its pid to another; a client that is there has not.
                let there = self.port.ask(|reply| Request::Client(client, reply)).await;
                if let Ok(Some(_)) = there {
                    self.outbox.found_unit(client, unit);
                }
            }
            self.outbox.unasked().await;
        }
    }

    async fn of_process(&mut self, pid: i32) -> Option<String> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
        let look = async {
            let path = self.manager.get_unit_by_pid(pid).await?;
            let unit = UnitProxy::builder(&self.connection)
                .path(path)
                .cache_properties(CacheProperties::No);
            unit.build().await?.id().await
        };
        match timeout(self.patience, look).await {
            Ok(Ok(unit)) => Some(unit),
            // It is in no unit, or gone.
            Ok(Err(zbus::Error::MethodError(..))) => None,
            Ok(Err(error)) => {
                self.say_absent(&error);
                None
            }
            Err(late) => {
                self.say_absent(&late);
                None
            }
        }
    }

    fn say_absent(&mut self, error: &(dyn std::error::Error + 'static)) {
        if !std::mem::replace(&mut self.absence_said, true) {
            tracing::debug!(error, "cannot ask systemd for units of clients, ignoring");
        }
    }
}

/// What is used of systemd's interfaces.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    #[zbus(name = "GetUnitByPID", no_autostart)]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Unit",
    default_service = "org.freedesktop.systemd1"
)]
trait Unit {
    #[zbus(property)]
    fn id(&self) -> zbus::Result<String>;
}
