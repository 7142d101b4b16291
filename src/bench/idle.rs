//! What a daemon costs that nobody uses: CPU time and memory, with 0 and with many connected clients.

use crate::arguments::Options;
use crate::backend::Place;
use crate::bench::{Bench, Daemon, Threads};
use crate::clock;
use crate::crew::{Crew, inside};
use crate::error::Error;
use crate::process::{self, Footprint};
use crate::progress;
use crate::report::{Report, Row, Sample};
use crate::worker::Task;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use vkmps::Client;

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    if options.socket.is_some() {
        return Err(Error::Usage(
            "idle measures a private daemon: leave --socket away",
        ));
    }
    let bench = Bench::new(options, Threads::None)?;
    let daemon = bench.daemon(None)?;
    let (Daemon::Private(private), Place::Daemon { socket, .. }) = (&daemon, daemon.place()) else {
        return Err(Error::Usage("idle measures a private daemon"));
    };
    let clients = options.clients.unwrap_or(256).max(1);
    let alone = observe(private.pid(), options.seconds(), "no client")?;
    let crew = Crew::prepare(
        &bench,
        &[Task::Idle(Clients {
            socket,
            count: clients,
        })],
    )?;
    let crowded = observe(private.pid(), options.seconds(), "connected clients")?;
    drop(crew);
    progress::clear();

    let per_client = |pick: fn(&Footprint) -> u64| {
        pick(&crowded.memory).saturating_sub(pick(&alone.memory)) as f64 / clients as f64
    };
    let row = |arm: &str, clients: usize, value: f64, unit| {
        let sample = Sample {
            value,
            p50_us: None,
            p99_us: None,
        };
        Row {
            clients,
            depth: 0,
            ..Row::of("idle", arm, unit, &[sample])
        }
    };
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let rows = vec![
        row("cpu", 0, alone.cpu_percent, "% of a CPU"),
        row("cpu", clients, crowded.cpu_percent, "% of a CPU"),
        row("memory_rss", 0, kib(alone.memory.rss_bytes), "KiB"),
        row("memory_rss", clients, kib(crowded.memory.rss_bytes), "KiB"),
        row("memory_pss", 0, kib(alone.memory.pss_bytes), "KiB"),
        row("memory_pss", clients, kib(crowded.memory.pss_bytes), "KiB"),
        row(
            "per_client_rss",
            clients,
            per_client(|memory| memory.rss_bytes) / 1024.0,
            "KiB",
        ),
        row(
            "per_client_pss",
            clients,
            per_client(|memory| memory.pss_bytes) / 1024.0,
            "KiB",
        ),
    ];
    let mut report = Report::new("idle", rows);
    report.note("measured", "vkmpsd and all its child processes together");
    report.print(&bench, options)
}

struct Observation {
    cpu_percent: f64,
    memory: Footprint,
}

fn observe(daemon: u32, seconds: f64, what: &str) -> Result<Observation, Error> {
    progress::show(&format!("watching the daemon with {what}"));
    thread::sleep(SETTLE);
    let pids = process::family(daemon);
    let (cpu_before, start_ns) = (process::cpu_ns(&pids)?, clock::now_ns());
    thread::sleep(Duration::from_secs_f64(seconds));
    let used_ns = process::cpu_ns(&pids)? - cpu_before;
    let passed_ns = clock::now_ns() - start_ns;
    Ok(Observation {
        cpu_percent: used_ns as f64 / passed_ns as f64 * 100.0,
        memory: process::footprint(&pids),
    })
}

/// A process with many connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Clients {
    socket: PathBuf,
    count: usize,
}

impl Clients {
    /// Connects, and holds the connections until the parent goes.
    pub(crate) fn run(self) -> Result<(), Error> {
        // Each connection has a few descriptors.
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)
            .map_err(|error| Error::System("asking for the limit of open files", error))?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .map_err(|error| Error::System("raising the limit of open files", error))?;
        let connect = || {
            Client::builder()
                .socket(&self.socket)
                .name("vkmps-bench idle")
                .connect()
        };
        let clients: Vec<Client> = (0..self.count)
            .map(|_| connect())
            .collect::<Result<_, _>>()?;
        inside::ready()?;
        let _order: Option<u64> = inside::hear()?;
        drop(clients);
        Ok(())
    }
}

/// What the last event left to do is done by then.
const SETTLE: Duration = Duration::from_millis(500);
