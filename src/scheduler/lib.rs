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
//! Priorities order the candidates of a launch; each lower one keeps a place in it, so that none starves. Weights, caps
//! and slices build on this.
#![forbid(unsafe_code)]

mod hazard;
mod lanes;
mod level;
#[cfg(test)]
mod simulation;
mod stream;
#[cfg(test)]
mod tests;

pub use hazard::Hazard;
pub use lanes::Lanes;
use level::Builder;
use std::collections::VecDeque;
use std::time::Duration;
use stream::{Listed, Stream};
use vkmps_protocol::message::Priority;

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
    },
    /// The oldest level of a queue has completed.
    LevelCompleted {
        /// Which queue.
        queue: usize,
    },
    /// The stream's work has another priority from now on, what is queued included.
    PriorityChanged {
        /// Which.
        stream: StreamKey,
        /// Its lane.
        priority: Priority,
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
    Retired(JobKey),
    /// A job of a closed stream will never run.
    Dropped(JobKey),
}

/// Jobs that run together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// In the order of submission within each stream.
    pub jobs: Vec<JobKey>,
    /// Most stages of any of its jobs.
    pub stages: u32,
}

/// Properties of the device that matter here.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Hardware queues, at least 1.
    pub queues: usize,
    /// Jobs of a level at most.
    pub level_jobs: usize,
    /// A launch takes at least this many jobs, if there are, before work is spread over further queues.
    pub spread_jobs: usize,
    /// How long a smaller number of jobs waits for company while other queues are busy and jobs come quickly.
    pub gather: Duration,
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    streams: Vec<Stream>,
    free: Vec<u32>,
    /// Streams that are bound to no queue and have work, by priority.
    lanes: [VecDeque<StreamKey>; LANES],
    queues: Vec<Queue>,
    /// Moving average of a level's time on the device.
    level_time: Duration,
    spare: Vec<Vec<JobKey>>,
    waiting: usize,
    /// Moving average of the time between two submits.
    arrival_gap: Duration,
    last_arrival: Duration,
    /// Since when the common lanes have work that waits for company.
    waiting_since: Option<Duration>,
    /// Since when no launch took anything from the common lanes although they have work.
    hungry_since: Option<Duration>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Levels in flight, oldest first.
    levels: VecDeque<InFlight>,
    launches: usize,
    /// Streams that are bound to this queue and have more work.
    bound: VecDeque<StreamKey>,
    /// When the level that runs now can have begun.
    begun: Duration,
}

#[derive(Debug)]
struct InFlight {
    jobs: Vec<(JobKey, StreamKey)>,
    last_of_launch: bool,
}

impl Scheduler {
    /// Nothing queued, nothing in flight.
    pub fn new(config: Config) -> Self {
        assert!(config.queues >= 1 && config.level_jobs >= 1);
        let queues = (0..config.queues).map(|_| Queue::default()).collect();
        Self {
            config,
            streams: Vec::new(),
            free: Vec::new(),
            lanes: Default::default(),
            queues,
            // Unknown work is taken for long until it has shown to be short.
            level_time: LONG_LEVEL,
            spare: Vec::new(),
            waiting: 0,
            arrival_gap: SLOW_ARRIVALS * 16,
            last_arrival: Duration::ZERO,
            waiting_since: None,
            hungry_since: None,
        }
    }

    /// A slot for a new stream.
    pub fn open(&mut self, priority: Priority) -> StreamKey {
        if let Some(slot) = self.free.pop() {
            self.streams[slot as usize] = Stream::new(priority);
            return StreamKey(slot);
        }
        let slot = u32::try_from(self.streams.len()).expect("sessions times streams is below 2^32");
        self.streams.push(Stream::new(priority));
        StreamKey(slot)
    }

    /// Jobs that are queued and not in flight.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Levels in flight on a queue.
    pub fn in_flight(&self, queue: usize) -> usize {
        self.queues[queue].levels.len()
    }

    /// Takes an input in. Launches come from [`Self::launch`], so that several inputs share one.
    pub fn handle(&mut self, input: Input<'_>, now: Duration, actions: &mut Vec<Action>) {
        match input {
            Input::Submitted {
                stream,
                job,
                hazards,
                order,
                stages,
            } => {
                self.waiting += 1;
                self.arrived(now);
                self.streams[stream.0 as usize].push(job, hazards, order, stages);
                self.list(stream);
            }
            Input::LevelCompleted { queue } => self.completed(queue, now, actions),
            Input::PriorityChanged { stream, priority } => self.change_priority(stream, priority),
            Input::Closed { stream } => {
                let state = &mut self.streams[stream.0 as usize];
                state.closed = true;
                while let Some(job) = state.pop() {
                    self.waiting -= 1;
                    actions.push(Action::Dropped(job));
                }
                self.release(stream);
            }
        }
    }

