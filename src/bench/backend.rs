//! The same work on an own VkDevice or through the daemon: what an arm measures differs in nothing else.

mod daemon;
mod direct;

use crate::alloc::Contents;
use crate::error::Error;
use crate::shader::Shader;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use vkmps::Priority;

pub(crate) use direct::{open as open_device, pipeline};

/// Where a worker process computes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// On a VkDevice of its own, as programs do today.
    Direct { device: Option<usize>, wait: Wait },
    /// As a client of the daemon on this socket.
    Daemon { socket: PathBuf, terms: Terms },
}

/// What a client asks of the daemon when it connects.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) priority: Rank,
    /// The most of the device's time that it is to get.
    pub(crate) percent: Option<u8>,
}

impl Terms {
    /// What the client reads from its environment.
    pub(crate) fn environment(&self) -> Option<(&'static str, String)> {
        let percent = self.percent?;
        Some(("VKMPS_ACTIVE_THREAD_PERCENTAGE", percent.to_string()))
    }
}

/// A priority that can be passed to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Rank {
    Low,
    #[default]
    Medium,
    High,
    Realtime,
}

impl From<Rank> for Priority {
    fn from(rank: Rank) -> Self {
        match rank {
            Rank::Low => Self::Low,
            Rank::Medium => Self::Medium,
            Rank::High => Self::High,
            Rank::Realtime => Self::Realtime,
        }
    }
}

impl Place {
    /// The same with a priority; an own device has none.
    pub(crate) fn ranked(&self, priority: Rank) -> Self {
        self.with(Terms {
            priority,
            ..Terms::default()
        })
    }

    /// The same on other terms; an own device has none.
    pub(crate) fn with(&self, terms: Terms) -> Self {
        match self {
            Self::Daemon { socket, .. } => Self::Daemon {
                socket: socket.clone(),
                terms,
            },
            Self::Direct { .. } => self.clone(),
        }
    }
}

/// How an own device is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// In the driver.
    Block,
    /// By asking again and again.
    Poll,
}

/// Where a buffer lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residence {
    /// With the device.
    Device,
    /// Mapped by the host.
    Shared,
}

/// A compiled shader of one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramId(usize);

/// A buffer of one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferId(usize);

/// An ordered queue of work of one backend, with at most one submit in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane(pub(crate) usize);

/// One dispatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    pub(crate) program: ProgramId,
    pub(crate) groups: [u32; 3],
    pub(crate) push: &'a [u8],
    /// In the order of the shader's bindings.
    pub(crate) buffers: &'a [BufferId],
}

/// What a worker needs of a device.
pub(crate) trait Backend {
    fn program(&mut self, shader: &'static Shader) -> Result<ProgramId, Error>;

    fn buffer(&mut self, bytes: u64, residence: Residence) -> Result<BufferId, Error>;

    /// Fills the first bytes; nothing in flight uses the buffer.
    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error>;

    /// The first bytes; nothing in flight writes the buffer.
    fn read(&mut self, buffer: BufferId, bytes: &mut [u8]) -> Result<(), Error>;

    /// Starts work on a lane that has none in flight.
    fn submit(&mut self, lane: Lane, work: &Work<'_>) -> Result<(), Error>;

    /// Returns when the lane's work is complete.
    fn wait(&mut self, lane: Lane) -> Result<(), Error>;

    /// Submits and waits the cheapest way there is.
    fn run(&mut self, work: &Work<'_>) -> Result<(), Error>;

    /// Copies the first bytes of one buffer to another on the device, and waits.
    fn copy(&mut self, from: BufferId, to: BufferId, bytes: u64) -> Result<(), Error>;

    /// Allocates device memory and gives it back.
    fn allocate_and_free(&mut self, bytes: u64, contents: Contents) -> Result<(), Error>;

    /// Whether the host writes where the device reads, so that nothing needs to be copied.
    fn is_mapped(&self, buffer: BufferId) -> bool;
}

/// Opens the device, or connects.
pub(crate) fn open(place: &Place) -> Result<Box<dyn Backend>, Error> {
    Ok(match place {
        Place::Direct { device, wait } => Box::new(direct::Direct::open(*device, *wait)?),
        Place::Daemon { socket, terms } => Box::new(daemon::Daemon::connect(socket, *terms)?),
    })
}
