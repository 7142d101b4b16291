//! `quit`: lets the clients finish, then has systemd stop the service.

use crate::error::Error;
use crate::service::{Presence, Service};
use crate::watch::Watch;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use zbus::{OwnedObjectPath, fdo};

/// Newcomers are refused at once. Clients that are left after the time out are terminated.
pub(super) async fn run(service: &Service, timeout: Option<Duration>) -> Result<(), Error> {
    let presence = service.presence().await?;
    if presence == Presence::Absent {
        return Err(Error::Absent);
    }
    let mut watch = Watch::new(service).await?;
    let running = presence == Presence::Running;
    if running {
        drain(service, &mut watch, timeout).await?;
    }
    // The socket first: a client that connects now must not start the service again.
    for unit in ["vkmpsd.socket", "vkmpsd.service"] {
        stop(service, unit).await?;
    }
    match running {
        true => watch.gone().await,
        false => Ok(()),
    }
}

async fn drain(
    service: &Service,
    watch: &mut Watch,
    timeout: Option<Duration>,
) -> Result<(), Error> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let () = service.guarded("Drain", &()).await?;
    if let Some(deadline) = deadline {
        match timeout_at(deadline, watch.drained(service)).await {
            Ok(drained) => return drained,
            Err(_elapsed) => {
                for client in service.manager().list_clients().await? {
                    match service.guarded("TerminateClient", &client.id).await {
                        // It has just left by itself.
                        Ok(()) | Err(Error::UnknownClient(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
    watch.drained(service).await
}

async fn stop(service: &Service, unit: &'static str) -> Result<(), Error> {
    let systemd = zbus::proxy::Builder::<zbus::Proxy<'_>>::new(service.bus())
        .destination(SYSTEMD)
        .path("/org/freedesktop/systemd1")
        .interface("org.freedesktop.systemd1.Manager")
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    let stopped: Result<Option<OwnedObjectPath>, zbus::Error> = systemd
        .call_with_flags("StopUnit", service.guarded_flags(), &(unit, "replace"))
        .await;
    match stopped {
        Ok(_job) => Ok(()),
        Err(zbus::Error::FDO(reason))
            if matches!(
                *reason,
                fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)
            ) =>
        {
            Err(Error::NotBySystemd)
        }
        Err(zbus::Error::MethodError(name, ..))
            if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit" =>
        {
            Err(Error::NotBySystemd)
        }
        Err(error) => Err(error.into()),
    }
}

const SYSTEMD: &str = "org.freedesktop.systemd1";
