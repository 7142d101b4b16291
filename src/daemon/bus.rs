//! The D-Bus side: serves `dbus/*.xml`, asks polkit, publishes what changes.
//!
//! Nothing here decides or owns anything: requests go to the main loop as `Happening::Request` and come back through
//! their reply; changes come from the main loop through an [`Outbox`], which never makes it wait. To use it:
//!
//! ```text
//! let outbox = Outbox::new();                          // one for the daemon's life; clone it into the main loop
//! outbox.push(Change::Status(status));                 // what is true before anybody asks
//! let bus = bus::start(address, happenings.clone(), outbox.clone()).await;   // before READY=1; at most 5 s
//! ...                                                  // main loop: answers requests, outbox.push(change)
//! bus.leave().await;                                   // before exit; the main loop must go on answering meanwhile
//! ```
//!
//! Dropping [`Bus`] leaves it running. A bus that cannot be reached, goes away or has given the name to somebody else is
//! tried again for ever; the daemon serves clients without it.

mod action;
mod authority;
mod client;
mod device;
mod limits;
mod manager;
mod objects;
mod outbox;
mod overview;
mod port;
mod publisher;
mod served;
mod sessions;
#[cfg(test)]
mod tests;
mod tree;
mod turnstile;
mod unit;
mod words;

pub(crate) use outbox::Outbox;

use crate::happening::Happenings;
use authority::{Authority, Patience};
use manager::Manager;
use objects::Objects;
use port::Port;
use publisher::Publisher;
use served::{Calls, Served};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use turnstile::Places;
use unit::Units;
use vkmps_bus::{MANAGER, ROOT, SERVICE};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::export::futures_core::Stream;
use zbus::fdo::{DBusProxy, NameLostStream};
use zbus::proxy::CacheProperties;

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BusAddress {
    /// The system's.
    System,
    /// A D-Bus address.
    At(String),
}

/// The running D-Bus side.
#[derive(Debug)]
pub(crate) struct Bus {
    leave: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

/// Goes on the bus, and stays there. Waits for the first attempt, but not long.
pub(crate) async fn start(address: BusAddress, happenings: Happenings, outbox: Outbox) -> Bus {
    start_with(address, happenings, outbox, Times::default()).await
}

async fn start_with(
    address: BusAddress,
    happenings: Happenings,
    outbox: Outbox,
    times: Times,
) -> Bus {
    let (leave, left) = oneshot::channel();
    let (tried, first) = oneshot::channel();
    let bus = Endless {
        address,
        port: Port::new(happenings),
        outbox,
        times,
    };
    let task = tokio::spawn(bus.run(left, tried));
    if timeout(times.first, first).await.is_err() {
        tracing::warn!("the bus does not answer, going on without it");
    }
    Bus { leave, task }
}

impl Bus {
    /// Gives the name back, answers the calls that were sent before, and closes. The main loop must go on answering while
    /// this is awaited; it takes some seconds at most.
    pub(crate) async fn leave(self) {
        let _ = self.leave.send(());
        // It ends by returning; a panic was reported when it happened.
        let _ = self.task.await;
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// The first attempt may hold up the start.
    first: Duration,
    /// An attempt to get on the bus.
    attempt: Duration,
    /// Pause after a failure: it doubles each time.
    pause: Duration,
    longest_pause: Duration,
    /// systemd, for a client's unit.
    unit: Duration,
    /// What is left to do when leaving.
    farewell: Duration,
    polkit: Patience,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            attempt: Duration::from_secs(30),
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            unit: Duration::from_secs(5),
            farewell: Duration::from_secs(2),
            polkit: Patience::default(),
        }
    }
}

/// Why the bus is not served any more.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the name {SERVICE} is taken")]
    Taken,
    #[error("the name {SERVICE} was taken away")]
    TakenAway,
    #[error("the bus closed the connection")]
    Closed,
    #[error("the bus does not answer")]
    Silent,
    #[error(transparent)]
    Bus(zbus::Error),
}

impl From<zbus::Error> for Lost {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::NameTaken => Self::Taken,
            error => Self::Bus(error),
        }
    }
}

/// Tries again and again.
struct Endless {
    address: BusAddress,
    port: Port,
    outbox: Outbox,
    times: Times,
}

