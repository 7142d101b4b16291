//! Every verb, as programs see it: the keys are a promise.

use crate::bus::Bus;
use crate::fake::{Fake, World, client};
use crate::man::assert_documented;
use crate::program::vkmpsctl;
use serde_json::{Value, json};
use vkmps_bus::SessionEntry;

fn ask(bus: &Bus, arguments: &[&str]) -> Value {
    let output = vkmpsctl(bus, &[&["--json"], arguments].concat()).well();
    assert_eq!(output.lines().count(), 1, "{output}");
    let result = serde_json::from_str(&output).unwrap();
    // Names of counters are vkmpsd's.
    if arguments != ["statistics"] {
        assert_documented(&result);
    }
    result
}

#[test]
fn the_status_has_all_there_is() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(Vec::new()));
    assert_eq!(
        ask(&bus, &["status"]),
        json!({
            "version": "0.1.0", "state": "serving", "engine": "ready", "detail": "", "engine_pid": 4711,
            "restarts": 1, "warnings": ["seccomp"], "log_level": "info",
            "scheduling_mode": "exclusive-throughput", "loop_slice_quota": 100_000, "clients": 0,
            "memory_total_bytes": 8_u64 << 30, "memory_used_bytes": 3 << 20, "queue_depth": 2, "dispatches": 99,
            "uptime_us": 61_000_000,
            "device": {
                "name": "Test, device\u{1b}[2J", "driver": "driver 1.2",
                "uuid": "138fb9bd-ceed-2c35-2db4-47ddd10ee8db", "software": true, "queues": 1,
                "extensions": ["VK_KHR_a"], "global_priorities": ["medium"], "engine_pid": 4711,
                "device_memory_total_bytes": 0, "device_memory_used_bytes": 0,
                "host_memory_total_bytes": 8_u64 << 30, "host_memory_used_bytes": 3 << 20,
            },
        })
    );
}

#[test]
fn without_a_device_the_status_has_none() {
    let bus = Bus::start();
    let world = World {
        without_device: true,
        ..World::with(Vec::new())
    };
    let _fake = Fake::start(&bus, world);
    let status = ask(&bus, &["status"]);
    assert_eq!(
        (&status["engine"], &status["device"]),
        (&json!("starting"), &Value::Null)
    );
}

#[test]
fn sessions_have_their_clients_and_are_released() {
    let bus = Bus::start();
    let session = SessionEntry {
        id: 3,
        uid: 0,
        pid: 7,
        name: "job".into(),
        clients: vec![1, 2],
        memory_used_bytes: 1 << 20,
        memory_limit_bytes: 64 << 20,
        active_thread_percentage: 30,
        priority: "low".into(),
        created_us: 1_795_192_201_000_000,
        ends_us: 0,
    };
    let world = World {
        sessions: vec![session],
        ..World::with(vec![client(1, "a"), client(2, "b")])
    };
    let _fake = Fake::start(&bus, world);
    let sessions = ask(&bus, &["sessions"]);
    assert_eq!(
        sessions,
        json!([{
            "id": 3, "uid": 0, "pid": 7, "name": "job", "clients": [1, 2], "memory_used_bytes": 1 << 20,
            "memory_limit_bytes": 64 << 20, "active_thread_percentage": 30, "priority": "low",
            "created_us": 1_795_192_201_000_000_u64, "ends_us": 0,
        }])
    );
    // Programs see each client.
    assert_eq!(ask(&bus, &["list"]).as_array().map(Vec::len), Some(2));
    let text = vkmpsctl(&bus, &["list"]).well();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("session 3") && text.contains("job (2 clients)"),
        "{text}"
    );
    assert_eq!(vkmpsctl(&bus, &["list", "--all"]).well().lines().count(), 3);
    assert_eq!(ask(&bus, &["release", "3"]), json!({"released": [3]}));
    let again = vkmpsctl(&bus, &["release", "3"]);
    assert_eq!(again.exit, 5, "{again:?}");
}

#[test]
fn clients_have_raw_numbers_and_their_own_names() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(vec![client(5, "\x1bx")]));
    let mut expected = json!({
        "id": 5, "uid": 0, "pid": std::process::id(), "name": "\u{1b}x", "unit": "session-2.scope",
        "priority": "medium", "memory_used_bytes": 3 << 20, "dispatches": 99, "queue_depth": 2,
        "device_time_ns": 12_345_678, "connected_since_us": 1_795_192_201_000_000_u64,
        "object": "/org/vkmps/client/5",
    });
    assert_eq!(ask(&bus, &["list"]), json!([expected]));
    let show = expected.as_object_mut().unwrap();
    show.remove("object");
    show.extend([
        ("device".to_owned(), json!("/org/vkmps/device/0")),
        ("memory_limit_bytes".to_owned(), json!(1 << 30)),
        ("buffers".to_owned(), json!(4)),
        ("demoted".to_owned(), json!(false)),
        ("max_priority".to_owned(), json!("high")),
        ("active_thread_percentage".to_owned(), json!(30)),
        ("weight".to_owned(), json!(100)),
        ("buffers_limit".to_owned(), json!(65_536)),
        ("programs_limit".to_owned(), json!(4096)),
        ("streams_limit".to_owned(), json!(256)),
        ("submits_limit".to_owned(), json!(32_768)),
        ("programs".to_owned(), json!(1)),
        ("share".to_owned(), json!(0.25)),
        ("submits".to_owned(), json!(80)),
        ("wait_time_ns".to_owned(), json!(4000)),
        ("slices".to_owned(), json!(90)),
        ("preemptions".to_owned(), json!(3)),
    ]);
    assert_eq!(ask(&bus, &["show", "5"]), expected);
}

#[test]
fn what_was_changed_is_told() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(vec![client(5, "a"), client(6, "b")]));
    assert_eq!(
        ask(&bus, &["set-priority", "5", "low"]),
        json!({"client": 5, "priority": "low"})
    );
    assert_eq!(
        ask(&bus, &["log-level", "warn"]),
        json!({"log_level": "warn"})
    );
    assert_eq!(ask(&bus, &["log-level"]), json!({"log_level": "warn"}));
    assert_eq!(
        ask(&bus, &["mode"]),
        json!({"mode": "exclusive-throughput", "loop_slice_quota": 100_000})
    );
    assert_eq!(
        ask(&bus, &["statistics"]),
        json!({"submits": 12, "sessions": 3})
    );
    assert_eq!(
        ask(&bus, &["reload"]),
        json!({"restart": ["device.queues"]})
    );
    assert_eq!(ask(&bus, &["drain"]), json!({"state": "draining"}));
    assert_eq!(ask(&bus, &["resume"]), json!({"state": "serving"}));
    assert_eq!(
        ask(&bus, &["terminate", "5", "6"]),
        json!({"terminated": [5, 6]})
    );
    assert_eq!(ask(&bus, &["drain", "--wait"]), json!({"state": "drained"}));
}

#[test]
fn top_has_rates_as_numbers() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(vec![client(5, "a")]));
    let frame = ask(&bus, &["top", "--once", "-i", "0.05"]);
    let row = &frame["clients"][0];
    assert_eq!(
        (
            &frame["state"],
            &row["id"],
            &row["device_time_percent"],
            &row["dispatches_per_second"]
        ),
        (&json!("serving"), &json!(5), &json!(0.0), &json!(0.0))
    );
    assert_eq!(
        (
            &row["wait_mean_us"],
            &row["slices_per_second"],
            &row["preemptions_per_second"]
        ),
        (&json!(0.0), &json!(0.0), &json!(0.0))
    );
    assert!(frame["interval_us"].as_u64().unwrap() >= 50_000);
}
