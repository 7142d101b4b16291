//! One view: what happened between two samples.

use crate::error::Error;
use crate::paint::Paint;
use crate::service::{Properties, Service};
use crate::status::used_of;
use crate::table::{Align, Table};
use crate::text::{escape, escape_or_dash};
use crate::units;
use crate::users::Users;
use serde::Serialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What the service said at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    summary: Summary,
    clients: Vec<Known>,
}

/// What the service said of a client.
#[derive(Debug, Clone)]
struct Known {
    id: u64,
    uid: u32,
    pid: u32,
    name: String,
    unit: String,
    priority: String,
    memory_used_bytes: u64,
    queue_depth: u32,
    counters: Counters,
}

/// They only grow.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    device_time_ns: u64,
    dispatches: u64,
    submits: u64,
    wait_ns: u64,
    slices: u64,
    preemptions: u64,
}

/// What clients are sorted by: the most of it is on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Order {
    /// Part of the device's time
    Share,
    /// Dispatches per second
    Dispatches,
    /// What submits waited on average
    Wait,
    /// Slices per second
    Slices,
    /// Preemptions per second
    Preemptions,
    /// Submits that are queued
    Queued,
    /// Device memory
    Memory,
    /// Number of the client, the least on top
    Client,
}

/// The service as a whole; the keys are those of the JSON.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    version: String,
    state: String,
    device_name: String,
    memory_total_bytes: u64,
    memory_used_bytes: u64,
    queue_depth: u64,
    uptime_us: u64,
}

/// A view; the keys are those of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    #[serde(flatten)]
    summary: Summary,
    interval_us: u64,
    /// In the order that was asked for.
    clients: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    id: u64,
    uid: u32,
    pid: u32,
    name: String,
    unit: String,
    priority: String,
    memory_used_bytes: u64,
    queue_depth: u32,
    device_time_percent: f64,
    dispatches_per_second: f64,
    /// Of the submits that were given to the device in the interval, from their acceptance on; 0 without any.
    wait_mean_us: f64,
    slices_per_second: f64,
    preemptions_per_second: f64,
}

impl Sample {
    /// Asks.
    pub(super) async fn take(service: &Service) -> Result<Self, Error> {
        let (mut manager, clients) = service.tree().await?;
        let summary = Summary {
            version: manager.take("Version")?,
            state: manager.take("State")?,
            device_name: manager.take("DeviceName")?,
            memory_total_bytes: manager.take("MemoryTotal")?,
            memory_used_bytes: manager.take("MemoryUsed")?,
            queue_depth: manager.take("QueueDepth")?,
            uptime_us: manager.take("Uptime")?,
        };
        let at = Instant::now();
        let clients = clients.into_iter().map(Known::new);
        Ok(Self {
            at,
            summary,
            clients: clients.collect::<Result<_, _>>()?,
        })
    }
}

impl Known {
    fn new(mut client: Properties) -> Result<Self, Error> {
        Ok(Self {
            id: client.take("Id")?,
            uid: client.take("Uid")?,
            pid: client.take("Pid")?,
            name: client.take("Name")?,
            unit: client.take("Unit")?,
            priority: client.take("Priority")?,
            memory_used_bytes: client.take("MemoryUsed")?,
            queue_depth: client.take("QueueDepth")?,
            counters: Counters {
                device_time_ns: client.take("DeviceTimeNSec")?,
                dispatches: client.take("Dispatches")?,
                submits: client.take("Submits")?,
                wait_ns: client.take("WaitTimeNSec")?,
                slices: client.take("Slices")?,
                preemptions: client.take("Preemptions")?,
            },
        })
    }
}

impl Counters {
    /// What came since; those that went back are another engine's, and nothing came.
    fn since(self, before: Self) -> Self {
        Self {
            device_time_ns: self.device_time_ns.saturating_sub(before.device_time_ns),
            dispatches: self.dispatches.saturating_sub(before.dispatches),
            submits: self.submits.saturating_sub(before.submits),
            wait_ns: self.wait_ns.saturating_sub(before.wait_ns),
            slices: self.slices.saturating_sub(before.slices),
            preemptions: self.preemptions.saturating_sub(before.preemptions),
        }
    }
}

impl Row {
    fn new(client: &Known, before: Counters, interval: Duration) -> Self {
        let done = client.counters.since(before);
        Self {
            id: client.id,
            uid: client.uid,
            pid: client.pid,
            name: client.name.clone(),
            unit: client.unit.clone(),
            priority: client.priority.clone(),
            memory_used_bytes: client.memory_used_bytes,
            queue_depth: client.queue_depth,
            device_time_percent: rate(done.device_time_ns, interval) / 1e7,
            dispatches_per_second: rate(done.dispatches, interval),
            wait_mean_us: mean_us(done.wait_ns, done.submits),
            slices_per_second: rate(done.slices, interval),
            preemptions_per_second: rate(done.preemptions, interval),
        }
    }

