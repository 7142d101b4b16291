//! The scheduler against a device that completes levels at random times.

use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet, VecDeque};

/// What the test knows of a job.
#[derive(Debug, Clone)]
struct Known {
    stream: StreamKey,
    number: u32,
    hazards: Vec<Hazard>,
    order: Order,
}

/// A device and everything that must hold about what the scheduler asks of it.
struct World {
    scheduler: Scheduler,
    now: Duration,
    jobs: HashMap<JobKey, Known>,
    submitted: HashMap<StreamKey, u32>,
    retired: HashMap<StreamKey, u32>,
    launched: HashSet<JobKey>,
    dropped: usize,
    open: Vec<(StreamKey, ClientKey)>,
    launches: Vec<VecDeque<usize>>,
    next: u32,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Open(u8),
    Submit {
        stream: usize,
        memory: u64,
        start: u64,
        length: u64,
        write: bool,
        stages: u32,
        explicit: bool,
    },
    Launch,
    Complete {
        queue: usize,
        microseconds: u64,
    },
    SetPriority(usize, u8),
    Close(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let submit = (
        any::<usize>(),
        0..3_u64,
        0..4_u64,
        1..4_u64,
        any::<bool>(),
        1..3_u32,
        any::<bool>(),
    )
        .prop_map(
            |(stream, memory, start, length, write, stages, explicit)| Op::Submit {
                stream,
                memory,
                start,
                length,
                write,
                stages,
                explicit,
            },
        );
    let op = prop_oneof![
        1 => any::<u8>().prop_map(Op::Open),
        8 => submit,
        4 => Just(Op::Launch),
        4 => (any::<usize>(), 0..2000_u64).prop_map(|(queue, microseconds)| Op::Complete { queue, microseconds }),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(stream, priority)| Op::SetPriority(stream, priority)),
        1 => any::<usize>().prop_map(Op::Close),
    ];
    prop::collection::vec(op, 1..200)
}

impl World {
    fn new(queues: usize) -> Self {
        let config = Config {
            lanes: Lanes::over(queues),
            level_jobs: 8,
            spread_jobs: 2,
            gather: Duration::from_micros(10),
            slices: SLICES,
        };
        Self {
            scheduler: Scheduler::new(config),
            now: Duration::ZERO,
            jobs: HashMap::new(),
            submitted: HashMap::new(),
            retired: HashMap::new(),
            launched: HashSet::new(),
            dropped: 0,
            open: Vec::new(),
            launches: vec![VecDeque::new(); queues],
            next: 0,
        }
    }

    /// A world that has seen enough short levels to know that they are.
    fn of_short_levels(queues: usize) -> Self {
        let mut world = Self::new(queues);
        world.apply(Op::Open(1));
        for _ in 0..20 {
            submit(&mut world, 0, 0);
            world.drain();
        }
        world.apply(Op::Close(0));
        world
    }

    /// A world with streams whose work is known.
    fn of_streams(queues: usize, priorities: impl IntoIterator<Item = u8>) -> Self {
        let mut world = Self::new(queues);
        for (stream, priority) in priorities.into_iter().enumerate() {
            world.apply(Op::Open(priority));
            submit(&mut world, stream, 0);
            world.drain();
        }
        world
    }

    fn apply(&mut self, op: Op) {
        let mut actions = Vec::new();
        match op {
            Op::Open(priority) => {
                let client = self.scheduler.join(0, of_number(priority));
                let key = self.scheduler.open(client);
                self.submitted.insert(key, 0);
                self.retired.insert(key, 0);
                self.open.push((key, client));
            }
            Op::Submit {
                stream,
                memory,
                start,
                length,
                write,
                stages,
                explicit,
            } if !self.open.is_empty() => {
                let (stream, _) = self.open[stream % self.open.len()];
                let number = self.submitted.entry(stream).or_default();
                *number += 1;
                let job = JobKey(self.next);
                self.next += 1;
                let order = if explicit {
                    Order::Explicit
                } else {
                    Order::Automatic
                };
                let hazards = vec![Hazard {
                    memory,
                    start,
                    end: start + length,
                    write,
                }];
                self.jobs.insert(
                    job,
                    Known {
                        stream,
                        number: *number,
                        hazards: hazards.clone(),
                        order,
                    },
                );
                self.scheduler.handle(
                    Input::Submitted {
                        stream,
                        job,
                        hazards: &hazards,
                        order,
                        stages,
                        work: Work {
                            program: 0,
                            units: 1,
                            divisible: true,
                        },
                    },
                    self.now,
                    &mut actions,
                );
            }
            Op::SetPriority(stream, priority) if !self.open.is_empty() => {
                let (_, client) = self.open[stream % self.open.len()];
                let priority = of_number(priority);
                let input = Input::PriorityChanged { client, priority };
                self.scheduler.handle(input, self.now, &mut actions);
            }
            Op::Launch => self.scheduler.launch(self.now, &mut actions),
            Op::Complete {
                queue,
                microseconds,
            } => {
                let queue = queue % self.launches.len();
                if self.scheduler.in_flight(queue) > 0 {
                    self.now += Duration::from_micros(microseconds);
                    let left = self.launches[queue]
                        .front_mut()
                        .expect("a level in flight belongs to a launch");
                    *left -= 1;
                    if *left == 0 {
                        self.launches[queue].pop_front();
                    }
                    let took = Duration::from_micros(microseconds);
                    let input = Input::LevelCompleted { queue, took };
                    self.scheduler.handle(input, self.now, &mut actions);
                }
            }
            Op::Close(stream) if !self.open.is_empty() => {
                let (stream, client) = self.open.swap_remove(stream % self.open.len());
                self.scheduler
                    .handle(Input::Closed { stream }, self.now, &mut actions);
                self.scheduler
                    .handle(Input::Left { client }, self.now, &mut actions);
            }
            Op::Submit { .. } | Op::SetPriority(..) | Op::Close(_) => {}
        }
        for action in actions {
            self.check(action);
        }
        let in_flight = self.launched.len();
        assert_eq!(
            self.jobs.len(),
            in_flight + self.scheduler.waiting(),
            "a job is lost"
        );
        self.check_lanes();
    }

