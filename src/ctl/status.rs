//! `vkmpsctl status`.

use crate::error::Error;
use crate::output::Format;
use crate::paint::Paint;
use crate::service::{Properties, Service};
use crate::table::fields;
use crate::text::{escape, escape_or_dash};
use crate::units;
use serde::Serialize;

/// How the service is; the keys are those of the JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) state: String,
    pub(crate) engine: String,
    pub(crate) detail: String,
    pub(crate) engine_pid: u32,
    pub(crate) restarts: u32,
    pub(crate) warnings: Vec<String>,
    pub(crate) log_level: String,
    pub(crate) scheduling_mode: String,
    pub(crate) loop_slice_quota: u64,
    pub(crate) clients: u32,
    pub(crate) memory_total_bytes: u64,
    pub(crate) memory_used_bytes: u64,
    pub(crate) queue_depth: u64,
    pub(crate) dispatches: u64,
    pub(crate) uptime_us: u64,
    pub(crate) device: Option<Device>,
}

/// The device, while an engine serves it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) uuid: String,
    pub(crate) software: bool,
    pub(crate) queues: u32,
    pub(crate) extensions: Vec<String>,
    pub(crate) global_priorities: Vec<String>,
    pub(crate) engine_pid: u32,
    pub(crate) device_memory_total_bytes: u64,
    pub(crate) device_memory_used_bytes: u64,
    pub(crate) host_memory_total_bytes: u64,
    pub(crate) host_memory_used_bytes: u64,
}

/// Shows it.
pub(crate) async fn run(service: &Service, format: Format) -> Result<(), Error> {
    let status = Status::of(service).await?;
    format.show(&status, |paint| render(&status, paint))
}

impl Status {
    /// Asks for it.
    pub(crate) async fn of(service: &Service) -> Result<Self, Error> {
        let (state, engine, detail, engine_pid, restarts, warnings) =
            service.manager().get_status().await?;
        let mut manager = service.properties().await?;
        let device = service.device().await?;
        Ok(Self {
            version: manager.take("Version")?,
            state,
            engine,
            detail,
            engine_pid,
            restarts,
            warnings,
            log_level: manager.take("LogLevel")?,
            scheduling_mode: manager.take("SchedulingMode")?,
            loop_slice_quota: manager.take("LoopSliceQuota")?,
            clients: manager.take("ClientCount")?,
            memory_total_bytes: manager.take("MemoryTotal")?,
            memory_used_bytes: manager.take("MemoryUsed")?,
            queue_depth: manager.take("QueueDepth")?,
            dispatches: manager.take("DispatchesTotal")?,
            uptime_us: manager.take("Uptime")?,
            device: device.map(Device::from_properties).transpose()?,
        })
    }
}

impl Device {
    /// Of an object's properties.
    pub(crate) fn from_properties(mut device: Properties) -> Result<Self, Error> {
        Ok(Self {
            name: device.take("Name")?,
            driver: device.take("DriverInfo")?,
            uuid: device.take("UUID")?,
            software: device.take("Software")?,
            queues: device.take("Queues")?,
            extensions: device.take("Extensions")?,
            global_priorities: device.take("GlobalPriorities")?,
            engine_pid: device.take("EnginePid")?,
            device_memory_total_bytes: device.take("DeviceMemoryTotal")?,
            device_memory_used_bytes: device.take("DeviceMemoryUsed")?,
            host_memory_total_bytes: device.take("HostMemoryTotal")?,
            host_memory_used_bytes: device.take("HostMemoryUsed")?,
        })
    }
}