    /// What it is sorted by.
    #[expect(clippy::cast_precision_loss, reason = "memory is compared by people")]
    fn key(&self, order: Order) -> f64 {
        match order {
            Order::Share => self.device_time_percent,
            Order::Dispatches => self.dispatches_per_second,
            Order::Wait => self.wait_mean_us,
            Order::Slices => self.slices_per_second,
            Order::Preemptions => self.preemptions_per_second,
            Order::Queued => self.queue_depth.into(),
            Order::Memory => self.memory_used_bytes as f64,
            Order::Client => 0.0,
        }
    }
}

impl Frame {
    /// What the clients of the later sample did since the earlier one. Who was not there then did all of it since.
    pub(super) fn between(earlier: &Sample, later: &Sample, order: Order) -> Self {
        let interval = later.at.saturating_duration_since(earlier.at);
        let before = earlier.clients.iter();
        let before: HashMap<u64, Counters> =
            before.map(|client| (client.id, client.counters)).collect();
        let rows = later.clients.iter().map(|client| {
            let before = before.get(&client.id).copied().unwrap_or_default();
            Row::new(client, before, interval)
        });
        let mut clients: Vec<Row> = rows.collect();
        clients.sort_by(|a, b| {
            let most = b.key(order).total_cmp(&a.key(order));
            most.then(a.id.cmp(&b.id))
        });
        Self {
            summary: later.summary.clone(),
            interval_us: u64::try_from(interval.as_micros()).unwrap_or(u64::MAX),
            clients,
        }
    }

    /// For people.
    pub(super) fn lines(&self, users: &mut Users, paint: Paint) -> Vec<String> {
        let summary = &self.summary;
        let state = escape(&summary.state);
        let percent: f64 = self.clients.iter().map(|row| row.device_time_percent).sum();
        let dispatches: f64 = self
            .clients
            .iter()
            .map(|row| row.dispatches_per_second)
            .sum();
        let mut lines = vec![
            format!(
                "vkmpsd {} {}, up {}, {}",
                escape(&summary.version),
                paint.state(&state, &state),
                units::age_us(summary.uptime_us),
                escape_or_dash(&summary.device_name),
            ),
            format!(
                "{}, memory {}, {} queued, device {percent:.1} %, {dispatches:.1} dispatches/s",
                units::count(self.clients.len() as u64, "client"),
                used_of(summary.memory_used_bytes, summary.memory_total_bytes),
                summary.queue_depth,
            ),
            String::new(),
        ];
        let mut table = Table::new([
            ("CLIENT", Align::Right),
            ("PID", Align::Right),
            ("USER", Align::Left),
            ("PRIORITY", Align::Left),
            ("SHARE %", Align::Right),
            ("DISPATCH/S", Align::Right),
            ("WAIT", Align::Right),
            ("SLICES/S", Align::Right),
            ("PREEMPT/S", Align::Right),
            ("QUEUED", Align::Right),
            ("MEMORY", Align::Right),
            ("UNIT", Align::Left),
            ("NAME", Align::Left),
        ]);
        for row in &self.clients {
            table.row([
                row.id.to_string(),
                row.pid.to_string(),
                users.name(row.uid),
                escape(&row.priority),
                format!("{:.1}", row.device_time_percent),
                format!("{:.1}", row.dispatches_per_second),
                wait(row.wait_mean_us),
                format!("{:.1}", row.slices_per_second),
                format!("{:.1}", row.preemptions_per_second),
                row.queue_depth.to_string(),
                units::bytes(row.memory_used_bytes),
                escape_or_dash(&row.unit),
                escape(&row.name),
            ]);
        }
        lines.extend(table.lines(paint));
        lines
    }
}

/// Nothing waited for nothing.
fn wait(us: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a saturating conversion of what is not negative"
    )]
    match us {
        0.0 => "-".to_owned(),
        us => units::span_ns((us * 1e3) as u64),
    }
}

/// Microseconds each.
#[expect(clippy::cast_precision_loss, reason = "a mean for people and graphs")]
fn mean_us(sum_ns: u64, count: u64) -> f64 {
    match count {
        0 => 0.0,
        count => sum_ns as f64 / count as f64 / 1e3,
    }
}

