//! What every interface of ours has in common when it is called.
//!
//! zbus starts a task for each call and holds only a shared lock on the interface meanwhile, so that a call that waits for
//! polkit holds up nobody - as long as no method takes `&mut self`, and as long as what is asked to be set is refused
//! without one. How many calls there are it does not limit: that is done here. It reads properties one by one, too, and
//! while it does it holds the lock that adding an object needs; so they are all taken from one answer of the main loop,
//! and polkit is not asked about them.

use super::turnstile::{Ticket, Turnstile};
use std::collections::HashMap;
use std::fmt::Write;
use vkmps_bus::Error;
use zbus::export::async_trait::async_trait;
use zbus::message::{Header, Message};
use zbus::names::{InterfaceName, MemberName};
use zbus::object_server::{DispatchResult, Interface, SignalEmitter};
use zbus::{BoxDBusError, Connection, ObjectServer, OwnedVariant, Variant, fdo};

/// Calls in flight, by the caller's unique name.
pub(super) type Calls = Turnstile<String>;

/// An interface whose properties are a picture of the moment.
pub(super) trait Current: Interface + Sized {
    /// Whether it is described where an object above is introspected. What there are many of is not: that description
    /// would grow with them.
    const IN_TREE: bool;

    /// The same, with properties as they are now.
    fn now(&self) -> impl Future<Output = Result<Self, Error>> + Send;
}

/// An interface as it is served: limited, and up to date.
pub(super) struct Served<I> {
    interface: I,
    calls: Calls,
}

impl<I: Current> Served<I> {
    pub(super) fn new(interface: I, calls: Calls) -> Self {
        Self { interface, calls }
    }

    fn enter(&self, header: Option<&Header<'_>>) -> Result<Option<Ticket<String>>, Error> {
        let sender = header.and_then(Header::sender);
        sender
            .map(|sender| self.calls.enter(sender.to_string()))
            .transpose()
    }
}

/// zbus says that this trait may change in minor versions; Cargo.lock keeps ours.
#[async_trait]
impl<I: Current> Interface for Served<I> {
    fn name() -> InterfaceName<'static> {
        I::name()
    }

    async fn get(
        &self,
        property: &str,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<OwnedVariant, BoxDBusError>> {
        let picture = async {
            let _ticket = self.enter(header)?;
            // zbus would repeat a name that it does not know, however long.
            match property.len() {
                0..=MAX_PROPERTY_BYTES => self.interface.now().await.map(Some),
                _ => Ok(None),
            }
        };
        let value: Option<Result<_, BoxDBusError>> = match picture.await {
            Ok(Some(now)) => now.get(property, server, connection, header, emitter).await,
            Ok(None) => None,
            Err(error) => Some(Err(Box::new(error))),
        };
        let unknown = || fdo::Error::UnknownProperty("there is no such property".to_owned());
        Some(value.unwrap_or_else(|| Err(unknown().into())))
    }

    async fn get_all(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> fdo::Result<HashMap<String, OwnedVariant>> {
        // The trait lets no other errors out here.
        let _ticket = self
            .enter(header)
            .map_err(|error| fdo::Error::LimitsExceeded(error.to_string()))?;
        let now = self.interface.now().await;
        now.map_err(|error| fdo::Error::UnknownObject(error.to_string()))?
            .get_all(server, connection, header, emitter)
            .await
    }

    fn set<'call>(
        &'call self,
        _property: &'call str,
        _value: &'call Variant<'_>,
        _server: &'call ObjectServer,
        _connection: &'call Connection,
        _header: Option<&'call Header<'_>>,
        _emitter: &'call SignalEmitter<'_>,
    ) -> DispatchResult<'call> {
        let refused = fdo::Error::PropertyReadOnly("no property can be set".to_owned());
        DispatchResult::Async(Box::pin(async { Err(refused.into()) }))
    }

    async fn set_mut(
        &mut self,
        _property: &str,
        _value: &Variant<'_>,
        _server: &ObjectServer,
        _connection: &Connection,
        _header: Option<&Header<'_>>,
        _emitter: &SignalEmitter<'_>,
    ) -> Option<Result<(), BoxDBusError>> {
        None
    }

    fn call<'call>(
        &'call self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        let header = message.header();
        let ticket = match bounded(&header).and_then(|()| self.enter(Some(&header))) {
            Ok(ticket) => ticket,
            Err(error) => {
                let refused = async { Err::<(), _>(error) };
                return DispatchResult::new_async(connection, message, refused);
            }
        };
        match self.interface.call(server, connection, message, name) {
            // The ticket covers the reply as well.
            DispatchResult::Async(answer) => DispatchResult::Async(Box::pin(async {
                let _ticket = ticket;
                answer.await
            })),
            DispatchResult::NotFound | DispatchResult::RequiresMut => DispatchResult::NotFound,
        }
    }

    fn call_mut<'call>(
        &'call mut self,
        _server: &'call ObjectServer,
        _connection: &'call Connection,
        _message: &'call Message,
        _name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        DispatchResult::NotFound
    }

    fn introspect_to_writer(&self, writer: &mut dyn Write, level: usize) {
        if I::IN_TREE || level <= OWN_LEVEL {
            self.interface.introspect_to_writer(writer, level);
        }
    }
}

/// A message is kept until it is answered, with all that is in it and whether anybody looks at it or not.
fn bounded(header: &Header<'_>) -> Result<(), Error> {
    let small = header.primary().body_len() <= MAX_ARGUMENTS_BYTES
        && header.unix_fds().is_none_or(|fds| fds == 0);
    small
        .then_some(())
        .ok_or_else(|| Error::InvalidArgument("the arguments are too large".to_owned()))
}

/// No name of a D-Bus member is longer.
const MAX_PROPERTY_BYTES: usize = 255;
/// All arguments of a method together: the longest is a name.
const MAX_ARGUMENTS_BYTES: u32 = 4096;
/// Indentation of the interfaces of the object that is introspected itself.
const OWN_LEVEL: usize = 2;
