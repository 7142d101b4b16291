//! Dispatches per second of many client processes.

mod client;
mod kernel;
mod limit;
mod load;

use crate::arguments::{KernelName, Options, ThroughputOptions};
use crate::backend::Place;
use crate::bench::{Bench, Threads};
use crate::chain::{self, Link};
use crate::crew::Crew;
use crate::error::Error;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::worker::Task;
use std::cell::RefCell;

pub(crate) use client::{Client, Outcome, Pace, calibrate, microseconds};
pub(crate) use kernel::Kernel;
pub(crate) use limit::Limit;

pub(crate) fn run(options: &ThroughputOptions) -> Result<(), Error> {
    let common = &options.common;
    let long = options.kernel == KernelName::Fma;
    let bench = Bench::new(common, if long { Threads::All } else { Threads::None })?;
    let clients = common.clients.unwrap_or(32).max(1);
    let load = Load {
        bench: &bench,
        kernel: choose_kernel(&bench, options)?,
        clients,
        depth: common.depth(),
        seconds: common.seconds(),
        links: RefCell::default(),
    };
    let daemon = bench.daemon(common.socket.as_deref())?;
    let best = load.search_limit()?;
    let place = daemon.place();
    // One submit per dispatch, as many in flight as all clients together have, within reason.
    let depth = (load.clients * load.depth).min(64);
    let mut arms = vec![
        Arm::new("separate", || load.clients(&bench.direct())),
        Arm::new("daemon", || load.clients(&place)),
        Arm::new("limit", || load.limit(best.shape)),
    ];
    if load.kernel.is_empty() {
        arms.push(Arm::new("inprocess", || {
            load.one_process(&bench.direct(), depth)
        }));
    }
    let samples = interleave(&mut arms, common.rounds)?;
    let names: Vec<String> = arms.iter().map(|arm| arm.name.clone()).collect();
    drop(arms);
    chain::check(&load.links.borrow(), load.kernel.iterations)?;
    let rows = names.into_iter().zip(&samples).map(|(name, rounds)| {
        let single = name == "limit" || name == "inprocess";
        let clients = if single { 1 } else { load.clients };
        Row::of("throughput", name, "dispatches/s", rounds).with(clients, load.depth)
    });
    report(&bench, common, &load.kernel, &best, rows.collect())
}

fn report(
    bench: &Bench,
    options: &Options,
    kernel: &Kernel,
    best: &limit::Found,
    rows: Vec<Row>,
) -> Result<(), Error> {
    let mut report = Report::new("throughput", rows);
    report.ratio("daemon_vs_separate", "daemon", "separate");
    report.ratio("daemon_vs_limit", "daemon", "limit");
    report.ratio("daemon_vs_inprocess", "daemon", "inprocess");
    if report.row("separate").is_some_and(|row| row.clients == 1) {
        // One separate process is direct use of the device.
        report.ratio("daemon_vs_direct", "daemon", "separate");
    }
    report.note("kernel", serde_json::to_value(kernel)?);
    report.note("limit_queues", best.shape.queues);
    report.note("limit_merged_dispatches", best.shape.merged);
    report.note(
        "limit_waits",
        if bench.device.cpu {
            "in the driver"
        } else {
            "by polling"
        },
    );
    report.note("separate_waits", "in the driver");
    report.note("command_buffers", "recorded for each submit, in all arms");
    report.note("results", "every buffer compared with the CPU reference");
    report.print(bench, options)
}

fn choose_kernel(bench: &Bench, options: &ThroughputOptions) -> Result<Kernel, Error> {
    let kernel = match options.kernel {
        KernelName::Noop => Kernel::noop(),
        KernelName::VectorAdd => Kernel::vector_add(),
        KernelName::Fma => Kernel::fma(options.groups.max(1), options.iterations.max(1)),
    };
    match options.kernel_ms {
        Some(_) if options.kernel != KernelName::Fma => {
            Err(Error::Usage("--kernel-ms needs the fma kernel"))
        }
        Some(milliseconds) => {
            let task = Task::Calibrate {
                place: bench.direct(),
                kernel,
                milliseconds,
            };
            let mut found = Crew::prepare(bench, &[task])?.measure::<u32>()?;
            let iterations = found.pop().ok_or(Error::WorkerDied)?;
            // llvmpipe silently leaves loops after 65 535 rounds, and runs workgroups one after another: there it is the
            // grid that makes a kernel long.
            let parts = match bench.device.cpu {
                true => iterations.div_ceil(LLVMPIPE_ITERATIONS),
                false => 1,
            };
            Ok(Kernel::fma(
                options.groups.max(1) * parts,
                iterations / parts,
            ))
        }
        None => Ok(kernel),
    }
}

/// A loop that llvmpipe runs to its end.
const LLVMPIPE_ITERATIONS: u32 = 60_000;

/// What every arm of the run does.
struct Load<'a> {
    bench: &'a Bench,
    kernel: Kernel,
    clients: usize,
    depth: usize,
    seconds: f64,
    /// Results to be checked at the end, so that checking disturbs no arm.
    links: RefCell<Vec<Link>>,
}

impl Load<'_> {
    fn clients(&self, place: &Place) -> Result<Sample, Error> {
        self.processes(place, self.clients, self.depth)
    }

    fn one_process(&self, place: &Place, depth: usize) -> Result<Sample, Error> {
        self.processes(place, 1, depth)
    }

    fn processes(&self, place: &Place, clients: usize, depth: usize) -> Result<Sample, Error> {
        let task = Task::Throughput(Client {
            place: place.clone(),
            kernel: self.kernel,
            depth,
            seconds: self.seconds,
            pace: Pace::AtOnce,
        });
        let results =
            Crew::prepare(self.bench, &vec![task; clients])?.measure::<client::Outcome>()?;
        for outcome in &results {
            self.links.borrow_mut().extend(&outcome.links);
        }
        Ok(client::sample(&results))
    }

    fn search_limit(&self) -> Result<limit::Found, Error> {
        self.one_limit(None)
    }

    fn limit(&self, shape: limit::Shape) -> Result<Sample, Error> {
        let found = self.one_limit(Some(shape))?;
        Ok(Sample {
            value: found.per_second,
            p50_us: None,
            p99_us: None,
        })
    }

    fn one_limit(&self, shape: Option<limit::Shape>) -> Result<limit::Found, Error> {
        let task = Task::Limit(Limit {
            device: self.bench.device_index(),
            kernel: self.kernel,
            seconds: self.seconds,
            shape,
        });
        let mut found = Crew::prepare(self.bench, &[task])?.measure::<limit::Found>()?;
        let found = found.pop().ok_or(Error::WorkerDied)?;
        self.links.borrow_mut().extend(&found.links);
        Ok(found)
    }
}