/// Per second.
#[expect(clippy::cast_precision_loss, reason = "a rate for people and graphs")]
fn rate(amount: u64, interval: Duration) -> f64 {
    match interval.as_secs_f64() {
        0.0 => 0.0,
        seconds => amount as f64 / seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64, device_time_ns: u64, dispatches: u64) -> Known {
        Known {
            id,
            uid: 1000,
            pid: 4242,
            name: "a\x1b[2J".into(),
            unit: String::new(),
            priority: "medium".into(),
            memory_used_bytes: 1 << 20,
            queue_depth: 1,
            counters: Counters {
                device_time_ns,
                dispatches,
                submits: dispatches,
                wait_ns: dispatches * 35_000,
                slices: dispatches * 2,
                preemptions: dispatches / 10,
            },
        }
    }

    fn sample(at: Instant, clients: Vec<Known>) -> Sample {
        Sample {
            at,
            summary: Summary {
                version: "0.1.0".into(),
                state: "serving".into(),
                device_name: "llvmpipe".into(),
                memory_total_bytes: 8 << 30,
                memory_used_bytes: 2 << 20,
                queue_depth: 2,
                uptime_us: 61_000_000,
            },
            clients,
        }
    }

    #[test]
    fn the_busiest_client_comes_first() {
        let start = Instant::now();
        let earlier = sample(start, vec![client(1, 0, 0), client(2, 500, 50)]);
        let later = sample(
            start + Duration::from_secs(2),
            vec![
                client(1, 100_000_000, 10),
                client(2, 1_500_000_500, 3_050),
                client(3, 0, 1),
            ],
        );
        let frame = Frame::between(&earlier, &later, Order::Share);
        assert_eq!(
            frame
                .lines(&mut Users::of([(1000, "ada")]), Paint::Never)
                .join("\n"),
            "vkmpsd 0.1.0 serving, up 1 min 01 s, llvmpipe
3 clients, memory 2.0 MiB of 8.0 GiB, 2 queued, device 80.0 %, 1505.5 dispatches/s

CLIENT   PID  USER  PRIORITY  SHARE %  DISPATCH/S     WAIT  SLICES/S  PREEMPT/S  QUEUED   MEMORY  UNIT  NAME
     2  4242  ada   medium       75.0      1500.0  35.0 us    3000.0      150.0       1  1.0 MiB  -     a\\u{1b}[2J
     1  4242  ada   medium        5.0         5.0  35.0 us      10.0        0.5       1  1.0 MiB  -     a\\u{1b}[2J
     3  4242  ada   medium        0.0         0.5  35.0 us       1.0        0.0       1  1.0 MiB  -     a\\u{1b}[2J"
        );
    }

    #[test]
    fn what_is_asked_for_is_on_top() {
        let start = Instant::now();
        let earlier = sample(start, Vec::new());
        let mut patient = client(1, 100, 10);
        patient.counters.wait_ns = 1 << 40;
        let (mut queued, mut idle) = (client(2, 200, 20), client(3, 0, 0));
        queued.queue_depth = 9;
        idle.memory_used_bytes = 1 << 30;
        let later = sample(start + Duration::from_secs(1), vec![patient, queued, idle]);
        let ids = |order| {
            let frame = Frame::between(&earlier, &later, order);
            frame.clients.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Order::Share), [2, 1, 3]);
        assert_eq!(ids(Order::Dispatches), [2, 1, 3]);
        assert_eq!(ids(Order::Slices), [2, 1, 3]);
        assert_eq!(ids(Order::Preemptions), [2, 1, 3]);
        assert_eq!(ids(Order::Wait), [1, 2, 3]);
        assert_eq!(ids(Order::Queued), [2, 1, 3]);
        assert_eq!(ids(Order::Memory), [3, 1, 2]);
        assert_eq!(ids(Order::Client), [1, 2, 3]);
    }

    #[test]
    fn who_was_given_nothing_did_not_wait() {
        let start = Instant::now();
        let one = sample(start, vec![client(1, 0, 0)]);
        let frame = Frame::between(&one, &one, Order::Share);
        assert_eq!(frame.clients[0].wait_mean_us, 0.0);
        let lines = frame.lines(&mut Users::of([(1000, "ada")]), Paint::Never);
        assert!(lines[4].contains("  -  "), "{lines:?}");
    }

    #[test]
    fn counters_that_went_back_are_no_rates() {
        let start = Instant::now();
        let earlier = sample(start, vec![client(1, 5_000, 70)]);
        let later = sample(start, vec![client(1, 0, 0)]);
        let frame = Frame::between(&earlier, &later, Order::Share);
        let row = &frame.clients[0];
        assert_eq!(
            (row.device_time_percent, row.dispatches_per_second),
            (0.0, 0.0)
        );
    }
}
