//! Which work goes to the device next: a pure state machine without clock, socket or Vulkan.
//!
//! Work comes as *jobs* (submits) of *streams* (ordered); it leaves as *launches*: one or more *levels* for one hardware
//! queue. A level is one command buffer whose jobs do not depend on each other, so that the device runs them together;
//! levels of a queue run one after another, each with its own completion. That is the heart of sharing one device:
//! command buffers of one queue do not overlap on real hardware, dispatches inside one command buffer without a barrier do.
//!
//! * A stream with work in flight is bound to the queue that has it: the next job goes into a later level there.
//! * Jobs of one stream share a level only while their byte ranges do not conflict.
//! * A queue that is idle gets work at once; while others are busy and submits come quickly it first waits, for
//!   microseconds, for a batch that is worth a launch. A queue that is busy collects: a second launch rides behind the
//!   first only for bound streams, when levels are long, or when unbound streams were passed over for long; work that
//!   outranks all that the queue has does not wait.
//! * The only queue of a device waits a moment for a client whose turn it is and who usually submits again at once.
//! * Jobs of several stages (with barriers inside) share levels among themselves, not with plain ones, which they
//!   would hold up.
//!
//! Priorities order the candidates of a launch. While somebody of a higher priority is there, or was a second ago, all
//! lower ones together have two *slices* in flight, levels of bounded length: that is what the higher one may have to wait
//! for. Long jobs are cut into *pieces* for that, ranges of their work units, and among clients of one priority too. A
//! lower priority that was passed over gets a level now and then, so that none starves.
//!
//! Within a priority users have shares of the device's time by weight, and so have the clients of a user: what they are
//! served is charged to them as [`Work`] of its kind usually takes with the device for itself, and corrected by what it
//! took. Jobs of similar length share a level; one of unknown length has its first for itself. Caps are duty cycles of
//! that same time, reserves come before everything, a REALTIME user who exceeds its budget runs as HIGH for a while.
#![forbid(unsafe_code)]

mod account;
mod ageing;
mod bucket;
mod completion;
mod cost;
mod device;
mod event;
mod fair;
mod fill;
mod hazard;
mod lanes;
mod launch;
mod level;
mod policy;
mod pool;
mod probe;
mod ranking;
mod share;
#[cfg(test)]
mod simulation;
mod stream;
mod take;
#[cfg(test)]
mod tests;

use ageing::Ageing;
use cost::Priors;
pub use cost::Work;
use device::{DeviceTime, Queue};
pub use event::{Action, ClientKey, Input, JobKey, Level, Order, Piece, StreamKey};
pub use hazard::Hazard;
pub use lanes::Lanes;
use level::Launched;
pub use policy::{Policy, Realtime, Share, Slices};
use probe::Probe;
use share::{LANES, Shares};
use std::time::Duration;
use stream::{Listed, Pending, Stream};
use vkmps_protocol::message::Priority;

/// Properties of the device that matter here.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hardware queues. Those of a priority are kept for it while there is work of it; higher ones may use them, too.
    pub lanes: Lanes,
    /// Jobs of a level at most.
    pub level_jobs: usize,
    /// A launch takes at least this many jobs, if there are, before work is spread over further queues.
    pub spread_jobs: usize,
    /// How long a smaller number of jobs waits for company while other queues are busy and jobs come quickly.
    pub gather: Duration,
    /// How long pieces may be.
    pub slices: Slices,
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    streams: Vec<Stream>,
    free: Vec<u32>,
    shares: Shares,
    priors: Priors,
    queues: Vec<Queue>,
    device: DeviceTime,
    lanes: [Ageing; LANES],
    /// Levels in flight by the priority of their first job.
    in_flight: [usize; LANES],
    /// Device time that was foreseen for all levels in flight.
    in_flight_ns: u64,
    /// And for the level that was built last.
    level_cost_ns: u64,
    /// Moving average of a level's time on the device.
    level_time: Duration,
    /// Moving average of how much longer work takes than with the device for itself, in 256ths.
    slowdown: u64,
    probe: Probe,
    /// Grows whenever another client is served than before.
    turn: u64,
    served: Option<ClientKey>,
    spare_pieces: Vec<Vec<Piece>>,
    spare_launched: Vec<Vec<Launched>>,
    /// Scratch of [`level::Builder`].
    scratch: Vec<Hazard>,
    waiting: usize,
    /// Moving average of the time between two submits.
    arrival_gap: Duration,
    last_arrival: Duration,
    /// Since when the common lanes have work that waits for company.
    waiting_since: Option<Duration>,
    /// Since when the device waits for somebody who is behind.
    holding_since: Option<Duration>,
    /// Since when no launch took anything from the common lanes although they have work.
    hungry_since: Option<Duration>,
}

impl Scheduler {
    /// Nothing queued, nothing in flight.
    pub fn new(config: Config) -> Self {
        assert!(config.level_jobs >= 1);
        let queues = (0..config.lanes.queues()).map(|_| Queue::default());
        let queues = queues.collect();
        Self {
            config,
            streams: Vec::new(),
            free: Vec::new(),
            shares: Shares::default(),
            priors: Priors::default(),
            queues,
            device: DeviceTime::default(),
            lanes: Default::default(),
            in_flight: [0; LANES],
            in_flight_ns: 0,
            level_cost_ns: 0,
            // Unknown work is taken for long until it has shown to be short.
            level_time: LONG_LEVEL,
            slowdown: 256,
            probe: Probe::default(),
            turn: 0,
            served: None,
            spare_pieces: Vec::new(),
            spare_launched: Vec::new(),
            scratch: Vec::new(),
            waiting: 0,
            arrival_gap: SLOW_ARRIVALS * 16,
            last_arrival: Duration::ZERO,
            waiting_since: None,
            holding_since: None,
            hungry_since: None,
        }
    }

