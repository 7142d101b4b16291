//! `vkmpsctl trace`: what the device did for whom, and when.

mod chrome;
mod picture;
mod reader;
mod timeline;

use crate::clients::now_us;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Format;
use crate::service::Service;
use crate::text::escape;
use crate::units;
use nix::time::{ClockId, clock_gettime};
use reader::Reader;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use timeline::Timeline;
use tokio::time::{Instant, sleep, sleep_until};
use vkmps_bus::ClientEntry;

/// How long, and where to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How long to look
    #[arg(long, short, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Where the trace goes: JSON for ui.perfetto.dev or chrome://tracing
    #[arg(long, short, value_name = "FILE", required_unless_present = "svg")]
    output: Option<PathBuf>,
    /// Where a picture of it goes
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What was written; the keys are those of the JSON.
#[derive(Debug, Serialize)]
struct Summary {
    duration_us: u64,
    batches: usize,
    pieces: usize,
    clients: usize,
    /// Records.
    lost: u64,
    /// There was more than is kept.
    full: bool,
    output: Option<PathBuf>,
    svg: Option<PathBuf>,
}

/// Looks until the time is over or somebody interrupts, then writes what was seen.
pub(crate) async fn run(service: &Service, options: &Options, format: Format) -> Result<(), Error> {
    let interrupt = Interrupt::new()?;
    let ring: zbus::OwnedFd = service.guarded("Trace", &()).await?;
    let mut reader = Reader::new(File::from(OwnedFd::from(ring)))?;
    // What cannot be written should be known before, not after.
    let output = options.output.as_deref().map(create).transpose()?;
    let svg = options.svg.as_deref().map(create).transpose()?;
    let device = service.manager().device_name().await.unwrap_or_default();
    let began_us = now_us();
    let mut timeline = Timeline::new(monotonic_ns()?);
    let mut clients = Clients::default();
    let mut progress = Progress::new(options.seconds);
    let mut interrupted = std::pin::pin!(interrupt.wait());
    let end = Instant::now() + options.seconds;
    let mut asking = ask(service, Duration::ZERO);
    let mut records = 0;
    let mut over = false;
    while !over {
        tokio::select! {
            () = &mut interrupted => over = true,
            found = &mut asking => {
                clients.learn(found?);
                asking = ask(service, LEARN_EVERY);
            }
            () = sleep_until(end.min(Instant::now() + READ_EVERY)) => {}
        }
        let take = |entry| {
            timeline.add(entry);
            records += 1;
            records < MAX_RECORDS
        };
        reader.read(take)?;
        over |= Instant::now() >= end || records >= MAX_RECORDS;
        progress.show(records);
    }
    drop(asking);
    drop(progress);
    timeline.finish(monotonic_ns()?);
    // Those who came last; a service that has gone meanwhile is no reason to lose what was seen.
    clients.learn(service.manager().list_clients().await.unwrap_or_default());

    let title = title(&device, &timeline, began_us);
    if let Some((path, file)) = output {
        let other = json!({
            "title": title, "device": device, "lost": reader.lost(), "began_us": began_us,
            "clock_monotonic_ns": timeline.begin_ns,
        });
        let mut file = BufWriter::new(file);
        let written = chrome::write(&mut file, &timeline, &clients, &other);
        written
            .and_then(|()| file.flush())
            .map_err(unwritable(path))?;
    }
    if let Some((path, mut file)) = svg {
        let picture = picture::draw(&timeline, &clients, &title, reader.lost());
        file.write_all(picture.as_bytes())
            .map_err(unwritable(path))?;
    }
    let sessions: BTreeSet<u64> = timeline
        .pieces
        .iter()
        .map(|piece| piece.session.0)
        .collect();
    let summary = Summary {
        duration_us: (timeline.end_ns - timeline.begin_ns) / 1000,
        batches: timeline.batches.len(),
        pieces: timeline.pieces.len(),
        clients: sessions.len(),
        lost: reader.lost(),
        full: records >= MAX_RECORDS,
        output: options.output.clone(),
        svg: options.svg.clone(),
    };
    format.show(&summary, |_| summary.text())
}

impl Summary {
    fn text(&self) -> String {
        let batches = match self.batches {
            1 => "1 batch".to_owned(),
            batches => format!("{batches} batches"),
        };
        let mut text = format!(
            "{}: {} with {} of {}",
            units::span_ns(self.duration_us * 1000),
            batches,
            units::count(self.pieces as u64, "piece"),
            units::count(self.clients as u64, "client"),
        );
        if self.lost > 0 {
            text += &format!("; {} lost", units::count(self.lost, "record"));
        }
        if self.full {
            text += "; stopped early, that is as much as is kept";
        }
        text + "\n"
    }
}

/// What is known of those who had the device.
#[derive(Debug, Default)]
struct Clients {
    known: BTreeMap<u64, Client>,
}

#[derive(Debug, Clone)]
struct Client {
    name: String,
    uid: u32,
    pid: u32,
}

impl Clients {
    fn learn(&mut self, entries: Vec<ClientEntry>) {
        for entry in entries {
            let ClientEntry { name, uid, pid, .. } = entry;
            self.known.insert(entry.id, Client { name, uid, pid });
        }
    }

    fn known(&self, session: u64) -> Option<&Client> {
        self.known.get(&session)
    }

    /// For people; whoever came and went between two looks has a number only.
    fn label(&self, session: u64) -> String {
        match self.known(session) {
            Some(client) => format!("{} ({session})", escape(&client.name)),
            None => format!("client {session}"),
        }
    }
}

/// Who is there, after a while.
fn ask(
    service: &Service,
    after: Duration,
) -> Pin<Box<dyn Future<Output = Result<Vec<ClientEntry>, Error>> + '_>> {
    Box::pin(async move {
        sleep(after).await;
        Ok(service.manager().list_clients().await?)
    })
}

fn title(device: &str, timeline: &Timeline, began_us: u64) -> String {
    let device = match device {
        "" => "no device",
        device => device,
    };
    let span = units::span_ns(timeline.end_ns - timeline.begin_ns);
    format!("{device}, {span} from {}", units::utc(began_us))
}

/// A line on a terminal that says how far it is, gone at the end.
struct Progress {
    began: Instant,
    seconds: Duration,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    fn new(seconds: Duration) -> Self {
        Self {
            began: Instant::now(),
            seconds,
            shown: None,
            terminal: io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, records: u64) {
        let now = Instant::now();
        let due = self.shown.is_none_or(|shown| now - shown >= SHOW_EVERY);
        if !self.terminal || !due {
            return;
        }
        self.shown = Some(now);
        let (passed, all) = (now - self.began, self.seconds);
        eprint!(
            "\r\x1b[Ktracing, {:.0} of {:.0} s, {records} records",
            passed.as_secs_f64(),
            all.as_secs_f64()
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn create(path: &Path) -> Result<(&Path, File), Error> {
    let file = File::create(path).map_err(unwritable(path))?;
    Ok((path, file))
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Write {
        path: path.to_owned(),
        source,
    }
}

fn monotonic_ns() -> Result<u64, Error> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    let now = now.map_err(|errno| Error::System("the clock cannot be read", errno.into()))?;
    Ok(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    match (0.01..=3600.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("from 0.01 to 3600 seconds"),
    }
}

/// Much more often than the ring goes round.
const READ_EVERY: Duration = Duration::from_millis(10);
/// Clients that stay for less may have no name in the trace.
const LEARN_EVERY: Duration = Duration::from_millis(500);
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// What is kept: some hundred megabytes, here and in the file.
const MAX_RECORDS: u64 = 4_000_000;

#[cfg(test)]
mod tests;
