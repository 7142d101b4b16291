//! What the scheduler is told, and what it asks for.

use crate::{Hazard, Policy, Share, Work};
use std::time::Duration;
use vkmps_protocol::message::Priority;

/// A client, by the slot that [`Scheduler::join`] gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u32);

/// A stream, by the slot that [`Scheduler::open`] gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u32);

/// A job, by the caller's own name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey(pub u32);

/// How jobs and commands of a stream are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By hazards: what conflicts keeps its order.
    Automatic,
    /// Only by the barriers inside a submit.
    Explicit,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A job was submitted to a stream.
    Submitted {
        /// Where.
        stream: StreamKey,
        /// What.
        job: JobKey,
        /// Byte ranges it touches.
        hazards: &'a [Hazard],
        /// Against its neighbours in the stream.
        order: Order,
        /// Parts separated by barriers; at least 1.
        stages: u32,
        /// What it runs, to foresee what it costs.
        work: Work,
    },
    /// The oldest level of a queue has completed.
    LevelCompleted {
        /// Which queue.
        queue: usize,
        /// From its start, or the end of the level before it, to its end; zero if it never ran.
        took: Duration,
    },
    /// The client's work has another priority from now on, what is queued included.
    PriorityChanged {
        /// Which.
        client: ClientKey,
        /// Its lane.
        priority: Priority,
    },
    /// The client has another share from now on.
    ClientShare {
        /// Which.
        client: ClientKey,
        /// Among its user's clients.
        share: Share,
    },
    /// The client has its cap together with all others of a pool, besides that of its own.
    ClientPool {
        /// Which.
        client: ClientKey,
        /// The pool's name; it is there while it has clients.
        pool: u64,
        /// Percent of the device's time for all of them together, 1 to 100.
        cap: Option<u8>,
    },
    /// A user has another share from now on, whether it has clients or not.
    UserShare {
        /// Which.
        uid: u32,
        /// Among all users.
        share: Share,
    },
    /// Other rules from now on.
    PolicyChanged(Policy),
    /// The client opens no stream any more; its slot is free when those that it has are gone.
    Left {
        /// Which.
        client: ClientKey,
    },
    /// The stream's owner is gone: what is not in flight is dropped, and the slot is free when nothing is in flight.
    Closed {
        /// Which.
        stream: StreamKey,
    },
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Record the levels and submit them together to a queue. Each ends in one [`Input::LevelCompleted`].
    Launch {
        /// Which queue.
        queue: usize,
        /// In order.
        levels: Vec<Level>,
    },
    /// A job is over. Reported in order within a stream.
    Retired {
        /// Which.
        job: JobKey,
        /// Its part of the device's time.
        device_time: Duration,
    },
    /// A job of a closed stream will never run, or not to its end.
    Dropped(JobKey),
    /// The client's user has used up its REALTIME budget: it runs as HIGH until [`Action::Restored`].
    Demoted(ClientKey),
    /// A new period of the budget has begun.
    Restored(ClientKey),
}

/// Pieces that run together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// In the order of submission within each stream.
    pub pieces: Vec<Piece>,
}

/// A range of a job's work units. Pieces of one job come in order, each in a later level of one queue than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which.
    pub job: JobKey,
    /// First unit.
    pub from: u64,
    /// First unit behind it.
    pub to: u64,
    /// Other clients were served since the piece before this one.
    pub preempted: bool,
    /// Nothing of the job is left.
    pub last: bool,
}
