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
//!   first only for bound streams, when levels are long, or when unbound streams were passed over for long.
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
mod bucket;
mod cost;
mod fair;
mod fill;
mod hazard;
mod lanes;
mod level;
mod policy;
mod ranking;
mod share;
#[cfg(test)]
mod simulation;
mod stream;
#[cfg(test)]
mod tests;

pub use cost::Work;
use cost::{Priors, Sample};
pub use hazard::Hazard;
pub use lanes::Lanes;
use level::Launched;
pub use policy::{Policy, Realtime, Share, Slices};
use share::{LANES, Shares};
use std::collections::VecDeque;
use std::time::Duration;
use stream::{Listed, Pending, Stream};
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
    /// Moving average of a level's time on the device.
    level_time: Duration,
    /// Moving average of how much longer jobs of known length take than that, in 256ths.
    slowdown: u64,
    probe: Probe,
    /// Grows whenever another client is served than before.
    turn: u64,
    served: Option<ClientKey>,
    spare: Vec<Vec<Piece>>,
    spare_launched: Vec<Vec<Launched>>,
    /// Scratch of [`level::Builder`].
    taken: Vec<Hazard>,
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

#[derive(Debug, Default)]
struct Queue {
    /// Levels in flight, oldest first.
    levels: VecDeque<InFlight>,
    launches: usize,
    /// Streams that are bound to this queue and have more work, by priority, with the number of their entry.
    bound: [VecDeque<(StreamKey, u32)>; LANES],
    /// When the level that runs now can have begun, and what the device's time was then.
    begun: Duration,
    begun_shared: Duration,
    /// No other queue was at work since then.
    alone: bool,
}

#[derive(Debug)]
struct InFlight {
    pieces: Vec<Launched>,
    lane: usize,
    /// Its only job is being measured.
    probe: bool,
    last_of_launch: bool,
}

/// Time of the device: jobs that run at the same time, on whichever queue, have equal parts of it.
#[derive(Debug, Default)]
struct DeviceTime {
    at: Duration,
    /// What one job would have had.
    time: Duration,
    /// Jobs of the first levels of all queues.
    jobs: u32,
    /// Queues at work.
    queues: usize,
}

/// Running one job alone now and then, to know its length: for one part in a hundred of the time at most.
#[derive(Debug, Default)]
struct Probe {
    /// Nothing is launched until nothing runs, since then.
    quiet_since: Option<Duration>,
    /// The job runs; the device was kept free for it since then.
    since: Option<Duration>,
    begins: bool,
    next: Duration,
}

