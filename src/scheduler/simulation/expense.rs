//! What a decision costs. Measures, so it is for eyes: `cargo test --release -p vkmps-scheduler -- --ignored --nocapture`.

use super::runs::us;
use super::*;
use std::time::Instant;

#[test]
#[ignore = "prints times, proves nothing"]
fn nanoseconds_per_dispatch() {
    for queues in [1, 8] {
        for (active, idle) in [
            (1, 0),
            (1, 10_000),
            (32, 0),
            (32, 10_000),
            (1024, 0),
            (10_000, 0),
        ] {
            let time_ns = measure(queues, active, idle);
            println!("{queues} queues, {active} active, {idle} idle: {time_ns} ns per dispatch");
        }
    }
}

/// Every active client submits again as soon as its job is over; the device takes no time.
fn measure(queues: usize, active: usize, idle: usize) -> u128 {
    let config = Config {
        lanes: Lanes::over(queues),
        level_jobs: if queues == 1 { 256 } else { 64 },
        spread_jobs: if queues == 1 { 256 } else { 8 },
        gather: Duration::ZERO,
        slices: SLICES,
    };
    let mut scheduler = Scheduler::new(config);
    let mut open = |index: usize| {
        let uid = u32::try_from(index % 100).expect("small");
        let client = scheduler.join(uid, Priority::Medium);
        scheduler.open(client)
    };
    let streams: Vec<_> = (0..active).map(&mut open).collect();
    for index in 0..idle {
        open(index);
    }
    let mut submitted: Vec<_> = (0..active).collect();
    let mut in_flight: VecDeque<(usize, usize)> = VecDeque::new();
    let mut actions = Vec::new();
    let (mut now, mut over) = (us(0), 0_u32);
    let start = Instant::now();
    while over < DISPATCHES {
        for index in submitted.drain(..) {
            let job = JobKey(u32::try_from(index).expect("small"));
            let hazard = Hazard {
                memory: index as u64,
                start: 0,
                end: 1,
                write: true,
            };
            let input = Input::Submitted {
                stream: streams[index],
                job,
                hazards: &[hazard],
                order: Order::Automatic,
                stages: 1,
                work: Work {
                    program: 1,
                    units: 8,
                    divisible: true,
                },
            };
            scheduler.handle(input, now, &mut actions);
        }
        now += us(1);
        scheduler.launch(now, &mut actions);
        for action in actions.drain(..) {
            if let Action::Launch { queue, levels } = action {
                in_flight.push_back((queue, levels.len()));
                levels
                    .into_iter()
                    .for_each(|level| scheduler.recycle(level));
            }
        }
        now += us(20);
        let Some((queue, levels)) = in_flight.pop_front() else {
            continue;
        };
        for _ in 0..levels {
            let took = us(20);
            scheduler.handle(Input::LevelCompleted { queue, took }, now, &mut actions);
        }
        for action in actions.drain(..) {
            if let Action::Retired { job, .. } = action {
                over += 1;
                submitted.push(job.0 as usize);
            }
        }
    }
    start.elapsed().as_nanos() / u128::from(over)
}

const DISPATCHES: u32 = 300_000;
