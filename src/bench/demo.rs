//! Many processes compute pictures on one device: first through the daemon, then each on a VkDevice of its own.

mod arm;
mod picture;
mod plan;
mod reference;
mod timeline;
mod worker;

use crate::arguments::{DemoOptions, Options};
use crate::bench::{Bench, Daemon, Threads};
use crate::error::Error;
use crate::figures::median;
use crate::private_daemon::new_folder;
use crate::process;
use crate::progress;
use arm::Run;
use picture::Picture;
use plan::{Plan, Stage};
use std::fs;
use std::path::PathBuf;

pub(crate) use worker::Worker;

pub(crate) fn run(options: &DemoOptions) -> Result<(), Error> {
    let source = options.image.as_deref().map(Picture::load).transpose()?;
    let mut bench = Bench::new(&conditions(options), Threads::All)?;
    let folder = Folder(new_folder()?);
    let plan = Plan::new(options, source.as_ref(), folder.0.clone());
    let clients = options.clients.max(1);
    fs::create_dir_all(&options.output).map_err(|source| Error::File {
        path: options.output.clone(),
        what: "cannot be created",
        source,
    })?;

    // Both ways start with nothing compiled.
    bench.keep_shaders_in(folder.0.join("shared"))?;
    let daemon = bench.daemon(None)?;
    let mut shared = arm::run(
        &bench,
        "shared",
        &daemon.place(),
        &plan,
        clients,
        source.as_ref(),
    )?;
    if let Daemon::Private(private) = &daemon {
        shared.daemon_bytes = process::footprint(&process::family(private.pid())).pss_bytes;
    }
    drop(daemon);
    let verdicts = check(&plan, source.as_ref())?;
    for stage in plan.stages() {
        let picture = plan.read(*stage)?;
        picture.save(&options.output.join(format!("{}.png", stage.name())))?;
    }
    bench.keep_shaders_in(folder.0.join("separate"))?;
    let separate = arm::run(
        &bench,
        "separate",
        &bench.direct(),
        &plan,
        clients,
        source.as_ref(),
    )?;
    check(&plan, source.as_ref())?;
    progress::clear();

    let picture = options.output.join("timeline.svg");
    fs::write(&picture, timeline::draw(&[&shared, &separate])).map_err(|source| Error::File {
        path: picture,
        what: "cannot be written",
        source,
    })?;
    print(&bench, &plan, &shared, &separate);
    for verdict in verdicts {
        println!("{verdict}");
    }
    println!(
        "pictures and timeline.svg are in {}",
        options.output.display()
    );
    Ok(())
}

/// The options that the demo shares with the scenarios.
fn conditions(options: &DemoOptions) -> Options {
    Options {
        clients: Some(options.clients),
        depth: Some(worker::LANES),
        device: options.device,
        seconds: Some(0.0),
        rounds: 1,
        json: false,
        socket: None,
        pin: None,
    }
}

/// Compares the pictures that the workers left with the CPU's.
fn check(plan: &Plan, source: Option<&Picture>) -> Result<Vec<String>, Error> {
    progress::show("comparing every pixel with the CPU reference");
    let mut verdicts = Vec::new();
    let mut input = source.cloned();
    for stage in plan.stages() {
        let found = plan.read(*stage)?;
        let expected = match (stage, &input) {
            (Stage::Mandelbrot, _) => reference::mandelbrot(plan),
            (Stage::Blur, Some(input)) => reference::blur(input),
            (Stage::Edges, Some(input)) => reference::edges(input),
            (_, None) => return Err(Error::Usage("a stage has no input")),
        };
        let wrong = found.differing_pixels(&expected);
        let allowed = match stage {
            // A driver that contracts despite `precise` moves single pixels at the set's border.
            Stage::Mandelbrot => found.pixels.len() / 1000,
            Stage::Blur | Stage::Edges => 0,
        };
        if wrong > allowed {
            let text = format!(
                "{wrong} pixels of {} differ from the CPU reference",
                stage.name()
            );
            return Err(Error::Wrong(text));
        }
        verdicts.push(format!(
            "{}: {} of {} pixels differ from the CPU reference (allowed: {allowed})",
            stage.name(),
            wrong,
            found.pixels.len()
        ));
        input = Some(found);
    }
    Ok(verdicts)
}

fn print(bench: &Bench, plan: &Plan, shared: &Run, separate: &Run) {
    println!("{} ({})", bench.device.name, bench.device.driver);
    println!(
        "{} processes, {} x {} pixels, {} dispatches, no shader compiled before{}",
        shared.workers(),
        plan.width,
        plan.height,
        plan.dispatches(),
        bench
            .threads()
            .map_or_else(String::new, |threads| format!(", LP_NUM_THREADS={threads}"))
    );
    println!(
        "{:<38} {:>12} {:>12} {:>10}",
        "", "shared", "separate", "ratio"
    );
    let line = |what: &str, of: fn(&Run) -> f64, unit: &str, better: fn(f64, f64) -> f64| {
        let (a, b) = (of(shared), of(separate));
        println!(
            "{what:<38} {:>12} {:>12} {:>10}",
            show(a, unit),
            show(b, unit),
            format!("{:.2} x", better(a, b))
        );
    };
    let less = |a: f64, b: f64| b / a;
    let first: fn(&Run) -> f64 = |run| median(&run.first_results_ms()).unwrap_or(f64::NAN);
    line("time to first result (median process)", first, "ms", less);
    line("total time", Run::total_ms, "ms", less);
    line(
        "dispatches per second",
        |run| run.spans.len() as f64 / run.total_ms() * 1e3,
        "/s",
        |a, b| a / b,
    );
    line(
        "memory of the processes (sum of Pss)",
        |run| mebibytes(run.worker_bytes),
        "MiB",
        less,
    );
    line(
        "the same with the daemon's",
        |run| mebibytes(run.worker_bytes + run.daemon_bytes),
        "MiB",
        less,
    );
}

fn show(value: f64, unit: &str) -> String {
    format!("{value:.1} {unit}")
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A folder for the time of one run.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}