/// How long a lane was passed over.
#[derive(Debug, Default, Clone, Copy)]
struct Ageing {
    since: Option<Duration>,
    /// When it is next to have a level although others come first.
    due: Duration,
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
            // Unknown work is taken for long until it has shown to be short.
            level_time: LONG_LEVEL,
            slowdown: 256,
            probe: Probe::default(),
            turn: 0,
            served: None,
            spare: Vec::new(),
            spare_launched: Vec::new(),
            taken: Vec::new(),
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
        self.shares.opened(client);
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
                self.shares.queued(client);
                self.list(stream);
            }
            Input::LevelCompleted { queue, took } => self.completed(queue, took, now, actions),
            Input::PriorityChanged { client, priority } => {
                self.shares.set_priority(client, priority);
            }
            Input::ClientShare { client, share } => self.shares.set_share(client, share),
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
            self.shares.over(stream.client);
            actions.push(Action::Dropped(job));
        }
        if std::mem::replace(&mut stream.listed, Listed::No) == Listed::Lane {
            self.shares.forget(stream.client, key);
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
                self.shares.push(stream.client, key);
            }
            _ => {}
        }
    }

    fn completed(
        &mut self,
        queue: usize,
        took: Duration,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let state = &mut self.queues[queue];
        let Some(level) = state.levels.pop_front() else {
            return;
        };
        self.device.advance(now);
        let jobs = u32::try_from(level.pieces.len()).unwrap_or(u32::MAX);
        let elapsed = now.saturating_sub(state.begun);
        let shared = self.device.time.saturating_sub(state.begun_shared) * jobs;
        (state.begun, state.begun_shared) = (now, self.device.time);
        let alone = state.alone;
        state.alone = self.device.queues == 1;
        if level.last_of_launch {
            state.launches -= 1;
        }
        self.in_flight[level.lane] -= 1;
        self.device.ended(jobs);
        match state.levels.front() {
            Some(next) => self.device.began(next.pieces.len()),
            None => self.device.queues -= 1,
        }
        self.level_time = (self.level_time * 7 + elapsed) / 8;
        if let Some(since) = self.probe.since.take_if(|_| level.probe) {
            self.probe.next = now + now.saturating_sub(since) * PROBE_PART;
        }
        // Of the time that the caller measured, what was not that of jobs on other queues.
        let part_ns = match shared < elapsed {
            true => part(ns(took), ns(shared), ns(elapsed)),
            false => ns(took),
        };
        let alone = alone && level.pieces.len() == 1;
        let mut pieces = level.pieces;
        self.settle(&pieces, ns(took), part_ns, alone, actions);
        pieces.clear();
        if self.spare_launched.len() < SPARE {
            self.spare_launched.push(pieces);
        }
    }

    /// Ends the pieces of a level, corrects what they were charged, and learns from what they took.
    fn settle(
        &mut self,
        pieces: &[Launched],
        level_ns: u64,
        part_ns: u64,
        alone: bool,
        actions: &mut Vec<Action>,
    ) {
        let lengths = pieces.iter().map(|piece| piece.length_ns).sum();
        self.note_slowdown(pieces, level_ns);
        for launched in pieces {
            let key = launched.stream;
            let client = self.streams[key.0 as usize].client;
            let part_ns = part(part_ns, launched.length_ns, lengths);
            if level_ns > 0 {
                let sample = Sample {
                    units: launched.piece.to - launched.piece.from,
                    part_ns,
                    level_ns,
                    alone,
                    slowdown: self.slowdown,
                };
                let costs = &mut self.shares.client_mut(client).costs;
                let own_ns = costs.learn(launched.kind, launched.whole, sample, &mut self.priors);
                let charge_ns = part(launched.charged_ns, own_ns, launched.length_ns);
                if charge_ns != launched.charged_ns {
                    let less_ns = i128::from(launched.charged_ns) - i128::from(charge_ns);
                    let less_ns = i64::try_from(less_ns).unwrap_or(i64::MIN);
                    self.shares.correct(client, less_ns);
                }
            }
            let stream = &mut self.streams[key.0 as usize];
            stream.in_flight -= 1;
            stream.spent_ns = stream.spent_ns.saturating_add(part_ns);
            if launched.piece.last {
                let device_time = Duration::from_nanos(std::mem::take(&mut stream.spent_ns));
                let job = launched.piece.job;
                actions.push(Action::Retired { job, device_time });
                self.shares.over(client);
            }
            let stream = &mut self.streams[key.0 as usize];
            if stream.in_flight == 0 {
                stream.queue = None;
                self.list(key);
                self.release(key);
            }
        }
    }

    fn note_slowdown(&mut self, pieces: &[Launched], level_ns: u64) {
        let Some(first) = pieces.first().filter(|first| first.length_ns > 0) else {
            return;
        };
        let client = self.streams[first.stream.0 as usize].client;
        if level_ns > 0 && self.shares.client(client).costs.is_measured(first.kind) {
            let now = (level_ns.saturating_mul(256) / first.length_ns).clamp(256, 256 * 256);
            self.slowdown = (self.slowdown * 7 + now) / 8;
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
            self.shares.closed(client);
        }
    }

    /// Returns a level's list for reuse.
    pub fn recycle(&mut self, level: Level) {
        let mut pieces = level.pieces;
        pieces.clear();
        if self.spare.len() < SPARE {
            self.spare.push(pieces);
        }
    }
}

impl DeviceTime {
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        if let Some(part) = passed.checked_div(self.jobs) {
            self.time += part;
        }
    }

    fn began(&mut self, jobs: usize) {
        self.jobs += u32::try_from(jobs).unwrap_or(u32::MAX);
    }

    fn ended(&mut self, jobs: u32) {
        self.jobs -= jobs;
    }
}

/// `value` times `part` over `whole`.
fn part(value: u64, part: u64, whole: u64) -> u64 {
    if part == whole {
        return value;
    }
    if let Some(product) = value.checked_mul(part) {
        return product / whole.max(1);
    }
    let scaled = u128::from(value) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
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

/// A job that was measured alone on the device pays for it with so many times the time.
const PROBE_PART: u32 = 100;
