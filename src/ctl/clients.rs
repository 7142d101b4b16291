//! `vkmpsctl list` and `show`.

use crate::error::Error;
use crate::output::Format;
use crate::paint::Paint;
use crate::service::Service;
use crate::sessions::{self, Line};
use crate::status::used_of;
use crate::table::{Align, Table, fields};
use crate::text::{escape, escape_or_dash};
use crate::units;
use crate::users::Users;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use zbus::OwnedObjectPath;

/// A client with all that is known; the keys are those of the JSON.
#[derive(Debug, Clone, Serialize)]
struct Client {
    id: u64,
    uid: u32,
    pid: u32,
    name: String,
    unit: String,
    device: OwnedObjectPath,
    priority: String,
    demoted: bool,
    max_priority: String,
    active_thread_percentage: u8,
    weight: u16,
    buffers_limit: u32,
    programs_limit: u32,
    streams_limit: u32,
    submits_limit: u32,
    connected_since_us: u64,
    memory_limit_bytes: u64,
    memory_used_bytes: u64,
    buffers: u32,
    programs: u32,
    queue_depth: u32,
    dispatches: u64,
    device_time_ns: u64,
    share: f64,
    submits: u64,
    wait_time_ns: u64,
    slices: u64,
    preemptions: u64,
}

/// All clients.
pub(crate) async fn list(service: &Service, all: bool, format: Format) -> Result<(), Error> {
    let clients = service.manager().list_clients().await?;
    let sessions = match (all, format) {
        (false, Format::Text(_)) => service.manager().list_sessions().await?,
        _ => Vec::new(),
    };
    let now_us = now_us();
    format.show(&clients, |paint| {
        let clients = sessions::fold(clients.clone(), &sessions);
        render_list(&clients, &mut Users::default(), now_us, paint)
    })
}

/// One client.
pub(crate) async fn show(service: &Service, id: u64, format: Format) -> Result<(), Error> {
    let mut properties = service.client(id).await?;
    let client = Client {
        id: properties.take("Id")?,
        uid: properties.take("Uid")?,
        pid: properties.take("Pid")?,
        name: properties.take("Name")?,
        unit: properties.take("Unit")?,
        device: properties.take("Device")?,
        priority: properties.take("Priority")?,
        demoted: properties.take("Demoted")?,
        max_priority: properties.take("MaxPriority")?,
        active_thread_percentage: properties.take("ActiveThreadPercentage")?,
        weight: properties.take("Weight")?,
        buffers_limit: properties.take("BuffersLimit")?,
        programs_limit: properties.take("ProgramsLimit")?,
        streams_limit: properties.take("StreamsLimit")?,
        submits_limit: properties.take("SubmitsLimit")?,
        connected_since_us: properties.take("ConnectedSince")?,
        memory_limit_bytes: properties.take("MemoryLimit")?,
        memory_used_bytes: properties.take("MemoryUsed")?,
        buffers: properties.take("Buffers")?,
        programs: properties.take("Programs")?,
        queue_depth: properties.take("QueueDepth")?,
        dispatches: properties.take("Dispatches")?,
        device_time_ns: properties.take("DeviceTimeNSec")?,
        share: properties.take("Share")?,
        submits: properties.take("Submits")?,
        wait_time_ns: properties.take("WaitTimeNSec")?,
        slices: properties.take("Slices")?,
        preemptions: properties.take("Preemptions")?,
    };
    let now_us = now_us();
    format.show(&client, |_| render(&client, &mut Users::default(), now_us))
}

fn render_list(clients: &[Line], users: &mut Users, now_us: u64, paint: Paint) -> String {
    let mut table = Table::new([
        ("CLIENT", Align::Right),
        ("PID", Align::Right),
        ("USER", Align::Left),
        ("PRIORITY", Align::Left),
        ("MEMORY", Align::Right),
        ("QUEUED", Align::Right),
        ("DISPATCHES", Align::Right),
        ("DEVICE TIME", Align::Right),
        ("CONNECTED", Align::Right),
        ("UNIT", Align::Left),
        ("NAME", Align::Left),
    ]);
    for line in clients {
        let client = &line.client;
        table.row([
            line.name.clone(),
            client.pid.to_string(),
            users.name(client.uid),
            escape(&client.priority),
            units::bytes(client.memory_used_bytes),
            client.queue_depth.to_string(),
            client.dispatches.to_string(),
            units::span_ns(client.device_time_ns),
            units::age_us(now_us.saturating_sub(client.connected_since_us)),
            escape_or_dash(&client.unit),
            escape(&client.name),
        ]);
    }
    table.lines(paint).join("\n") + "\n"
}

