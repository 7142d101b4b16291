//! The scheduler with a simulated device and simulated clients, in simulated time.
//!
//! Nothing here reads a clock: equal inputs give equal runs, whatever the machine. After every step the simulation
//! checks what must always hold: jobs of a stream run in their order and on one queue at a time, nothing is lost or run
//! twice, and the device is never idle while work waits.

mod client;
mod device;
mod expense;
mod fairness;
mod runs;
mod shares;

use crate::{
    Action, ClientKey, Config, Hazard, Input, JobKey, Lanes, Order, Piece, Policy, Scheduler,
    Share, Slices, Work,
};
use client::{Behaviour, Client, Kernel, Pattern, Stream};
use device::Device;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;
use vkmps_protocol::message::Priority;

/// A device, its clients and the scheduler between them.
struct Simulation {
    scheduler: Scheduler,
    device: Device,
    clients: Vec<Client>,
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
    /// What is to come, with a number that keeps the order of what happens at the same time.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    numbered: u64,
    now: Duration,
    /// Of each queue: when its first level began.
    begun: Vec<Duration>,
    /// Of each queue, its levels in flight: clients and streams of their pieces.
    levels: Vec<VecDeque<Vec<(usize, usize)>>>,
    /// From now on nobody submits.
    closing: bool,
    looks: bool,
    /// Jobs of which something is launched.
    launched_jobs: usize,
    /// Jobs of which something is not.
    waiting: usize,
    steps: u64,
    /// Caps may let the device rest.
    capped: bool,
    pieces: u64,
    preempted: u64,
    demoted: BTreeSet<usize>,
    /// When the engine looks again by itself.
    due: Option<Duration>,
}

#[derive(Debug)]
struct Job {
    client: usize,
    stream: usize,
    number: u32,
    kernel: Kernel,
    submitted: Duration,
    /// Units so far.
    launched: u64,
    pieces: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Join(usize),
    Submit { client: usize, stream: usize },
    Leave(usize),
    SetPriority(usize, Rank),
    Look,
    Due,
    SetShare(usize, Option<u8>),
}

/// A priority that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u8);

impl Rank {
    fn priority(self) -> Priority {
        let all = [
            Priority::Low,
            Priority::Medium,
            Priority::High,
            Priority::Realtime,
        ];
        all[usize::from(self.0) % all.len()]
    }
}

impl Simulation {
    fn new(queues: usize, width: u32, clients: impl IntoIterator<Item = Behaviour>) -> Self {
        // As the engine has it.
        let level_jobs = if queues == 1 { 256 } else { 64 };
        let spread_jobs = if queues == 1 { 256 } else { 8 };
        let config = Config {
            lanes: Lanes::over(queues),
            level_jobs,
            spread_jobs,
            gather: Duration::from_micros(15),
            slices: SLICES,
        };
        let mut simulation = Self {
            scheduler: Scheduler::new(config),
            device: Device::new(queues, width),
            clients: clients.into_iter().map(Client::new).collect(),
            jobs: Vec::new(),
            free: Vec::new(),
            events: BinaryHeap::new(),
            numbered: 0,
            now: Duration::ZERO,
            begun: vec![Duration::ZERO; queues],
            levels: vec![VecDeque::new(); queues],
            closing: false,
            looks: false,
            launched_jobs: 0,
            waiting: 0,
            steps: 0,
            capped: false,
            pieces: 0,
            preempted: 0,
            demoted: BTreeSet::new(),
            due: None,
        };
        for client in 0..simulation.clients.len() {
            let behaviour = &simulation.clients[client].behaviour;
            let (joins, leaves) = (behaviour.joins, behaviour.leaves);
            simulation.plan(joins, Event::Join(client));
            if let Some(leaves) = leaves {
                simulation.plan(leaves.max(joins), Event::Leave(client));
            }
        }
        simulation
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.events.push(Reverse((at, self.numbered, event)));
        self.numbered += 1;
    }

