//! Allocating and freeing 1 MiB: in process by the driver, and through the daemon under a limit that is enforced.

use crate::arguments::Options;
use crate::backend::{self, Place};
use crate::bench::{Bench, Threads};
use crate::crew::{Crew, inside};
use crate::error::Error;
use crate::figures::Quantiles;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::throughput::microseconds;
use crate::worker::Task;
use serde::{Deserialize, Serialize};
use std::thread;
use std::time::{Duration, Instant};
use vkmps::{ErrorCode, Memory};

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let common = &options.or(1, 2.0);
    let bench = Bench::new(common, Threads::None)?;
    let daemon = bench.daemon_with(common.socket.as_deref(), LIMITS)?;
    let place = daemon.place();
    let enforced = common.socket.is_none();
    if enforced {
        check_limit(&place)?;
    }
    let many = common.clients.unwrap_or(32).max(1);
    let crowd = format!("daemon {many}");
    let direct = bench.direct();
    let measure = |place: &Place, contents, clients| {
        let task = Task::Alloc(Client {
            place: place.clone(),
            contents,
            seconds: common.seconds(),
        });
        let (bench, tasks) = (&bench, vec![task; clients]);
        move || one(bench, &tasks)
    };
    let mut arms = vec![
        Arm::new("inprocess", measure(&direct, Contents::Zero, 1)),
        Arm::new("daemon", measure(&place, Contents::Zero, 1)),
        Arm::new("daemon unscrubbed", measure(&place, Contents::Any, 1)),
        Arm::new(crowd.as_str(), measure(&place, Contents::Zero, many)),
    ];
    let samples = interleave(&mut arms, common.rounds)?;
    let rows = arms.iter().zip(&samples).map(|(arm, rounds)| {
        let clients = if arm.name == crowd { many } else { 1 };
        Row::of("alloc", arm.name.as_str(), "us (p50)", rounds).with(clients, 1)
    });
    let mut report = Report::new("alloc", rows.collect());
    report.ratio("daemon_vs_inprocess", "daemon", "inprocess");
    report.ratio("unscrubbed_vs_inprocess", "daemon unscrubbed", "inprocess");
    report.ratio("many_vs_one", &crowd, "daemon");
    report.note("allocated", "1 MiB of device memory, freed at once");
    report.note(
        "pause_us",
        u64::try_from(PAUSE.as_micros()).unwrap_or(u64::MAX),
    );
    report.note(
        "limit",
        if enforced {
            "64 MiB a client, 1 GiB a user: checked to be refused beyond"
        } else {
            "as the given daemon has it"
        },
    );
    report.print(&bench, common)
}

fn one(bench: &Bench, tasks: &[Task]) -> Result<Sample, Error> {
    let found = Crew::prepare(bench, tasks)?.measure::<Quantiles>()?;
    let found = Quantiles::merge(&found);
    let p50_us = found.p50();
    Ok(Sample {
        value: p50_us.unwrap_or(f64::NAN),
        p50_us,
        p99_us: found.p99(),
    })
}

/// That what is measured is not a daemon without a limit.
fn check_limit(place: &Place) -> Result<(), Error> {
    let Place::Daemon { socket, .. } = place else {
        return Err(Error::Usage("limits are the daemon's"));
    };
    let client = vkmps::Client::builder().socket(socket).connect()?;
    let within = client.alloc(LIMIT, Memory::Device)?;
    let beyond = client.alloc(BYTES, Memory::Device);
    drop(within);
    match beyond {
        Err(error) if is_refusal(error.code()) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(Error::Wrong("a client has more than its limit".to_owned())),
    }
}

/// Whether an allocation met a limit, or the end of the memory.
pub(crate) fn is_refusal(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OutOfDeviceMemory | ErrorCode::OutOfHostMemory | ErrorCode::LimitReached
    )
}

/// What fresh memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contents {
    Zero,
    /// Zero, or what this client left there.
    Any,
}

/// One client process that allocates and frees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Client {
    place: Place,
    contents: Contents,
    seconds: f64,
}

impl Client {
    pub(crate) fn run(self) -> Result<(), Error> {
        let mut backend = backend::open(&self.place)?;
        let mut pairs = |duration: Duration| {
            let mut times = Vec::new();
            let start = Instant::now();
            while start.elapsed() < duration {
                let before = Instant::now();
                backend.allocate_and_free(BYTES, self.contents)?;
                times.push(microseconds(before.elapsed()));
                // Clean memory is at hand again by then.
                thread::sleep(PAUSE);
            }
            Ok::<_, Error>(Quantiles::of(times))
        };
        pairs(WARM_UP)?;
        inside::line_up()?;
        let found = pairs(Duration::from_secs_f64(self.seconds))?;
        inside::say(&found)
    }
}

const BYTES: u64 = 1 << 20;
/// Of a client; [`LIMITS`] says it, too.
const LIMIT: u64 = 64 << 20;
const LIMITS: &str = "[limits]\nmemory = \"64M\"\nuser-memory = \"1G\"\n";
const WARM_UP: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_micros(500);