    /// A stream that waits for any queue stands in its client's list, once, and nobody else does.
    fn check_lanes(&self) {
        let scheduler = &self.scheduler;
        let mut streams = [0; LANES];
        for (slot, stream) in (0..).zip(&scheduler.streams) {
            if stream.released {
                continue;
            }
            let ready = &scheduler.shares.client(stream.client).ready;
            let there = ready.iter().filter(|key| key.0 == slot).count();
            let waits = stream.listed == Listed::Lane;
            assert_eq!(there, usize::from(waits), "{stream:?}");
            streams[scheduler.shares.lane(stream.client)] += there;
        }
        for (lane, streams) in streams.into_iter().enumerate() {
            assert_eq!(scheduler.shares.streams(lane), streams, "in lane {lane}");
        }
    }

    fn check(&mut self, action: Action) {
        match action {
            Action::Launch { queue, levels } => {
                self.launches[queue].push_back(levels.len());
                assert!(
                    self.launches[queue].len() <= 4,
                    "more launches in flight on a queue than priorities"
                );
                for level in levels {
                    assert!(!level.pieces.is_empty() && level.pieces.len() <= 8);
                    let jobs: Vec<_> = level.pieces.iter().map(|piece| piece.job).collect();
                    for (index, job) in jobs.iter().enumerate() {
                        assert!(self.launched.insert(*job), "{job:?} is launched twice");
                        for other in &jobs[..index] {
                            let (one, two) = (&self.jobs[other], &self.jobs[job]);
                            assert!(
                                one.stream != two.stream || one.number < two.number,
                                "order within a stream"
                            );
                            let conflict = one
                                .hazards
                                .iter()
                                .any(|a| two.hazards.iter().any(|b| a.conflicts(b)));
                            let ordered = one.stream == two.stream && two.order == Order::Automatic;
                            assert!(!(ordered && conflict), "{other:?} and {job:?} conflict");
                        }
                    }
                    self.scheduler.recycle(level);
                }
            }
            Action::Retired { job, .. } => {
                assert!(self.launched.remove(&job));
                let known = self.jobs.remove(&job).expect("a job retires once");
                let last = self.retired.entry(known.stream).or_default();
                assert_eq!(known.number, *last + 1, "retirement out of order");
                *last = known.number;
            }
            Action::Demoted(_) | Action::Restored(_) => unreachable!("no limit of REALTIME"),
            Action::Dropped(job) => {
                assert!(!self.launched.contains(&job), "a job in flight is dropped");
                self.jobs.remove(&job).expect("a job is dropped once");
                self.dropped += 1;
            }
        }
    }

    /// Runs until nothing is left.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            // The device may be held for somebody, but not for ever.
            self.now += Duration::from_micros(10);
            self.apply(Op::Launch);
            for queue in 0..self.launches.len() {
                self.apply(Op::Complete {
                    queue,
                    microseconds: 10,
                });
            }
            if self.jobs.is_empty() {
                return;
            }
        }
        panic!("{} jobs never ran", self.jobs.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_is_lost_run_twice_or_out_of_order(ops in ops(), queues in 1..4_usize) {
        let mut world = World::new(queues);
        for op in ops {
            world.apply(op);
        }
        world.drain();
    }
}

fn of_number(priority: u8) -> Priority {
    let all = [
        Priority::Low,
        Priority::Medium,
        Priority::High,
        Priority::Realtime,
    ];
    all[usize::from(priority) % all.len()]
}

fn submit(world: &mut World, stream: usize, memory: u64) {
    world.apply(Op::Submit {
        stream,
        memory,
        start: 0,
        length: 1,
        write: true,
        stages: 1,
        explicit: false,
    });
}

