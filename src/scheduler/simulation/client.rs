//! What simulated clients do.

use crate::{ClientKey, Share, StreamKey};
use std::time::Duration;
use vkmps_protocol::message::Priority;

/// A job as the device sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// On an empty device.
    pub(super) time: Duration,
    /// Cores that it fills.
    pub(super) width: u32,
    /// Work units; pieces of it take their part of the time.
    pub(super) units: u64,
}

impl Kernel {
    pub(super) fn new(time: Duration, width: u32) -> Self {
        let units = UNITS;
        Self { time, width, units }
    }

    pub(super) fn piece(self, units: u64) -> Self {
        let part = self.time.as_secs_f64() * units as f64 / self.units as f64;
        let time = Duration::from_secs_f64(part);
        Self { time, ..self }
    }
}

/// Of usual grids.
const UNITS: u64 = 1000;

/// How a client behaves.
#[derive(Debug, Clone)]
pub(super) struct Behaviour {
    pub(super) uid: u32,
    pub(super) priority: Priority,
    pub(super) share: Share,
    /// With whom it has a cap together, and which.
    pub(super) pool: Option<(u64, u8)>,
    pub(super) streams: usize,
    /// Jobs of every stream that are not over, at most.
    pub(super) depth: usize,
    pub(super) pattern: Pattern,
    /// From a completion to the submit that follows from it.
    pub(super) think: Duration,
    /// In turn.
    pub(super) kernels: Vec<Kernel>,
    /// Whether jobs of a stream depend on each other.
    pub(super) chained: bool,
    pub(super) joins: Duration,
    pub(super) leaves: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A job that is over is followed by another.
    Steady,
    /// All of a stream's jobs are submitted at once, when those before are over.
    Bursts,
}

impl Behaviour {
    /// A client that submits and waits, from the start on.
    pub(super) fn waiting(time: Duration) -> Self {
        Self {
            uid: 0,
            priority: Priority::Medium,
            streams: 1,
            depth: 1,
            pattern: Pattern::Steady,
            think: Duration::from_micros(20),
            kernels: vec![Kernel::new(time, 1)],
            share: Share::default(),
            pool: None,
            chained: true,
            joins: Duration::ZERO,
            leaves: None,
        }
    }

    /// A client with always so many jobs waiting, each on a stream of its own.
    pub(super) fn busy(time: Duration, streams: usize) -> Self {
        Self {
            streams,
            ..Self::waiting(time)
        }
    }

    pub(super) fn of_user(self, uid: u32) -> Self {
        Self { uid, ..self }
    }

    pub(super) fn with(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }
}

/// A client and what came of it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: Option<ClientKey>,
    pub(super) behaviour: Behaviour,
    pub(super) streams: Vec<Stream>,
    pub(super) present: bool,
    /// Kernels taken from its list.
    pub(super) turns: usize,
    /// Time that its finished jobs would have taken on a device of its own.
    pub(super) work: Duration,
    /// The longest time from a submit to its end.
    pub(super) longest: Duration,
}

/// A stream and how far it is.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: StreamKey,
    pub(super) submitted: u32,
    pub(super) launched: u32,
    pub(super) retired: u32,
    /// Pieces.
    pub(super) in_flight: u32,
    /// Where these are.
    pub(super) queue: Option<usize>,
}

impl Client {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            key: None,
            behaviour,
            streams: Vec::new(),
            present: false,
            turns: 0,
            work: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// The kernel of its next submit, and which one of its list.
    pub(super) fn next_kernel(&mut self) -> (usize, Kernel) {
        let kernels = &self.behaviour.kernels;
        let turn = self.turns % kernels.len();
        self.turns += 1;
        (turn, kernels[turn])
    }
}