    /// Moves a stream to another lane. What binds it to a queue goes before the lanes either way.
    fn change_priority(&mut self, key: StreamKey, priority: Priority) {
        let stream = &mut self.streams[key.0 as usize];
        let before = std::mem::replace(&mut stream.priority, priority);
        if before != priority && stream.listed == Listed::Lane {
            self.lanes[before as usize].retain(|other| *other != key);
            self.lanes[priority as usize].push_back(key);
        }
    }

    /// Fills queues that want work.
    pub fn launch(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.waiting == 0 {
            return;
        }
        for queue in 0..self.queues.len() {
            let launches = self.queues[queue].launches;
            match launches {
                0 if self.gathers(now) => {}
                0 => self.fill(queue, true, now, actions),
                1 => {
                    let long = self.level_time >= LONG_LEVEL && !self.idle_queue();
                    let lanes = self.is_hungry(now) || long;
                    self.fill(queue, lanes, now, actions);
                }
                _ => {}
            }
        }
    }

    fn arrived(&mut self, now: Duration) {
        let gap = now
            .saturating_sub(self.last_arrival)
            .min(SLOW_ARRIVALS * 16);
        self.last_arrival = now;
        self.arrival_gap = (self.arrival_gap * 15 + gap) / 16;
    }

    /// Whether an idle queue waits a little for more: each launch costs the engine and the device a fixed time, so many
    /// small ones are slower than few larger ones. Only while others keep the device busy and company is near.
    fn gathers(&mut self, now: Duration) -> bool {
        let ready: usize = self.lanes.iter().map(VecDeque::len).sum();
        if ready == 0 {
            return false;
        }
        let since = *self.waiting_since.get_or_insert(now);
        let busy = self.queues.iter().any(|queue| queue.launches > 0);
        let gathers = busy
            && ready < self.config.spread_jobs
            && self.arrival_gap < SLOW_ARRIVALS
            && now.saturating_sub(since) < self.config.gather;
        if !gathers {
            self.waiting_since = None;
        }
        gathers
    }