fn render(status: &Status, paint: Paint) -> String {
    let state = escape(&status.state);
    let mut lines = vec![
        ("State", paint.state(&state, &state)),
        ("Version", escape(&status.version)),
        ("Engine", engine(status, paint)),
    ];
    match &status.device {
        Some(device) => {
            let software = if device.software { ", software" } else { "" };
            let queues = units::count(device.queues.into(), "queue");
            lines.extend([
                (
                    "Device",
                    format!("{}, {queues}{software}", escape(&device.name)),
                ),
                ("Driver", escape_or_dash(&device.driver)),
                ("UUID", escape(&device.uuid)),
                ("Extensions", escape_or_dash(&device.extensions.join(" "))),
            ]);
        }
        None => lines.push(("Device", "none".to_owned())),
    }
    lines.extend([
        ("Clients", status.clients.to_string()),
        (
            "Memory",
            used_of(status.memory_used_bytes, status.memory_total_bytes),
        ),
        ("Queued", units::count(status.queue_depth, "submit")),
        ("Dispatches", status.dispatches.to_string()),
        (
            "Scheduling",
            format!(
                "{}, {} loop iterations per slice",
                escape(&status.scheduling_mode),
                status.loop_slice_quota
            ),
        ),
        ("Log level", escape(&status.log_level)),
        ("Uptime", units::age_us(status.uptime_us)),
    ]);
    if !status.warnings.is_empty() {
        let warnings = escape(&status.warnings.join(", "));
        lines.push(("Sandbox", paint.warning(&format!("lacks {warnings}"))));
    }
    fields(&lines)
}

fn engine(status: &Status, paint: Paint) -> String {
    let engine = escape(&status.engine);
    let mut text = paint.state(&engine, &engine);
    if status.engine_pid != 0 {
        text.push_str(&format!(", pid {}", status.engine_pid));
    }
    if status.restarts > 0 {
        text.push_str(&format!(
            ", replaced {}",
            units::count(status.restarts.into(), "time")
        ));
    }
    if !status.detail.is_empty() {
        text.push_str(&format!(": {}", escape(&status.detail)));
    }
    text
}

/// Bytes in use, of those there are.
pub(crate) fn used_of(used_bytes: u64, total_bytes: u64) -> String {
    format!(
        "{} of {}",
        units::bytes(used_bytes),
        units::bytes(total_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            state: "serving".into(),
            engine: "ready".into(),
            detail: String::new(),
            engine_pid: 4711,
            restarts: 0,
            warnings: Vec::new(),
            log_level: "info".into(),
            scheduling_mode: "exclusive-throughput".into(),
            loop_slice_quota: 100_000,
            clients: 3,
            memory_total_bytes: 140 << 30,
            memory_used_bytes: 3 << 29,
            queue_depth: 12,
            dispatches: 123_456,
            uptime_us: 12_000_000_000,
            device: Some(Device {
                name: "NVIDIA H200".into(),
                driver: "NVIDIA 580.159".into(),
                uuid: "138fb9bd-ceed-2c35-2db4-47ddd10ee8db".into(),
                software: false,
                queues: 16,
                extensions: vec!["VK_KHR_a".into(), "VK_KHR_b".into()],
                global_priorities: vec!["high".into(), "medium".into()],
                engine_pid: 4711,
                device_memory_total_bytes: 140 << 30,
                device_memory_used_bytes: 3 << 29,
                host_memory_total_bytes: 0,
                host_memory_used_bytes: 0,
            }),
        }
    }

    #[test]
    fn a_serving_daemon_is_shown_with_its_device() {
        assert_eq!(
            render(&status(), Paint::Never),
            "     State: serving
   Version: 0.1.0
    Engine: ready, pid 4711
    Device: NVIDIA H200, 16 queues
    Driver: NVIDIA 580.159
      UUID: 138fb9bd-ceed-2c35-2db4-47ddd10ee8db
Extensions: VK_KHR_a VK_KHR_b
   Clients: 3
    Memory: 1.5 GiB of 140 GiB
    Queued: 12 submits
Dispatches: 123456
Scheduling: exclusive-throughput, 100000 loop iterations per slice
 Log level: info
    Uptime: 3 h 20 min
"
        );
    }

    #[test]
    fn a_failed_daemon_says_why_and_what_it_lacks() {
        let failed = Status {
            state: "failed".into(),
            engine: "failed".into(),
            detail: "no device\nat all".into(),
            engine_pid: 0,
            restarts: 2,
            warnings: vec!["seccomp".into(), "landlock".into()],
            device: None,
            ..status()
        };
        let text = render(&failed, Paint::Always);
        assert!(text.contains("State: \x1b[1;31mfailed\x1b[0m\n"), "{text}");
        assert!(
            text.contains("failed\x1b[0m, replaced 2 times: no device\\nat all\n"),
            "{text}"
        );
        assert!(text.contains("Device: none\n"), "{text}");
        assert!(
            text.ends_with("Sandbox: \x1b[33mlacks seccomp, landlock\x1b[0m\n"),
            "{text}"
        );
    }
}