    /// A slot for a new client of a user.
    pub fn join(&mut self, uid: u32, priority: Priority) -> ClientKey {
        self.shares.join(uid, priority)
    }

    /// A slot for a new stream of a client that has not left.
    pub fn open(&mut self, client: ClientKey) -> StreamKey {
        self.shares.stream_opened(client);
        if let Some(slot) = self.free.pop() {
            self.streams[slot as usize] = Stream::new(client);
            return StreamKey(slot);
        }
        let slot = u32::try_from(self.streams.len()).expect("sessions times streams is below 2^32");
        self.streams.push(Stream::new(client));
        StreamKey(slot)
    }

    /// Jobs of which anything is not in flight yet.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Levels in flight on a queue.
    pub fn in_flight(&self, queue: usize) -> usize {
        self.queues[queue].levels.len()
    }

    /// Takes an input in. Launches come from [`Self::launch`], so that several inputs share one.
    pub fn handle(&mut self, input: Input<'_>, now: Duration, actions: &mut Vec<Action>) {
        self.shares.now_ns = ns(now);
        match input {
            Input::Submitted {
                stream,
                job,
                hazards,
                order,
                stages,
                work,
            } => {
                self.waiting += 1;
                self.arrived(now);
                let state = &mut self.streams[stream.0 as usize];
                let client = state.client;
                let units = work.units.max(1);
                let work = Work { units, ..work };
                let kind = self
                    .shares
                    .client_mut(client)
                    .costs
                    .kind(work, &self.priors);
                let job = Pending {
                    job,
                    hazards: hazards.len(),
                    order,
                    stages,
                    work,
                    kind,
                    done: 0,
                };
                state.push(job, hazards);
                self.shares.job_queued(client);
                self.list(stream);
            }
            Input::LevelCompleted { queue, took } => self.completed(queue, took, now, actions),
            Input::PriorityChanged { client, priority } => {
                self.shares.set_priority(client, priority);
            }
            Input::ClientShare { client, share } => self.shares.set_share(client, share),
            Input::ClientPool { client, pool, cap } => self.shares.set_pool(client, pool, cap),
            Input::UserShare { uid, share } => self.shares.set_user_share(uid, share),
            Input::PolicyChanged(policy) => self.shares.set_policy(policy),
            Input::Left { client } => self.shares.leave(client),
            Input::Closed { stream } => self.close(stream, actions),
        }
    }

    fn close(&mut self, key: StreamKey, actions: &mut Vec<Action>) {
        let stream = &mut self.streams[key.0 as usize];
        stream.closed = true;
        while let Some(job) = stream.pop() {
            self.waiting -= 1;
            self.shares.job_over(stream.client);
            actions.push(Action::Dropped(job));
        }
        if std::mem::replace(&mut stream.listed, Listed::No) == Listed::Lane {
            self.shares.forget_stream(stream.client, key);
        }
        self.release(key);
    }

    fn arrived(&mut self, now: Duration) {
        let gap = now
            .saturating_sub(self.last_arrival)
            .min(SLOW_ARRIVALS * 16);
        self.last_arrival = now;
        self.arrival_gap = (self.arrival_gap * 15 + gap) / 16;
    }

    /// Puts a stream with work where the next launch finds it.
    fn list(&mut self, key: StreamKey) {
        let stream = &mut self.streams[key.0 as usize];
        if stream.is_empty() {
            return;
        }
        match (stream.queue, stream.listed) {
            (Some(queue), Listed::No | Listed::Lane) => {
                stream.listed = Listed::Bound(queue);
                stream.entry = stream.entry.wrapping_add(1);
                let lane = self.shares.lane(stream.client);
                self.queues[queue].bound[lane].push_back((key, stream.entry));
            }
            (None, Listed::No | Listed::Bound(_)) => {
                stream.listed = Listed::Lane;
                self.shares.push_stream(stream.client, key);
            }
            _ => {}
        }
    }

    /// Gives a closed stream's slot back once nothing of it is in flight.
    fn release(&mut self, key: StreamKey) {
        let stream = &mut self.streams[key.0 as usize];
        if stream.closed && stream.in_flight == 0 && !stream.released {
            stream.released = true;
            stream.listed = Listed::No;
            let client = stream.client;
            // Stale entries would be taken for those of who has the slot next; they are few and rare.
            for bound in self.queues.iter_mut().flat_map(|queue| &mut queue.bound) {
                bound.retain(|(other, _)| *other != key);
            }
            self.free.push(key.0);
            self.shares.stream_closed(client);
        }
    }

    /// Returns a level's list for reuse.
    pub fn recycle(&mut self, level: Level) {
        let mut pieces = level.pieces;
        pieces.clear();
        if self.spare_pieces.len() < SPARE {
            self.spare_pieces.push(pieces);
        }
    }
}

/// Centuries fit.
fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// From here on the gap of about 15 us between two launches no longer matters, so collecting while one runs costs more
/// latency than it gains in width; measured on an H200 and on lavapipe.
const LONG_LEVEL: Duration = Duration::from_micros(250);

/// Submits that are further apart than this are not worth waiting for.
const SLOW_ARRIVALS: Duration = Duration::from_micros(8);

/// Lists that are kept for reuse.
const SPARE: usize = 64;
