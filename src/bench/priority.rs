//! What somebody in the foreground waits for while the background saturates the device with long kernels, and what the
//! background loses by it.

use crate::arguments::PriorityOptions;
use crate::backend::{Place, Rank};
use crate::bench::{Bench, Threads};
use crate::chain::{self, Link};
use crate::crew::Crew;
use crate::error::Error;
use crate::report::{Report, Row, Sample};
use crate::rounds::{Arm, interleave};
use crate::throughput::{Client, Kernel, Outcome, Pace};
use crate::worker::Task;
use crate::{backend, size};
use std::cell::RefCell;

pub(crate) fn run(options: &PriorityOptions) -> Result<(), Error> {
    let common = &options.common.or(DEPTH, 3.0);
    let bench = Bench::new(common, Threads::All)?;
    let daemon = bench.daemon(common.socket.as_deref())?;
    let iterations = if bench.device.cpu { 200 } else { 2000 };
    let duel = Duel {
        bench: &bench,
        long: size::kernel(&bench, GROUPS, options.kernel_ms)?,
        short: Kernel::fma(8, iterations),
        depth: common.depth(),
        seconds: common.seconds(),
        links: RefCell::default(),
    };
    let (place, direct) = (daemon.place(), bench.direct());
    let (low, high) = (place.ranked(Rank::Low), place.ranked(Rank::High));
    let realtime = place.ranked(Rank::Realtime);
    let mut arms = vec![
        duel.arm("daemon background", Some(&low), None),
        duel.arm("daemon foreground", None, Some(&high)),
        duel.arm("daemon high", Some(&low), Some(&high)),
        duel.arm("daemon equal", Some(&place), Some(&place)),
        duel.arm("separate background", Some(&direct), None),
        duel.arm("separate foreground", None, Some(&direct)),
        duel.arm("separate", Some(&direct), Some(&direct)),
    ];
    let granted = backend::open(&realtime).is_ok();
    if granted {
        arms.insert(3, duel.arm("daemon realtime", Some(&low), Some(&realtime)));
    }
    let samples = interleave(&mut arms, common.rounds)?;
    let names: Vec<String> = arms.iter().map(|arm| arm.name.clone()).collect();
    drop(arms);
    for (kernel, links) in [duel.long, duel.short]
        .iter()
        .zip(duel.links.borrow().iter())
    {
        chain::check(links, kernel.iterations)?;
    }
    let rows = names.iter().zip(&samples);
    let rows = rows.map(|(name, rounds)| {
        let clients = if name.ends_with("ground") { 1 } else { 2 };
        Row::of("priority", name.as_str(), "background/s", rounds).with(clients, duel.depth)
    });
    let mut report = Report::new("priority", rows.collect());
    compare(&mut report);
    if !granted {
        report.note("daemon realtime", "skipped: the daemon does not grant it");
    }
    report.note("background_kernel", serde_json::to_value(duel.long)?);
    report.note("foreground_kernel", serde_json::to_value(duel.short)?);
    report.note("foreground", "p50 and p99, 0.5 to 1 ms apart");
    report.print(&bench, common)
}

/// What the background keeps, and how much longer than alone the foreground waits, of each contested arm.
fn compare(report: &mut Report) {
    for (arm, suffix) in [
        ("daemon high", ""),
        ("daemon realtime", "_realtime"),
        ("daemon equal", "_equal"),
        ("separate", "_separate"),
    ] {
        let place = arm.split(' ').next().unwrap_or_default();
        let alone = |what: &str| report.row(&format!("{place} {what}")).cloned();
        let (Some(both), Some(background), Some(foreground)) = (
            report.row(arm).cloned(),
            alone("background"),
            alone("foreground"),
        ) else {
            continue;
        };
        let kept = both.value / background.value;
        report.put_ratio(&format!("background_kept{suffix}"), kept);
        if let (Some(both_us), Some(alone_us)) = (both.p99_us, foreground.p99_us) {
            report.put_ratio(&format!("foreground_vs_alone{suffix}"), both_us / alone_us);
            let added = format!("foreground_added_us{suffix}");
            report.put_ratio(&added, both_us - alone_us);
        }
    }
}

/// The two kernels, and how long they meet.
struct Duel<'a> {
    bench: &'a Bench,
    long: Kernel,
    short: Kernel,
    depth: usize,
    seconds: f64,
    /// Results of the long kernel and of the short one, to be checked at the end.
    links: RefCell<[Vec<Link>; 2]>,
}

impl Duel<'_> {
    fn arm<'b>(
        &'b self,
        name: &'static str,
        background: Option<&Place>,
        foreground: Option<&Place>,
    ) -> Arm<'b> {
        let background = background.map(|place| {
            Task::Throughput(Client {
                place: place.clone(),
                kernel: self.long,
                depth: self.depth,
                seconds: self.seconds,
                pace: Pace::AtOnce,
            })
        });
        let foreground = foreground.map(|place| {
            Task::Throughput(Client {
                place: place.clone(),
                kernel: self.short,
                depth: 1,
                seconds: self.seconds,
                pace: Pace::AfterAPause,
            })
        });
        Arm::new(name, move || self.measure(&background, &foreground))
    }

    fn measure(
        &self,
        background: &Option<Task>,
        foreground: &Option<Task>,
    ) -> Result<Sample, Error> {
        let tasks: Vec<Task> = background.iter().chain(foreground).cloned().collect();
        let outcomes = Crew::prepare(self.bench, &tasks)?.measure::<Outcome>()?;
        let mut outcomes = outcomes.into_iter();
        let mut next = |task: &Option<Task>, kind: usize| {
            let outcome = task.as_ref().and_then(|_| outcomes.next())?;
            self.links.borrow_mut()[kind].extend(&outcome.links);
            Some(outcome)
        };
        let (background, foreground) = (next(background, 0), next(foreground, 1));
        let quantile = |pick: fn(&Outcome) -> Option<f64>| foreground.as_ref().and_then(pick);
        Ok(Sample {
            value: background.as_ref().map_or(0.0, Outcome::rate),
            p50_us: quantile(Outcome::p50_us),
            p99_us: quantile(Outcome::p99_us),
        })
    }
}

/// Of the background: the device never waits for it.
const DEPTH: usize = 4;
/// Of a long kernel on a GPU: 64 waves of one workgroup per multiprocessor of a large one.
const GROUPS: u32 = 8448;
