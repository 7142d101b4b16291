//! One view: what happened between two samples.

use crate::error::Error;
use crate::paint::Paint;
use crate::service::Service;
use crate::status::used_of;
use crate::table::{Align, Table};
use crate::text::{escape, escape_or_dash};
use crate::units;
use crate::users::Users;
use serde::Serialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use vkmps_bus::ClientEntry;

/// What the service said at one time.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    summary: Summary,
    clients: Vec<ClientEntry>,
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
    /// Busiest first.
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
}

impl Sample {
    /// Asks.
    pub(super) async fn take(service: &Service) -> Result<Self, Error> {
        let mut manager = service.properties().await?;
        let summary = Summary {
            version: manager.take("Version")?,
            state: manager.take("State")?,
            device_name: manager.take("DeviceName")?,
            memory_total_bytes: manager.take("MemoryTotal")?,
            memory_used_bytes: manager.take("MemoryUsed")?,
            queue_depth: manager.take("QueueDepth")?,
            uptime_us: manager.take("Uptime")?,
        };
        let clients = service.manager().list_clients().await?;
        Ok(Self {
            at: Instant::now(),
            summary,
            clients,
        })
    }
}

impl Frame {
    /// What the clients of the later sample did since the earlier one. Who was not there then did all of it since.
    pub(super) fn between(earlier: &Sample, later: &Sample) -> Self {
        let interval = later.at.saturating_duration_since(earlier.at);
        let before: HashMap<u64, &ClientEntry> = earlier
            .clients
            .iter()
            .map(|client| (client.id, client))
            .collect();
        let mut clients: Vec<Row> = later
            .clients
            .iter()
            .map(|client| {
                let before = before.get(&client.id);
                let time_ns = before.map_or(0, |before| before.device_time_ns);
                let dispatches = before.map_or(0, |before| before.dispatches);
                let time_ns = client.device_time_ns.saturating_sub(time_ns);
                let dispatches = client.dispatches.saturating_sub(dispatches);
                Row {
                    id: client.id,
                    uid: client.uid,
                    pid: client.pid,
                    name: client.name.clone(),
                    unit: client.unit.clone(),
                    priority: client.priority.clone(),
                    memory_used_bytes: client.memory_used_bytes,
                    queue_depth: client.queue_depth,
                    device_time_percent: rate(time_ns, interval) / 1e7,
                    dispatches_per_second: rate(dispatches, interval),
                }
            })
            .collect();
        clients.sort_by(|a, b| {
            let by_time = b.device_time_percent.total_cmp(&a.device_time_percent);
            by_time.then(a.id.cmp(&b.id))
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
            ("DEVICE %", Align::Right),
            ("DISPATCH/S", Align::Right),
            ("MEMORY", Align::Right),
            ("QUEUED", Align::Right),
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
                units::bytes(row.memory_used_bytes),
                row.queue_depth.to_string(),
                escape_or_dash(&row.unit),
                escape(&row.name),
            ]);
        }
        lines.extend(table.lines(paint));
        lines
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

    fn client(id: u64, device_time_ns: u64, dispatches: u64) -> ClientEntry {
        ClientEntry {
            id,
            uid: 1000,
            pid: 4242,
            name: "a\x1b[2J".into(),
            unit: String::new(),
            priority: "medium".into(),
            memory_used_bytes: 1 << 20,
            dispatches,
            queue_depth: 1,
            device_time_ns,
            connected_since_us: 0,
            object: vkmps_bus::client_path(id),
        }
    }

    fn sample(at: Instant, clients: Vec<ClientEntry>) -> Sample {
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
        let frame = Frame::between(&earlier, &later);
        assert_eq!(
            frame
                .lines(&mut Users::of([(1000, "ada")]), Paint::Never)
                .join("\n"),
            "vkmpsd 0.1.0 serving, up 1 min 01 s, llvmpipe
3 clients, memory 2.0 MiB of 8.0 GiB, 2 queued, device 80.0 %, 1505.5 dispatches/s

CLIENT   PID  USER  PRIORITY  DEVICE %  DISPATCH/S   MEMORY  QUEUED  UNIT  NAME
     2  4242  ada   medium        75.0      1500.0  1.0 MiB       1  -     a\\u{1b}[2J
     1  4242  ada   medium         5.0         5.0  1.0 MiB       1  -     a\\u{1b}[2J
     3  4242  ada   medium         0.0         0.5  1.0 MiB       1  -     a\\u{1b}[2J"
        );
    }

    #[test]
    fn counters_that_went_back_are_no_rates() {
        let start = Instant::now();
        let earlier = sample(start, vec![client(1, 5_000, 70)]);
        let later = sample(start, vec![client(1, 0, 0)]);
        let frame = Frame::between(&earlier, &later);
        let row = &frame.clients[0];
        assert_eq!(
            (row.device_time_percent, row.dispatches_per_second),
            (0.0, 0.0)
        );
    }
}
