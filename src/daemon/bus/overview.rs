//! The properties of the manager.

use super::words;
use crate::control::{DeviceView, Status};
use std::collections::BTreeMap;
use zbus::Variant;

/// A picture of the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Overview {
    pub(super) state: &'static str,
    pub(super) log_level: &'static str,
    pub(super) device_name: String,
    pub(super) driver_info: String,
    pub(super) device_uuid: String,
    pub(super) scheduling_mode: &'static str,
    pub(super) loop_slice_quota: u64,
    pub(super) default_limits: (u8, u64),
    pub(super) realtime_us: (u64, u64),
    pub(super) clients: u32,
    pub(super) memory_total_bytes: u64,
    pub(super) memory_used_bytes: u64,
    pub(super) queue_depth: u64,
    pub(super) dispatches: u64,
    pub(super) uptime_us: u64,
}

impl Overview {
    pub(super) fn new(status: &Status, device: Option<&DeviceView>) -> Self {
        // What has no memory of its own uses the host's.
        let (memory_total_bytes, memory_used_bytes) = device.map_or((0, 0), |device| {
            match device.unified || device.device_memory_bytes.0 == 0 {
                true => device.host_memory_bytes,
                false => device.device_memory_bytes,
            }
        });
        let text = |of: fn(&DeviceView) -> String| device.map(of).unwrap_or_default();
        Self {
            state: words::state(status.state),
            log_level: status.log_level.name(),
            device_name: text(|device| words::plain(&device.name)),
            driver_info: text(|device| words::plain(&device.driver)),
            device_uuid: text(|device| words::uuid(device.uuid)),
            scheduling_mode: status.scheduling_mode,
            loop_slice_quota: status.loop_slice_quota,
            default_limits: status.default_limits,
            realtime_us: status.realtime_us,
            clients: status.clients,
            memory_total_bytes,
            memory_used_bytes,
            queue_depth: status.queue_depth,
            dispatches: status.dispatches,
            uptime_us: status.uptime.as_micros().try_into().unwrap_or(u64::MAX),
        }
    }

    /// Properties of which others are told when they change.
    pub(super) fn announced(&self) -> BTreeMap<&'static str, Variant<'_>> {
        BTreeMap::from([
            ("State", self.state.into()),
            ("LogLevel", self.log_level.into()),
            ("DeviceName", self.device_name.as_str().into()),
            ("DriverInfo", self.driver_info.as_str().into()),
            ("DeviceUUID", self.device_uuid.as_str().into()),
            ("SchedulingMode", self.scheduling_mode.into()),
            ("LoopSliceQuota", self.loop_slice_quota.into()),
            (
                "DefaultActiveThreadPercentage",
                self.default_limits.0.into(),
            ),
            ("DefaultMemoryLimit", self.default_limits.1.into()),
            ("RealtimeBudgetUSec", self.realtime_us.0.into()),
            ("RealtimePeriodUSec", self.realtime_us.1.into()),
            ("ClientCount", self.clients.into()),
            ("MemoryTotal", self.memory_total_bytes.into()),
        ])
    }
}
