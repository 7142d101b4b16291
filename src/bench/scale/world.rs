//! The scheduler with clients that resubmit at once and a device that completes one level per turn, in simulated time.

use super::Crowd;
use crate::clock;
use std::collections::VecDeque;
use std::time::Duration;
use vkmps_protocol::message::Priority;
use vkmps_scheduler::{
    Action, Config, Hazard, Input, JobKey, Lanes, Order, Scheduler, Slices, StreamKey, Work,
};

pub(super) struct World {
    scheduler: Scheduler,
    /// By job: each stream has one, over and over.
    streams: Vec<StreamKey>,
    /// Jobs that their clients submit next.
    ready: Vec<JobKey>,
    actions: Vec<Action>,
    /// Levels in flight on each queue.
    in_flight: Vec<usize>,
    /// Queues in the order in which their levels end.
    ends: VecDeque<usize>,
    now: Duration,
    /// From one level's end to the next one's on any queue.
    step: Duration,
    retired: u64,
    active: usize,
}

impl World {
    /// Everybody has joined and has run one dispatch; who is idle never runs another.
    pub(super) fn new(crowd: Crowd) -> Self {
        let config = Config {
            lanes: Lanes::over(crowd.queues),
            level_jobs: LEVEL_JOBS,
            spread_jobs: SPREAD_JOBS,
            gather: GATHER,
            slices: SLICES,
        };
        let mut scheduler = Scheduler::new(config);
        let clients = crowd.active + crowd.idle;
        let count = clients * crowd.streams;
        let mut streams = Vec::new();
        for client in 0..clients {
            let uid = u32::try_from(client % USERS).unwrap_or(0);
            let client = scheduler.join(uid, Priority::Medium);
            streams.extend((0..crowd.streams).map(|_| scheduler.open(client)));
        }
        let mut world = Self {
            scheduler,
            ready: (0..).map(JobKey).take(count).collect(),
            streams,
            actions: Vec::new(),
            in_flight: vec![0; crowd.queues],
            ends: VecDeque::new(),
            now: Duration::ZERO,
            step: LEVEL_TIME / u32::try_from(crowd.queues).unwrap_or(1),
            retired: 0,
            active: crowd.active * crowd.streams,
        };
        while world.retired < count as u64 {
            world.turn();
        }
        world
    }

    /// Until every active stream has run twice more, and some time has passed.
    pub(super) fn warm_up(&mut self) {
        let until = self.retired + (self.active as u64 * 2).max(WARM_UP);
        while self.retired < until {
            self.turn();
        }
    }

    /// CPU time and dispatches of about so long.
    pub(super) fn run(&mut self, duration: Duration) -> (Duration, u64) {
        let (start, first) = (clock::thread_cpu(), self.retired);
        loop {
            // Asking the clock is a system call.
            let until = self.retired + WARM_UP;
            while self.retired < until {
                self.turn();
            }
            let time = clock::thread_cpu().saturating_sub(start);
            if time >= duration {
                return (time, self.retired - first);
            }
        }
    }

    /// One turn of the engine: takes submits in, launches, and hears of the end of one level.
    fn turn(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for job in ready.drain(..) {
            let stream = self.streams[job.0 as usize];
            let memory = u64::from(job.0);
            let (read, write) = (hazard(memory, 0, false), hazard(memory, 1, true));
            let input = Input::Submitted {
                stream,
                job,
                hazards: &[read, write],
                order: Order::Automatic,
                stages: 1,
                work: WORK,
            };
            self.scheduler.handle(input, self.now, &mut self.actions);
        }
        self.ready = ready;
        self.scheduler.launch(self.now, &mut self.actions);
        self.act();
        self.now += self.step;
        if let Some(queue) = self.ends.pop_front() {
            self.in_flight[queue] -= 1;
            if self.in_flight[queue] > 0 {
                self.ends.push_back(queue);
            }
            let took = LEVEL_TIME;
            let input = Input::LevelCompleted { queue, took };
            self.scheduler.handle(input, self.now, &mut self.actions);
            self.act();
        }
    }

    fn act(&mut self) {
        for action in self.actions.drain(..) {
            match action {
                Action::Launch { queue, levels } => {
                    if self.in_flight[queue] == 0 {
                        self.ends.push_back(queue);
                    }
                    self.in_flight[queue] += levels.len();
                    for level in levels {
                        self.scheduler.recycle(level);
                    }
                }
                Action::Retired { job, .. } => {
                    self.retired += 1;
                    if (job.0 as usize) < self.active {
                        self.ready.push(job);
                    }
                }
                Action::Dropped(_) | Action::Demoted(_) | Action::Restored(_) => {}
            }
        }
    }
}

fn hazard(memory: u64, block: u64, write: bool) -> Hazard {
    Hazard {
        memory,
        start: block * 4096,
        end: (block + 1) * 4096,
        write,
    }
}

pub(super) const LEVEL_JOBS: usize = 16;
/// As the engine has them with several queues.
const SPREAD_JOBS: usize = 8;
const GATHER: Duration = Duration::from_micros(15);
/// Of a level, simulated: short, so that collecting pays.
const LEVEL_TIME: Duration = Duration::from_micros(64);
const SLICES: Slices = Slices {
    below_others: Duration::from_micros(400),
    exclusive: Duration::from_millis(1),
    cooperative: Duration::from_micros(500),
};
/// All dispatches are alike.
const WORK: Work = Work {
    program: 1,
    units: 8,
    divisible: true,
};
/// To whom the clients belong.
const USERS: usize = 16;
/// Dispatches.
const WARM_UP: u64 = 4096;
