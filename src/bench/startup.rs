//! From exec to the first result: a program with its own VkDevice, and a client of a running daemon that knows the
//! program already.

use crate::arguments::Options;
use crate::backend::{self, Place, Residence, Work};
use crate::bench::{Bench, Threads};
use crate::crew::{Member, inside};
use crate::error::Error;
use crate::figures::Quantiles;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::shader;
use crate::throughput::microseconds;
use crate::worker::Task;
use std::time::Instant;

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let bench = Bench::new(options, Threads::None)?;
    let daemon = bench.daemon(options.socket.as_deref())?;
    let measure = |place: Place| {
        let bench = &bench;
        move || starts(bench, &place)
    };
    let mut arms = vec![
        Arm::new("separate", measure(bench.direct())),
        Arm::new("daemon", measure(daemon.place())),
    ];
    // Once untimed: files come into memory, drivers fill their caches, the daemon learns the program.
    for arm in &mut arms {
        (arm.measure)()?;
    }
    let samples = interleave(&mut arms, options.rounds)?;
    let rows = arms.iter().zip(&samples);
    let rows = rows.map(|(arm, rounds)| Row::of("startup", arm.name.as_str(), "ms", rounds));
    let mut report = Report::new("startup", rows.collect());
    report.ratio("daemon_vs_separate", "separate", "daemon");
    report.note("ratios", "how many times faster the daemon's client is");
    report.note("starts_per_round", STARTS);
    report.print(&bench, options)
}

/// Several processes, one after the other.
fn starts(bench: &Bench, place: &Place) -> Result<Sample, Error> {
    let task = Task::Startup {
        place: place.clone(),
    };
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut worker = Member::start(bench, &task)?;
        worker.answer::<f32>()?;
        times.push(microseconds(start.elapsed()));
        // Its clean-up must not disturb the next one.
        worker.finish()?;
    }
    let times = Quantiles::of(times);
    let p50_us = times.p50();
    Ok(Sample {
        value: p50_us.unwrap_or(f64::NAN) / 1000.0,
        p50_us,
        p99_us: times.p99(),
    })
}

/// The whole work of a started process: 1 Ki sums.
pub(crate) fn work(place: &Place) -> Result<(), Error> {
    let mut backend = backend::open(place)?;
    let program = backend.program(&shader::VECTOR_ADD)?;
    let mut buffers = Vec::new();
    for value in [1.0f32, 2.0, 0.0] {
        let buffer = backend.buffer(u64::from(COUNT) * 4, Residence::Shared)?;
        backend.write(buffer, &value.to_le_bytes().repeat(COUNT as usize))?;
        buffers.push(buffer);
    }
    let push = COUNT.to_le_bytes();
    backend.run(&Work {
        program,
        groups: [COUNT / 64, 1, 1],
        push: &push,
        buffers: &buffers,
    })?;
    let mut sum = [0; 4];
    backend.read(buffers[2], &mut sum)?;
    match f32::from_le_bytes(sum) {
        3.0 => inside::say(&3.0),
        sum => Err(Error::Wrong(format!("1 + 2 became {sum:?}"))),
    }
}

const COUNT: u32 = 1024;
const STARTS: usize = 7;