fn render(client: &Client, users: &mut Users, now_us: u64) -> String {
    let age = units::age_us(now_us.saturating_sub(client.connected_since_us));
    fields(&[
        ("Client", client.id.to_string()),
        ("Name", escape(&client.name)),
        ("User", users.name_and_uid(client.uid)),
        ("Process", client.pid.to_string()),
        ("Unit", escape_or_dash(&client.unit)),
        ("Device", client.device.to_string()),
        (
            "Connected",
            format!("{}, {age} ago", units::utc(client.connected_since_us)),
        ),
        (
            "Priority",
            match client.demoted {
                true => format!("{}, runs as high for now", escape(&client.priority)),
                false => escape(&client.priority),
            },
        ),
        ("Most time", format!("{}%", client.active_thread_percentage)),
        ("Weight", client.weight.to_string()),
        (
            "Memory",
            used_of(client.memory_used_bytes, client.memory_limit_bytes),
        ),
        (
            "Buffers",
            format!("{} of {}", client.buffers, client.buffers_limit),
        ),
        (
            "Programs",
            format!("{} of {}", client.programs, client.programs_limit),
        ),
        ("Queued", units::count(client.queue_depth.into(), "submit")),
        ("Dispatches", client.dispatches.to_string()),
        ("Device time", units::span_ns(client.device_time_ns)),
        (
            "Share",
            format!("{:.1} % of the last second", client.share * 100.0),
        ),
        (
            "Waited",
            format!(
                "{} in all, {} on average",
                units::span_ns(client.wait_time_ns),
                units::span_ns(client.wait_time_ns / client.submits.max(1)),
            ),
        ),
        (
            "Slices",
            format!(
                "{} of {}",
                client.slices,
                units::count(client.submits, "submit")
            ),
        ),
        ("Preempted", client.preemptions.to_string()),
    ])
}

/// Microseconds of CLOCK_REALTIME.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vkmps_bus::ClientEntry;

    const NOW_US: u64 = 1_795_192_201_000_000;

    #[test]
    fn a_hostile_name_cannot_reach_the_terminal() {
        let client = ClientEntry {
            id: 7,
            uid: 1000,
            pid: 4242,
            name: "\x1b]0;owned\x07\nroot".into(),
            unit: String::new(),
            priority: "high".into(),
            memory_used_bytes: 3 << 20,
            dispatches: 99,
            queue_depth: 2,
            device_time_ns: 12_345_678,
            connected_since_us: NOW_US - 200_000_000,
            object: vkmps_bus::client_path(7),
        };
        let text = render_list(
            &sessions::fold(vec![client], &[]),
            &mut Users::of([(1000, "ada")]),
            NOW_US,
            Paint::Never,
        );
        assert_eq!(
            text,
            "CLIENT   PID  USER  PRIORITY   MEMORY  QUEUED  DISPATCHES  DEVICE TIME   CONNECTED  UNIT  NAME
     7  4242  ada   high      3.0 MiB       2          99      12.3 ms  3 min 20 s  -     \\u{1b}]0;owned\\u{7}\\nroot
"
        );
    }

    #[test]
    fn a_client_is_shown_with_units() {
        let client = Client {
            id: 7,
            uid: 1000,
            pid: 4242,
            name: "solver".into(),
            unit: "session-2.scope".into(),
            device: vkmps_bus::DEVICE.try_into().expect("it is a path"),
            priority: "low".into(),
            demoted: false,
            max_priority: "high".into(),
            active_thread_percentage: 30,
            weight: 100,
            buffers_limit: 65_536,
            programs_limit: 4096,
            streams_limit: 256,
            submits_limit: 32_768,
            connected_since_us: NOW_US - 61_000_000,
            memory_limit_bytes: 8 << 30,
            memory_used_bytes: 1 << 30,
            buffers: 4,
            programs: 2,
            queue_depth: 1,
            dispatches: 1000,
            device_time_ns: 2_500_000_000,
            share: 0.125,
            submits: 500,
            wait_time_ns: 1_000_000_000,
            slices: 900,
            preemptions: 40,
        };
        assert_eq!(
            render(&client, &mut Users::of([(1000, "ada")]), NOW_US),
            "     Client: 7
       Name: solver
       User: ada (1000)
    Process: 4242
       Unit: session-2.scope
     Device: /org/vkmps/device/0
  Connected: 2026-11-20 16:29:00 UTC, 1 min 01 s ago
   Priority: low
  Most time: 30%
     Weight: 100
     Memory: 1.0 GiB of 8.0 GiB
    Buffers: 4 of 65536
   Programs: 2 of 4096
     Queued: 1 submit
 Dispatches: 1000
Device time: 2.50 s
      Share: 12.5 % of the last second
     Waited: 1.00 s in all, 2.0 ms on average
     Slices: 900 of 500 submits
  Preempted: 40
"
        );
    }
}
