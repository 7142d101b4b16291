//! Round trips: one dispatch, submitted and waited for, again and again.

use crate::arguments::Options;
use crate::backend::{self, Backend, Place, Residence, Work};
use crate::bench::{Bench, Threads};
use crate::crew::{Crew, inside};
use crate::error::Error;
use crate::figures::Quantiles;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::throughput::{Kernel, microseconds};
use crate::worker::Task;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let bench = Bench::new(options, Threads::None)?;
    let daemon = bench.daemon(options.socket.as_deref())?;
    let (noop, vector_add) = (Kernel::noop(), Kernel::vector_add());
    let measure = |place: Place, kernel| {
        let task = Task::Latency(Client {
            place,
            kernel,
            seconds: options.seconds(),
        });
        let bench = &bench;
        move || one(bench, &task)
    };
    let mut arms = vec![
        Arm::new("inprocess_fence", measure(bench.direct(), noop)),
        Arm::new("inprocess_polling", measure(bench.polling(), noop)),
        Arm::new("daemon", measure(daemon.place(), noop)),
        Arm::new(
            "inprocess_fence_vector_add",
            measure(bench.direct(), vector_add),
        ),
        Arm::new("daemon_vector_add", measure(daemon.place(), vector_add)),
    ];
    let samples = interleave(&mut arms, options.rounds)?;
    let rows = arms.iter().zip(&samples);
    let rows = rows.map(|(arm, rounds)| Row::of("latency", arm.name.as_str(), "us (p50)", rounds));
    let mut report = Report::new("latency", rows.collect());
    report.ratio("daemon_vs_inprocess", "daemon", "inprocess_fence");
    report.ratio("daemon_vs_polling", "daemon", "inprocess_polling");
    report.ratio(
        "daemon_vs_inprocess_vector_add",
        "daemon_vector_add",
        "inprocess_fence_vector_add",
    );
    report.note("ratios", "round-trip times: below 1 the daemon is faster");
    report.print(&bench, options)
}

fn one(bench: &Bench, task: &Task) -> Result<Sample, Error> {
    let found = Crew::prepare(bench, std::slice::from_ref(task))?.measure::<Quantiles>()?;
    let found = Quantiles::merge(&found);
    let p50_us = found.p50();
    Ok(Sample {
        value: p50_us.unwrap_or(f64::NAN),
        p50_us,
        p99_us: found.p99(),
    })
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    place: Place,
    kernel: Kernel,
    seconds: f64,
}

impl Client {
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut backend = backend::open(&self.place)?;
        let program = backend.program(self.kernel.shader())?;
        let mut buffers = Vec::new();
        for place in 0..self.kernel.shader().buffers.len() {
            let buffer = backend.buffer(self.kernel.buffer_bytes(), Residence::Device)?;
            let value = (place as f32 + 1.0).to_le_bytes();
            backend.write(buffer, &value.repeat(self.kernel.elements() as usize))?;
            buffers.push(buffer);
        }
        let push = self.kernel.push();
        let groups = [self.kernel.groups, 1, 1];
        let work = Work {
            program,
            groups,
            push: &push,
            buffers: &buffers,
        };
        round_trips(backend.as_mut(), &work, WARM_UP)?;
        inside::line_up()?;
        let trips = round_trips(
            backend.as_mut(),
            &work,
            Duration::from_secs_f64(self.seconds),
        )?;
        if let Some(sum) = buffers.get(2) {
            let mut bytes = vec![0; self.kernel.elements() as usize * 4];
            backend.read(*sum, &mut bytes)?;
            if bytes
                .as_chunks()
                .0
                .iter()
                .any(|bytes| f32::from_le_bytes(*bytes) != 3.0)
            {
                return Err(Error::Wrong("1 + 2 is not 3 everywhere".to_owned()));
            }
        }
        inside::say(&trips)
    }
}

fn round_trips(
    backend: &mut dyn Backend,
    work: &Work<'_>,
    duration: Duration,
) -> Result<Quantiles, Error> {
    let start = Instant::now();
    let mut now = start;
    let mut trips = Vec::new();
    while now.duration_since(start) < duration {
        backend.run(work)?;
        let end = Instant::now();
        trips.push(microseconds(end.duration_since(now)));
        now = end;
    }
    Ok(Quantiles::of(trips))
}

const WARM_UP: Duration = Duration::from_millis(100);