    /// Lets time pass.
    fn run_until(&mut self, end: Duration) {
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
        }
        self.now = end;
    }

    /// Nobody submits any more; runs until nothing is left.
    fn drain(&mut self) {
        self.closing = true;
        while let Some(next) = self.next() {
            self.step(next);
        }
        assert_eq!(self.scheduler.waiting(), 0, "jobs never ran");
        assert!(self.jobs.iter().all(Option::is_none), "jobs never ended");
    }

    fn next(&self) -> Option<Duration> {
        let event = self.events.peek().map(|Reverse((at, ..))| *at);
        let end = self.device.next_end();
        event.into_iter().chain(end).min()
    }

    /// All that happens at one time, and what follows from it.
    fn step(&mut self, now: Duration) {
        self.now = now;
        self.steps += 1;
        assert!(
            self.steps < MOST_STEPS,
            "in circles at {now:?}: {} jobs wait, next look {:?}, gathering {}",
            self.waiting,
            self.scheduler.due(),
            self.scheduler.gathering()
        );
        let mut actions = Vec::new();
        self.device.advance(now);
        while let Some(ended) = self.device.end() {
            if let Some(queue) = ended {
                for (client, stream) in self.levels[queue].pop_front().expect("it was launched") {
                    let stream = &mut self.clients[client].streams[stream];
                    stream.in_flight -= 1;
                    if stream.in_flight == 0 {
                        stream.queue = None;
                    }
                }
                let took = now - self.begun[queue];
                self.begun[queue] = now;
                let input = Input::LevelCompleted { queue, took };
                self.scheduler.handle(input, now, &mut actions);
                self.act(&mut actions);
            }
        }
        while let Some(Reverse((at, _, event))) = self.events.peek().copied()
            && at <= now
        {
            self.events.pop();
            self.happen(event, &mut actions);
            self.act(&mut actions);
        }
        self.scheduler.launch(now, &mut actions);
        self.act(&mut actions);
        if let Some(due) = self.scheduler.due().filter(|due| self.due != Some(*due)) {
            self.due = Some(due);
            self.plan(due.max(now), Event::Due);
        }
        if self.scheduler.gathering() && !std::mem::replace(&mut self.looks, true) {
            self.plan(now + LOOK_AFTER, Event::Look);
        }
        self.check();
    }

    fn happen(&mut self, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Join(index) => {
                let client = &mut self.clients[index];
                client.present = true;
                let behaviour = &client.behaviour;
                let key = self.scheduler.join(behaviour.uid, behaviour.priority);
                client.key = Some(key);
                self.capped |= behaviour.share.cap.is_some();
                for _ in 0..behaviour.streams {
                    client.streams.push(Stream {
                        key: self.scheduler.open(key),
                        submitted: 0,
                        launched: 0,
                        retired: 0,
                        in_flight: 0,
                        queue: None,
                    });
                }
                let (streams, depth) = (behaviour.streams, behaviour.depth);
                self.tell_share(index, actions);
                self.tell_pool(index, actions);
                for _ in 0..depth {
                    for stream in 0..streams {
                        self.submit(index, stream, actions);
                    }
                }
            }
            Event::Submit { client, stream } => self.submit(client, stream, actions),
            Event::Leave(index) => {
                let client = &mut self.clients[index];
                client.present = false;
                for stream in &client.streams {
                    let input = Input::Closed { stream: stream.key };
                    self.scheduler.handle(input, self.now, actions);
                }
                if let Some(client) = client.key.take() {
                    let input = Input::Left { client };
                    self.scheduler.handle(input, self.now, actions);
                }
            }
            Event::SetPriority(index, rank) => {
                let priority = rank.priority();
                let client = &mut self.clients[index];
                client.behaviour.priority = priority;
                if let Some(client) = client.key {
                    let input = Input::PriorityChanged { client, priority };
                    self.scheduler.handle(input, self.now, actions);
                }
            }
            Event::Look => self.looks = false,
            Event::Due => self.due = None,
            Event::SetShare(index, cap) => {
                self.capped |= cap.is_some();
                self.clients[index].behaviour.share.cap = cap;
                self.tell_share(index, actions);
            }
        }
    }

    fn tell_share(&mut self, index: usize, actions: &mut Vec<Action>) {
        let client = &self.clients[index];
        let share = client.behaviour.share;
        if let Some(client) = client.key {
            let input = Input::ClientShare { client, share };
            self.scheduler.handle(input, self.now, actions);
        }
    }

    fn tell_pool(&mut self, index: usize, actions: &mut Vec<Action>) {
        let client = &self.clients[index];
        if let Some((pool, cap)) = client.behaviour.pool
            && let Some(client) = client.key
        {
            self.capped = true;
            let cap = Some(cap);
            let input = Input::ClientPool { client, pool, cap };
            self.scheduler.handle(input, self.now, actions);
        }
    }

    fn set_user(&mut self, uid: u32, share: Share) {
        self.capped |= share.cap.is_some();
        let input = Input::UserShare { uid, share };
        self.scheduler.handle(input, self.now, &mut Vec::new());
    }

    fn set_policy(&mut self, policy: Policy) {
        let input = Input::PolicyChanged(policy);
        self.scheduler.handle(input, self.now, &mut Vec::new());
    }

    fn submit(&mut self, index: usize, number: usize, actions: &mut Vec<Action>) {
        let client = &mut self.clients[index];
        if self.closing || !client.present {
            return;
        }
        let (program, kernel) = client.next_kernel();
        let chained = client.behaviour.chained;
        let stream = &mut client.streams[number];
        stream.submitted += 1;
        let job = Job {
            client: index,
            stream: number,
            number: stream.submitted,
            kernel,
            submitted: self.now,
            launched: 0,
            pieces: 0,
        };
        let key = match self.free.pop() {
            Some(slot) => {
                self.jobs[slot as usize] = Some(job);
                JobKey(slot)
            }
            None => {
                self.jobs.push(Some(job));
                JobKey(u32::try_from(self.jobs.len() - 1).expect("few jobs"))
            }
        };
        self.waiting += 1;
        let hazard = Hazard {
            memory: u64::from(stream.key.0),
            start: if chained { 0 } else { u64::from(key.0) },
            end: if chained { 1 } else { u64::from(key.0) + 1 },
            write: true,
        };
        let input = Input::Submitted {
            stream: stream.key,
            job: key,
            hazards: &[hazard],
            order: Order::Automatic,
            stages: 1,
            work: Work {
                program: program as u64,
                units: kernel.units,
                divisible: kernel.units > 1,
            },
        };
        self.scheduler.handle(input, self.now, actions);
    }

    fn act(&mut self, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                Action::Launch { queue, levels } => {
                    if self.device.rests(queue) {
                        self.begun[queue] = self.now;
                    }
                    for level in levels {
                        let kernels = self.launched(queue, &level.pieces);
                        self.device.submit(queue, kernels);
                        self.scheduler.recycle(level);
                    }
                }
                Action::Retired { job, .. } => self.retired(job),
                Action::Demoted(key) => {
                    assert!(self.demoted.insert(self.of_key(key)), "demoted twice");
                }
                Action::Restored(key) => {
                    assert!(
                        self.demoted.remove(&self.of_key(key)),
                        "restored for nothing"
                    );
                }
                Action::Dropped(key) => {
                    let job = self.jobs[key.0 as usize].take().expect("dropped once");
                    assert!(
                        job.launched < job.kernel.units,
                        "a job in flight was dropped"
                    );
                    if job.launched > 0 {
                        self.launched_jobs -= 1;
                    }
                    assert!(!self.clients[job.client].present);
                    self.waiting -= 1;
                    self.free.push(key.0);
                }
            }
        }
    }

    fn launched(&mut self, queue: usize, pieces: &[Piece]) -> Vec<Kernel> {
        assert!(!pieces.is_empty(), "an empty level");
        let mut chained = BTreeSet::new();
        let mut kernels = Vec::new();
        self.levels[queue].push_back(Vec::new());
        for piece in pieces {
            let job = self.jobs[piece.job.0 as usize].as_mut().expect("it waits");
            assert_eq!(
                piece.from, job.launched,
                "{job:?} runs something twice or not"
            );
            assert!(piece.from < piece.to && piece.to <= job.kernel.units);
            assert_eq!(piece.last, piece.to == job.kernel.units);
            let client = &mut self.clients[job.client];
            let stream = &mut client.streams[job.stream];
            if piece.from == 0 {
                stream.launched += 1;
                self.launched_jobs += 1;
            }
            if piece.last {
                self.waiting -= 1;
            }
            job.launched = piece.to;
            job.pieces += 1;
            assert_eq!(stream.launched, job.number, "order within a stream");
            assert!(
                *stream.queue.get_or_insert(queue) == queue,
                "a stream on two queues"
            );
            let alone = chained.insert((job.client, job.stream)) || !client.behaviour.chained;
            assert!(alone, "jobs that depend on each other share a level");
            stream.in_flight += 1;
            self.levels[queue]
                .back_mut()
                .expect("this level")
                .push((job.client, job.stream));
            self.pieces += 1;
            self.preempted += u64::from(piece.preempted);
            kernels.push(job.kernel.piece(piece.to - piece.from));
        }
        kernels
    }

    fn retired(&mut self, key: JobKey) {
        let job = self.jobs[key.0 as usize].take().expect("over once");
        assert_eq!(
            job.launched, job.kernel.units,
            "{job:?} is over before it ran"
        );
        self.launched_jobs -= 1;
        self.free.push(key.0);
        let client = &mut self.clients[job.client];
        let stream = &mut client.streams[job.stream];
        stream.retired += 1;
        assert_eq!(stream.retired, job.number, "order within a stream");
        client.work += job.kernel.time;
        client.longest = client.longest.max(self.now - job.submitted);
        let next = match client.behaviour.pattern {
            Pattern::Steady => 1,
            Pattern::Bursts if stream.retired == stream.submitted => client.behaviour.depth,
            Pattern::Bursts => 0,
        };
        let at = self.now + client.behaviour.think;
        for _ in 0..next {
            let (client, stream) = (job.client, job.stream);
            self.plan(at, Event::Submit { client, stream });
        }
    }

    fn of_key(&self, key: ClientKey) -> usize {
        let mut clients = self.clients.iter();
        let found = clients.position(|client| client.key == Some(key));
        found.expect("a client that is there")
    }

    /// What holds after every step.
    fn check(&self) {
        assert_eq!(self.scheduler.waiting(), self.waiting, "a job is lost");
        let rests = self.device.is_idle() && self.waiting > 0;
        assert!(
            !rests || self.scheduler.gathering() || self.capped && self.scheduler.due().is_some(),
            "the device rests while {} jobs wait at {:?}",
            self.waiting,
            self.now
        );
    }
}

/// Far more than any run takes that does not go in circles.
const MOST_STEPS: u64 = 2_000_000;
/// The engine comes back that soon when work waits for company.
const LOOK_AFTER: Duration = Duration::from_micros(2);

const SLICES: Slices = Slices {
    below_others: Duration::from_micros(400),
    exclusive: Duration::from_millis(1),
    cooperative: Duration::from_micros(500),
};