impl Endless {
    async fn run(self, left: oneshot::Receiver<()>, tried: oneshot::Sender<()>) {
        let mut left = Some(left);
        let mut tried = Some(tried);
        let mut pause = self.times.pause;
        let mut outage_said = false;
        loop {
            let attempt = timeout(self.times.attempt, self.connect());
            let attempt = tokio::select! {
                attempt = attempt => attempt.unwrap_or(Err(Lost::Silent)),
                _ = departure(&mut left) => return,
            };
            let _ = tried.take().map(|tried| tried.send(()));
            let lost = match attempt {
                Ok(mut served) => {
                    tracing::info!(name = SERVICE, "on the bus");
                    (pause, outage_said) = (self.times.pause, false);
                    let end = tokio::select! {
                        lost = served.run() => Some(lost),
                        _ = departure(&mut left) => None,
                    };
                    if end.is_none() {
                        served.farewell(self.times.farewell).await;
                    }
                    // A hung bus must not hold this up; what is closed by dropping it is closed as well.
                    let _ = timeout(self.times.farewell, served.connection.close()).await;
                    self.outbox.rewind();
                    let Some(lost) = end else { return };
                    lost
                }
                Err(lost) => lost,
            };
            match std::mem::replace(&mut outage_said, true) {
                false => tracing::warn!(error = %lost, "not on the bus, trying again"),
                true => tracing::debug!(error = %lost, "still not on the bus"),
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = departure(&mut left) => return,
            }
            pause = (pause * 2).min(self.times.longest_pause);
        }
    }

    /// Connects, serves all objects, then asks for the name, so that who sees the name finds the objects.
    async fn connect(&self) -> Result<OnBus, Lost> {
        let builder = match &self.address {
            BusAddress::System => Builder::system(),
            BusAddress::At(address) => Builder::address(address.as_str()),
        };
        let connection = builder.build().await?;
        let calls = Calls::new(CALLS);
        let port = || self.port.clone();
        let outbox = || self.outbox.clone();
        let authority = Authority::new(&connection, port(), self.times.polkit).await?;
        let manager = Manager::new(port(), Arc::new(authority), outbox());
        let objects = Objects::new(port(), outbox(), manager.clone());
        let server = connection.object_server();
        let served = Served::new(objects.clone(), calls.clone());
        server.at(ROOT, served).await?;
        tree::plant(server, &self.port, &objects, &calls).await?;
        server
            .at(MANAGER, Served::new(manager, calls.clone()))
            .await?;
        self.outbox.rewind();
        let mut publisher = Publisher::new(&connection, outbox(), port(), calls.clone());
        publisher.begin().await?;
        let units = Units::new(&connection, outbox(), port(), self.times.unit).await?;
        let bus = DBusProxy::builder(&connection).cache_properties(CacheProperties::No);
        let lost = bus.build().await?.receive_name_lost().await?;
        connection.request_name(SERVICE).await?;
        Ok(OnBus {
            connection,
            calls,
            publisher,
            units,
            lost,
        })
    }
}

/// Waits to be told to leave. A handle that was dropped tells nothing.
async fn departure(left: &mut Option<oneshot::Receiver<()>>) {
    if let Some(told) = left {
        if told.await.is_ok() {
            return;
        }
        *left = None;
    }
    std::future::pending().await
}

/// One connection, with the name.
struct OnBus {
    connection: Connection,
    calls: Calls,
    publisher: Publisher,
    units: Units,
    lost: NameLostStream,
}

impl OnBus {
    async fn run(&mut self) -> Lost {
        let lost = &mut self.lost;
        let name_lost = async {
            loop {
                let signal = poll_fn(|context| Pin::new(&mut *lost).poll_next(context)).await;
                let Some(signal) = signal else {
                    return Lost::Closed;
                };
                if signal.args().is_ok_and(|args| args.name == SERVICE) {
                    return Lost::TakenAway;
                }
            }
        };
        tokio::select! {
            () = self.connection.closed() => Lost::Closed,
            lost = name_lost => lost,
            end = self.publisher.run() => end.err().map_or(Lost::Closed, Lost::from),
            () = self.units.run() => Lost::Closed,
        }
    }

    /// From now on the name is free for the next daemon; who called this one before is answered.
    async fn farewell(&self, limit: Duration) {
        let answered = async {
            self.connection.release_name(SERVICE).await?;
            // zbus has queued by now what was sent before. Its task needs turns, not time, to begin with all of it.
            for _ in 0..DISPATCH_TURNS {
                yield_now().await;
            }
            self.calls.empty().await;
            Ok::<_, zbus::Error>(())
        };
        match timeout(limit, answered).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot leave the bus in order, ignoring"),
            Err(_) => tracing::debug!("calls are unanswered, leaving the bus"),
        }
    }
}

/// Taking a call from the queue, and beginning with it; doubled, and again.
const DISPATCH_TURNS: usize = 8;
/// Calls in flight. One user may have 256 connections, and leaves places for others even with one call on each.
const CALLS: Places = Places {
    per_key: 16,
    total: 128,
    firsts: 384,
};
