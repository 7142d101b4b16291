//! Bytes per second between host and device memory.
//!
//! The application produces its data in mapped memory in both arms (its own staging memory, or the daemon's shared
//! memory); what is measured is the copy to the device or back, submitted and waited for. On a unified device the
//! daemon needs no copy: a further arm computes on mapped memory only and checks the result.

use crate::arguments::Options;
use crate::backend::{self, Backend, BufferId, Place, Residence, Work};
use crate::bench::{Bench, Threads};
use crate::clock;
use crate::crew::{Crew, inside};
use crate::error::Error;
use crate::figures::Quantiles;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::shader;
use crate::throughput::microseconds;
use crate::worker::Task;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let bench = Bench::new(options, Threads::None)?;
    let daemon = bench.daemon(options.socket.as_deref())?;
    let mut arms = Vec::new();
    for (size, bytes) in SIZES {
        for (verb, direction) in [("write", Direction::Write), ("read", Direction::Read)] {
            for (who, place) in [("direct", bench.direct()), ("daemon", daemon.place())] {
                let action = Action::Copy {
                    bytes,
                    direction,
                    seconds: options.seconds(),
                };
                let task = Task::Bandwidth(Client { place, action });
                let bench = &bench;
                arms.push(Arm::new(format!("{who}_{verb}_{size}"), move || {
                    copy(bench, &task)
                }));
            }
        }
    }
    let samples = interleave(&mut arms, options.rounds)?;
    let rows = arms.iter().zip(&samples);
    let rows = rows.map(|(arm, rounds)| Row::of("bandwidth", arm.name.as_str(), "GB/s", rounds));
    let mut rows: Vec<Row> = rows.collect();
    drop(arms);
    if bench.device.unified {
        rows.push(mapped_row(&bench, daemon.place())?);
    }
    let zero_copy = rows
        .iter()
        .any(|row| row.unit == COPIED && row.value == 0.0);
    let mut report = Report::new("bandwidth", rows);
    let mut worst = f64::INFINITY;
    for (size, _) in SIZES {
        for verb in ["write", "read"] {
            let name = |who| format!("{who}_{verb}_{size}");
            report.ratio(
                &format!("daemon_vs_direct_{verb}_{size}"),
                &name("daemon"),
                &name("direct"),
            );
            if let (Some(daemon), Some(direct)) =
                (report.row(&name("daemon")), report.row(&name("direct")))
            {
                worst = worst.min(daemon.value / direct.value);
            }
        }
    }
    report.put_ratio("daemon_vs_direct", worst);
    report.note("zero_copy", zero_copy);
    report.print(&bench, options)
}

fn copy(bench: &Bench, task: &Task) -> Result<Sample, Error> {
    let copies: Copies = single(bench, task)?;
    Ok(Sample {
        value: copies.gigabytes_per_s,
        p50_us: copies.us.p50(),
        p99_us: copies.us.p99(),
    })
}

fn mapped_row(bench: &Bench, place: Place) -> Result<Row, Error> {
    let copied: u64 = single(
        bench,
        &Task::Bandwidth(Client {
            place,
            action: Action::Mapped,
        }),
    )?;
    let sample = Sample {
        value: copied as f64,
        p50_us: None,
        p99_us: None,
    };
    Ok(Row::of("bandwidth", "daemon_mapped", COPIED, &[sample]))
}

fn single<T: DeserializeOwned>(bench: &Bench, task: &Task) -> Result<T, Error> {
    let mut found = Crew::prepare(bench, std::slice::from_ref(task))?.measure::<T>()?;
    found.pop().ok_or(Error::WorkerDied)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    place: Place,
    action: Action,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Action {
    /// Copies again and again.
    Copy {
        bytes: u64,
        direction: Direction,
        seconds: f64,
    },
    /// Computes on mapped memory; says how many bytes had to be copied.
    Mapped,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Direction {
    Write,
    Read,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Copies {
    gigabytes_per_s: f64,
    us: Quantiles,
}

impl Client {
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut backend = backend::open(&self.place)?;
        match self.action {
            Action::Copy {
                bytes,
                direction,
                seconds,
            } => copies(
                backend.as_mut(),
                bytes,
                direction,
                Duration::from_secs_f64(seconds),
            ),
            Action::Mapped => mapped(backend.as_mut()),
        }
    }
}

fn copies(
    backend: &mut dyn Backend,
    bytes: u64,
    direction: Direction,
    duration: Duration,
) -> Result<(), Error> {
    let shared = backend.buffer(bytes, Residence::Shared)?;
    let device = backend.buffer(bytes, Residence::Device)?;
    let back = backend.buffer(bytes, Residence::Shared)?;
    let pattern: Vec<u8> = (0..bytes / 4)
        .flat_map(|index| word(index).to_le_bytes())
        .collect();
    backend.write(shared, &pattern)?;
    backend.copy(shared, device, bytes)?;
    backend.copy(device, back, bytes)?;
    let (from, to) = match direction {
        Direction::Write => (shared, device),
        Direction::Read => (device, back),
    };
    inside::line_up()?;
    let start_ns = clock::now_ns();
    let start = Instant::now();
    let mut now = start;
    let mut times = Vec::new();
    while now.duration_since(start) < duration {
        backend.copy(from, to, bytes)?;
        let end = Instant::now();
        times.push(microseconds(end.duration_since(now)));
        now = end;
    }
    let moved = bytes * times.len() as u64;
    let took_ns = clock::now_ns() - start_ns;
    backend.copy(device, back, bytes)?;
    check(backend, back, &pattern)?;
    // Bytes per nanosecond are gigabytes per second.
    inside::say(&Copies {
        gigabytes_per_s: moved as f64 / took_ns as f64,
        us: Quantiles::of(times),
    })
}

fn mapped(backend: &mut dyn Backend) -> Result<(), Error> {
    let program = backend.program(&shader::VECTOR_ADD)?;
    let count = 1u32 << 18;
    let bytes = u64::from(count) * 4;
    let mut buffers = Vec::new();
    for _ in shader::VECTOR_ADD.buffers {
        buffers.push(backend.buffer(bytes, Residence::Device)?);
    }
    let numbers: Vec<u8> = (0..count)
        .flat_map(|index| (index as f32).to_le_bytes())
        .collect();
    backend.write(buffers[0], &numbers)?;
    backend.write(buffers[1], &numbers)?;
    inside::line_up()?;
    let push = count.to_le_bytes();
    backend.run(&Work {
        program,
        groups: [count / 64, 1, 1],
        push: &push,
        buffers: &buffers,
    })?;
    let sums: Vec<u8> = (0..count)
        .flat_map(|index| (index as f32 * 2.0).to_le_bytes())
        .collect();
    check(backend, buffers[2], &sums)?;
    let staged = buffers
        .iter()
        .filter(|buffer| !backend.is_mapped(**buffer))
        .count();
    inside::say(&(staged as u64 * bytes))
}

fn check(backend: &mut dyn Backend, buffer: BufferId, expected: &[u8]) -> Result<(), Error> {
    let mut found = vec![0; expected.len()];
    backend.read(buffer, &mut found)?;
    if found == expected {
        Ok(())
    } else {
        Err(Error::Wrong("a copy changed its bytes".to_owned()))
    }
}

/// A pattern without period.
fn word(index: u64) -> u32 {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    u32::from_le_bytes([mixed[4], mixed[5], mixed[6], mixed[7]])
}

const SIZES: [(&str, u64); 2] = [("64MiB", 64 << 20), ("1MiB", 1 << 20)];
const COPIED: &str = "bytes copied";
