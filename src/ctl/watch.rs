//! Waiting for the service to change, by its signals.

use crate::error::Error;
use crate::service::Service;
use std::future::poll_fn;
use std::pin::Pin;
use zbus::Variant;
use zbus::export::futures_core::Stream;
use zbus::fdo::{PropertiesChanged, PropertiesChangedStream, PropertiesProxy};
use zbus::proxy::{CacheProperties, OwnerChangedStream};

/// The next of a stream.
pub(crate) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Changes of the manager's properties, and of who owns its name.
pub(crate) struct Watch {
    properties: PropertiesChangedStream,
    owner: OwnerChangedStream<'static>,
}

impl Watch {
    /// Nothing that happens after this is missed.
    pub(crate) async fn new(service: &Service) -> Result<Self, Error> {
        let proxy = PropertiesProxy::builder(service.bus())
            .destination(vkmps_bus::SERVICE)
            .path(vkmps_bus::MANAGER)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(Self {
            properties: proxy.receive_properties_changed().await?,
            owner: service.manager().inner().receive_owner_changed().await?,
        })
    }

    /// Waits until no client is left. The service is asked once: later it might have ended, and asking would start it.
    pub(crate) async fn drained(&mut self, service: &Service) -> Result<(), Error> {
        let mut state = service.manager().state().await?;
        loop {
            match state.as_str() {
                "draining" => {}
                "serving" | "starting" => return Err(Error::Resumed),
                _ => return Ok(()),
            }
            match self.next().await? {
                Happening::Changed(change) => {
                    let Ok(change) = change.args() else { continue };
                    if let Some(Variant::Str(changed)) = change.changed_properties.get("State") {
                        state = changed.to_string();
                    }
                }
                Happening::Came | Happening::Left => return Err(Error::Gone),
            }
        }
    }

    /// Waits until the service is no longer on the bus.
    pub(crate) async fn gone(&mut self) -> Result<(), Error> {
        while !matches!(self.next().await?, Happening::Left) {}
        Ok(())
    }

    /// What happens next.
    pub(crate) async fn next(&mut self) -> Result<Happening, Error> {
        tokio::select! {
            change = next(&mut self.properties) => {
                Ok(Happening::Changed(change.ok_or(Error::BusClosed)?))
            }
            owner = next(&mut self.owner) => match owner.ok_or(Error::BusClosed)? {
                Some(_) => Ok(Happening::Came),
                None => Ok(Happening::Left),
            }
        }
    }
}

/// What is heard of the service.
pub(crate) enum Happening {
    /// Properties of the manager changed.
    Changed(PropertiesChanged),
    /// It is on the bus, perhaps anew.
    Came,
    /// It is no longer on the bus.
    Left,
}