    /// Whether work waits for company, with a queue idle: [`Self::launch`] is to be called again soon, no event tells when.
    pub fn gathering(&self) -> bool {
        self.waiting_since.is_some() && self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Whether the common lanes were passed over for long: streams that never run dry would keep every queue to themselves.
    fn is_hungry(&mut self, now: Duration) -> bool {
        if self.lanes.iter().all(VecDeque::is_empty) {
            self.hungry_since = None;
            return false;
        }
        now.saturating_sub(*self.hungry_since.get_or_insert(now)) >= HUNGER
    }

    fn idle_queue(&self) -> bool {
        self.queues.iter().any(|queue| queue.launches == 0)
    }

    /// Builds one launch for a queue from its bound streams and, where `lanes`, from the common ones.
    fn fill(&mut self, queue: usize, lanes: bool, now: Duration, actions: &mut Vec<Action>) {
        let share = if lanes { self.share() } else { 0 };
        let rounds = if self.level_time >= LONG_LEVEL {
            1
        } else {
            SHORT_LEVELS
        };
        let hungry = lanes && self.is_hungry(now);
        let mut levels = Vec::new();
        for round in 0..rounds {
            let share = if round == 0 { share } else { 0 };
            let level = self.level(queue, share, hungry);
            let Some((level, jobs)) = level else { break };
            self.waiting -= jobs.len();
            self.queues[queue].levels.push_back(InFlight {
                jobs,
                last_of_launch: false,
            });
            levels.push(level);
        }
        if let Some(last) = self.queues[queue]
            .levels
            .back_mut()
            .filter(|_| !levels.is_empty())
        {
            last.last_of_launch = true;
            let queue_state = &mut self.queues[queue];
            if queue_state.launches == 0 {
                queue_state.begun = now;
            }
            queue_state.launches += 1;
            actions.push(Action::Launch { queue, levels });
        }
    }

    /// Streams of the common lanes that one launch takes: all for one queue while they are few, else an equal part.
    fn share(&self) -> usize {
        let ready: usize = self.lanes.iter().map(VecDeque::len).sum();
        let idle = self
            .queues
            .iter()
            .filter(|queue| queue.launches == 0)
            .count()
            .max(1);
        ready.div_ceil(idle).max(self.config.spread_jobs)
    }

    /// One level: heads of streams, and what follows them without a conflict. Bound streams come first, unless the
    /// common ones are hungry.
    fn level(
        &mut self,
        queue: usize,
        share: usize,
        hungry: bool,
    ) -> Option<(Level, Vec<(JobKey, StreamKey)>)> {
        let mut builder =
            Builder::new(self.config.level_jobs, self.spare.pop().unwrap_or_default());
        if hungry {
            // Stale entries of streams that are common now would be taken for new ones after these are bound again.
            let streams = &self.streams;
            self.queues[queue]
                .bound
                .retain(|key| streams[key.0 as usize].listed == Listed::Bound(queue));
        }
        // A stream is taken from once: what it has left binds it to the queue, behind these.
        let bound = self.queues[queue].bound.len();
        if hungry {
            self.take_common(queue, share, &mut builder);
            self.take_bound(queue, bound, &mut builder);
        } else {
            self.take_bound(queue, bound, &mut builder);
            self.take_common(queue, share, &mut builder);
        }
        builder.finish()
    }

    /// The first `bound` streams of those bound to the queue.
    fn take_bound(&mut self, queue: usize, mut bound: usize, builder: &mut Builder) {
        while bound > 0 && !builder.is_full() {
            bound -= 1;
            let Some(key) = self.queues[queue].bound.pop_front() else {
                break;
            };
            if self.streams[key.0 as usize].listed == Listed::Bound(queue) {
                self.take(key, queue, builder);
            }
        }
    }

    /// At most `share` streams of the common lanes.
    fn take_common(&mut self, queue: usize, share: usize, builder: &mut Builder) {
        let mut left = share;
        for lane in (0..LANES).rev() {
            let mut candidates = self.lanes[lane].len();
            // A flood of a higher priority leaves each lower lane one stream of every launch: nobody starves.
            let lower = self.lanes[..lane].iter();
            let reserved = lower.filter(|lane| !lane.is_empty()).count();
            let mut left_here = left.saturating_sub(reserved).max(1).min(left);
            builder.keep_free(reserved);
            while candidates > 0 && left_here > 0 && !builder.is_full() {
                candidates -= 1;
                let Some(key) = self.lanes[lane].pop_front() else {
                    break;
                };
                if self.streams[key.0 as usize].listed == Listed::Lane {
                    left -= 1;
                    left_here -= 1;
                    if self.take(key, queue, builder) > 0 {
                        self.hungry_since = None;
                    }
                }
            }
        }
    }

    /// Moves what fits from a stream into the level, and says how much; the stream is listed again if work is left.
    fn take(&mut self, key: StreamKey, queue: usize, builder: &mut Builder) -> usize {
        let stream = &mut self.streams[key.0 as usize];
        stream.listed = Listed::No;
        let taken = builder.take(key, stream);
        if taken > 0 {
            stream.queue = Some(queue);
            stream.in_flight += taken;
        }
        self.list(key);
        taken
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
                self.queues[queue].bound.push_back(key);
            }
            (None, Listed::No | Listed::Bound(_)) => {
                stream.listed = Listed::Lane;
                self.lanes[stream.priority as usize].push_back(key);
            }
            _ => {}
        }
    }

    fn completed(&mut self, queue: usize, now: Duration, actions: &mut Vec<Action>) {
        let state = &mut self.queues[queue];
        let Some(level) = state.levels.pop_front() else {
            return;
        };
        let time = now.saturating_sub(state.begun);
        state.begun = now;
        if level.last_of_launch {
            state.launches -= 1;
        }
        self.level_time = (self.level_time * 7 + time) / 8;
        for (job, key) in level.jobs {
            actions.push(Action::Retired(job));
            let stream = &mut self.streams[key.0 as usize];
            stream.in_flight -= 1;
            if stream.in_flight == 0 {
                stream.queue = None;
                self.list(key);
                self.release(key);
            }
        }
    }

    /// Gives a closed stream's slot back once nothing of it is in flight.
    fn release(&mut self, key: StreamKey) {
        let stream = &mut self.streams[key.0 as usize];
        if stream.closed && stream.in_flight == 0 && !stream.released {
            stream.released = true;
            stream.listed = Listed::No;
            // Stale entries of lanes would make a reused slot appear twice; they are few and rare.
            for lane in &mut self.lanes {
                lane.retain(|other| *other != key);
            }
            for queue in &mut self.queues {
                queue.bound.retain(|other| *other != key);
            }
            self.free.push(key.0);
        }
    }

    /// Returns a level's list for reuse.
    pub fn recycle(&mut self, level: Level) {
        let mut jobs = level.jobs;
        jobs.clear();
        if self.spare.len() < 64 {
            self.spare.push(jobs);
        }
    }
}

const LANES: usize = 4;

/// From here on the gap of about 15 us between two launches no longer matters, so collecting while one runs costs more
/// latency than it gains in width; measured on an H200 and on lavapipe.
const LONG_LEVEL: Duration = Duration::from_micros(250);

/// Submits that are further apart than this are not worth waiting for.
const SLOW_ARRIVALS: Duration = Duration::from_micros(8);

/// As long as the levels of one launch may take while they are short: by then a queue of ordinary streams was idle once.
const HUNGER: Duration = Duration::from_millis(1);

/// Levels of one launch while they are short: a chain of dependent jobs then costs one submission to the driver.
const SHORT_LEVELS: usize = 4;
