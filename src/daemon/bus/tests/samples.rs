//! Clients, a status and a device as they may be.

use crate::control::{ClientView, DeviceView, NewSession, SessionView, State, Status};
use std::time::Duration;
use vkmps_broker::{ClientLimits, MemoryBytes};
use vkmps_bus::LogLevel;
use vkmps_protocol::engine::GlobalPriority;
use vkmps_protocol::group::GroupId;
use vkmps_protocol::handle::SessionId;
use vkmps_protocol::message::Priority;

/// A session that was just opened.
pub(in crate::bus) fn session_view(id: GroupId, new: NewSession) -> SessionView {
    let NewSession { peer, group } = new;
    SessionView {
        id,
        uid: peer.uid,
        pid: peer.pid,
        name: group.name,
        limits: group.limits,
        clients: vec![SessionId(1), SessionId(2)],
        memory_bytes: (1 << 20, 1 << 33),
        created_us: 1_000_000,
        ends_us: 1_000_000 + group.ttl_ms * 1000,
    }
}

/// A client as it may be.
pub(in crate::bus) fn view(id: u64, uid: u32) -> ClientView {
    ClientView {
        id: SessionId(id),
        uid,
        pid: i32::try_from(id).expect("it is small"),
        name: format!("client\0{id}"),
        priority: Priority::Medium,
        demoted: false,
        limits: limits(),
        connected_since_us: 1_000_000,
        memory_limit_bytes: 1 << 33,
        memory_used_bytes: 1 << 20,
        buffers: 3,
        shared_buffers: 2,
        attached_buffers: 1,
        programs: 2,
        queue_depth: 1,
        dispatches: 40,
        device_time: Duration::from_micros(5),
        submits: 30,
        wait: Duration::from_micros(600),
        slices: 33,
        preemptions: 2,
        share: 0.25,
    }
}

pub(in crate::bus) fn limits() -> ClientLimits {
    ClientLimits {
        memory: MemoryBytes {
            device: 1 << 33,
            shared: 1 << 33,
        },
        cap_percent: 30,
        weight: 200,
        buffers: 1000,
        programs: 100,
        streams: 16,
        submits: 500,
        max_priority: Priority::High,
    }
}

pub(in crate::bus) fn status() -> Status {
    Status {
        state: State::Serving,
        detail: String::new(),
        engine_pid: 77,
        restarts: 1,
        warnings: vec!["landlock".to_owned()],
        uptime: Duration::from_secs(9),
        log_level: LogLevel::Info,
        clients: 2,
        scheduling_mode: "exclusive-throughput",
        loop_slice_quota: 100_000,
        default_limits: (100, 1 << 34),
        realtime_us: (20_000, 100_000),
        queue_depth: 2,
        dispatches: 80,
    }
}

pub(in crate::bus) fn device() -> DeviceView {
    DeviceView {
        name: "llvmpipe".to_owned(),
        driver: "Mesa".to_owned(),
        uuid: [0xab; 16],
        software: true,
        unified: true,
        queues: 1,
        extensions: vec!["VK_KHR_maintenance3".to_owned()],
        global_priorities: vec![GlobalPriority::Realtime],
        engine_pid: 77,
        device_memory_bytes: (0, 0),
        host_memory_bytes: (1 << 34, 1 << 21),
    }
}