#[test]
fn independent_work_shares_one_level_and_an_idle_queue_starts_at_once() {
    let mut world = World::of_streams(1, [1; 4]);
    (0..4).for_each(|stream| submit(&mut world, stream, 0));
    world.apply(Op::Launch);
    assert_eq!((world.launched.len(), world.scheduler.in_flight(0)), (4, 1));
}

#[test]
fn while_short_levels_run_further_work_is_collected() {
    let mut world = World::of_streams(1, [1; 20]);
    for stream in 0..4 {
        submit(&mut world, stream, 0);
        world.apply(Op::Launch);
    }
    assert_eq!(world.launched.len(), 1);
    world.apply(Op::Complete {
        queue: 0,
        microseconds: 50,
    });
    world.apply(Op::Launch);
    assert_eq!(world.launched.len(), 3);
}

#[test]
fn a_chain_of_unknown_length_goes_one_level_at_a_time() {
    let mut world = World::new(2);
    world.apply(Op::Open(1));
    for _ in 0..3 {
        submit(&mut world, 0, 0);
    }
    world.apply(Op::Launch);
    assert_eq!(world.scheduler.in_flight(0), 1);
}

#[test]
fn a_chain_of_one_stream_rides_in_levels_of_one_launch() {
    let mut world = World::of_short_levels(2);
    world.apply(Op::Open(1));
    for _ in 0..3 {
        submit(&mut world, 0, 0);
    }
    world.apply(Op::Launch);
    assert_eq!(
        (world.scheduler.in_flight(0), world.scheduler.in_flight(1)),
        (3, 0)
    );
}

#[test]
fn work_spreads_over_idle_queues_once_it_is_more_than_a_handful() {
    let mut world = World::of_streams(4, [1; 16]);
    (0..16).for_each(|stream| submit(&mut world, stream, 0));
    world.apply(Op::Launch);
    for queue in 0..4 {
        assert_eq!(world.scheduler.in_flight(queue), 1);
    }
    assert_eq!(world.launched.len(), 16);
}

#[test]
fn a_higher_priority_is_taken_first_and_shares_no_level_with_a_lower_one() {
    let priorities = (0..24).map(|stream| u8::from(stream >= 12));
    let mut world = World::of_streams(1, priorities);
    (0..24).for_each(|stream| submit(&mut world, stream, 0));
    world.apply(Op::Launch);
    let medium: HashSet<_> = world.open[12..].iter().map(|open| open.0).collect();
    let higher = world
        .launched
        .iter()
        .filter(|job| medium.contains(&world.jobs[job].stream));
    assert_eq!((higher.count(), world.launched.len()), (8, 8));
}

#[test]
fn a_priority_that_changes_takes_queued_work_along() {
    let mut world = World::of_streams(1, [1; 24]);
    (0..24).for_each(|stream| submit(&mut world, stream, 0));
    world.apply(Op::SetPriority(0, 0));
    world.apply(Op::SetPriority(23, 2));
    world.apply(Op::Launch);
    let of = |job| world.jobs[job].stream;
    let launched: Vec<_> = world.launched.iter().map(of).collect();
    assert!(launched.contains(&world.open[23].0), "it had been the last");
    assert!(
        !launched.contains(&world.open[0].0),
        "it had been the first"
    );
}

#[test]
fn streams_that_never_run_dry_do_not_keep_others_from_the_device() {
    let mut world = World::of_short_levels(1);
    for stream in 0..4 {
        world.apply(Op::Open(1));
        (0..64).for_each(|_| submit(&mut world, stream, 0));
    }
    world.apply(Op::Launch);
    world.apply(Op::Launch);
    world.apply(Op::Open(1));
    submit(&mut world, 4, 0);
    let other = world.open[4].0;
    for _ in 0..200 {
        world.apply(Op::Complete {
            queue: 0,
            microseconds: 20,
        });
        (0..4).for_each(|stream| submit(&mut world, stream, 0));
        world.apply(Op::Launch);
        if world.retired[&other] == 1 {
            return;
        }
    }
    panic!("one job waited for 200 levels of other streams");
}

#[test]
fn work_that_waits_for_company_asks_for_another_look() {
    let mut world = World::of_short_levels(2);
    world.apply(Op::Open(1));
    // Arrivals in quick succession.
    for _ in 0..100 {
        submit(&mut world, 0, 0);
    }
    world.apply(Op::Launch);
    assert!(!world.scheduler.gathering());
    world.apply(Op::Open(1));
    submit(&mut world, 1, 0);
    world.apply(Op::Launch);
    assert!(world.scheduler.gathering());
    world.now += Duration::from_micros(20);
    world.apply(Op::Launch);
    assert!(!world.scheduler.gathering());
    assert_eq!(world.scheduler.in_flight(1), 1);
}

/// Jobs of one unit are never cut.
const SLICES: Slices = Slices {
    below_others: Duration::from_micros(400),
    exclusive: Duration::from_millis(2),
    cooperative: Duration::from_micros(500),
};
