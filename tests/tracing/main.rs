//! What administrators see of work while it runs: traces and counters, by the programs that they use.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod bus;

use bus::Bus;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use vkmps::{Client, Memory, Priority};
use vkmps_tests::binaries::built;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::{LONG, affine, affine_over, buffer_of, busy, program};
use vkmps_tests::patience::eventually;

#[test]
fn a_trace_has_the_work_of_all_clients_and_nothing_twice() {
    let (bus, daemon) = administered("none");
    let folder = Folder::new();
    let (json, svg) = (folder.join("trace.json"), folder.join("trace.svg"));
    let clients = [("one", 1_u32), ("two", 7)].map(|(name, words)| {
        let client = daemon.try_connect(name).unwrap();
        (client, words * 64)
    });
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        for (client, words) in &clients {
            scope.spawn(|| work_until(client, *words, &over));
        }
        let ended = vkmpsctl(&bus)
            .args(["trace", "--seconds", "1", "--output"])
            .arg(&json)
            .arg("--svg")
            .arg(&svg)
            .output();
        over.store(true, Ordering::Release);
        ended.unwrap()
    });
    let summary: Value = serde_json::from_str(&well(&ended)).unwrap();
    assert_eq!(
        (&summary["lost"], &summary["clients"]),
        (&0.into(), &2.into())
    );
    assert_eq!(summary["full"], false);

    let trace: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let jobs = pieces(events);
    let names: Vec<&str> = jobs.keys().map(String::as_str).collect();
    assert!(
        matches!(names.as_slice(), [one, two] if one.starts_with("one (") && two.starts_with("two (")),
        "{names:?}"
    );
    for (name, pieces) in &jobs {
        let units = if name.starts_with("one") { 1 } else { 7 };
        assert!(
            pieces.iter().all(|piece| piece.total == units),
            "{pieces:?}"
        );
        assert_without_gaps(pieces);
    }
    assert_batches_in_order(events);
    let picture = std::fs::read_to_string(&svg).unwrap();
    assert!(
        picture.contains("queue 0") && picture.contains("two ("),
        "{picture}"
    );
    assert!(picture.ends_with("</svg>\n"));
}

#[test]
fn a_trace_has_the_pieces_of_a_job_that_others_interrupt() {
    let (bus, daemon) = administered("none");
    let folder = Folder::new();
    let file = folder.join("trace.json");
    let low = with_priority(&daemon, "low", Priority::Low);
    let high = with_priority(&daemon, "high", Priority::High);
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| work_until(&high, 64, &over));
        scope.spawn(|| {
            let slow = program(&low, "fma_loop");
            let buffer = low.alloc(LONG / 16, Memory::Shared).unwrap();
            while !over.load(Ordering::Acquire) {
                let submission = low.submit(busy(&slow, &buffer)).unwrap();
                submission.wait().unwrap();
            }
        });
        // What its work costs is known when one of its jobs was cut.
        eventually("its jobs are cut", || {
            shown(&bus, &low)["preemptions"].as_u64() > Some(0)
        });
        let ended = trace_into(&bus, &file);
        over.store(true, Ordering::Release);
        ended
    });
    well(&ended);
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let jobs = pieces(events);
    let (high_jobs, low_jobs) = match jobs.iter().collect::<Vec<_>>().as_slice() {
        [(high, of_high), (low, of_low)] => {
            assert!(
                high.starts_with("high (") && low.starts_with("low ("),
                "{high} {low}"
            );
            (*of_high, *of_low)
        }
        other => panic!("{other:?}"),
    };
    assert_without_gaps(high_jobs);
    assert_without_gaps(low_jobs);
    let continued = low_jobs.iter().filter(|piece| piece.from > 0);
    assert!(continued.count() > 0, "{low_jobs:?}");
    let programs = |pieces: &[Piece]| -> BTreeSet<String> {
        pieces.iter().map(|piece| piece.program.clone()).collect()
    };
    let (of_high, of_low) = (programs(high_jobs), programs(low_jobs));
    assert_eq!(of_low.len(), 1, "all its jobs run the same");
    assert!(of_low.is_disjoint(&of_high), "{of_low:?} {of_high:?}");
    let (low, high) = (shown(&bus, &low), shown(&bus, &high));
    assert!(low["slices"].as_u64() > low["submits"].as_u64(), "{low}");
    assert_eq!(high["preemptions"], 0, "{high}");
}

#[test]
fn who_may_not_trace_gets_nothing() {
    let (bus, _daemon) = administered("org.vkmps.Manager.trace");
    let folder = Folder::new();
    let file = folder.join("trace.json");
    let ended = trace_into(&bus, &file);
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(!file.exists());
    well(&vkmpsctl(&bus).arg("list").output().unwrap());
}

#[test]
fn a_trace_that_cannot_be_written_is_told_before_the_time_is_over() {
    let (bus, _daemon) = administered("none");
    let ended = vkmpsctl(&bus)
        .args([
            "trace",
            "--seconds",
            "3600",
            "--output",
            "/nowhere/trace.json",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.contains("/nowhere/trace.json cannot be written"),
        "{told}"
    );
}

#[test]
fn who_interrupts_a_trace_has_what_was_seen() {
    let (bus, daemon) = administered("none");
    let folder = Folder::new();
    let file = folder.join("trace.json");
    let mut tracing = vkmpsctl(&bus)
        .args(["trace", "--seconds", "3600", "-o"])
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It begins to look before it makes its files.
    eventually("it looks", || file.exists());
    let client = daemon.try_connect("one").unwrap();
    let program = affine(&client, 3, 1);
    let buffer = buffer_of(&client, Memory::Shared, &[1; 64]);
    let submission = client.submit(affine_over(&program, &buffer)).unwrap();
    submission.wait().unwrap();
    let pid = nix::unistd::Pid::from_raw(tracing.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(tracing.wait().unwrap().success());
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let pieces = events.iter().filter(|event| event["cat"] == "piece");
    assert_eq!(pieces.count(), 1, "{events:?}");
}

#[test]
fn an_engine_that_dies_does_not_end_a_trace() {
    let (bus, daemon) = administered("none");
    let folder = Folder::new();
    let file = folder.join("trace.json");
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the trace has seen one of them begin.
            let mut killed = 0;
            while !over.load(Ordering::Acquire) {
                let engine = daemon.engines().first().copied();
                if let Some(engine) = engine.filter(|_| daemon.try_connect("probe").is_ok()) {
                    engine.signal(nix::sys::signal::Signal::SIGKILL);
                    killed += 1;
                }
            }
            killed
        });
        let ended = trace_into(&bus, &file);
        over.store(true, Ordering::Release);
        ended
    });
    well(&ended);
    let trace: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(
        events.iter().any(|event| event["name"] == "engine started"),
        "{events:?}"
    );
}

#[test]
fn counters_of_a_client_add_up() {
    let (bus, daemon) = administered("none");
    let client = daemon.connect();
    let program = affine(&client, 3, 1);
    let buffer = buffer_of(&client, Memory::Shared, &[1; 640]);
    for _ in 0..20 {
        let submission = client.submit(affine_over(&program, &buffer)).unwrap();
        submission.wait().unwrap();
    }
    let ask = |arguments: &[&str]| -> Value {
        let ended = vkmpsctl(&bus).args(arguments).output().unwrap();
        serde_json::from_str(&well(&ended)).unwrap()
    };
    let id = ask(&["list"])[0]["id"].to_string();
    let shown = ask(&["show", &id]);
    let counter = |name: &str| shown[name].as_u64().unwrap();
    assert_eq!(counter("submits"), 20);
    assert!(counter("slices") >= 20, "{shown}");
    assert_eq!((counter("preemptions"), counter("dispatches")), (0, 20));
    assert!(counter("wait_time_ns") > 0);
    assert!(
        (0.0..=1.0).contains(&shown["share"].as_f64().unwrap()),
        "{shown}"
    );
    let counters = ask(&["statistics"]);
    assert_eq!(counters["Submits"], 20);
    assert_eq!(counters["Slices"], shown["slices"]);
    // Each waited for the one before it; clearing memory may take some as well.
    assert!(counters["Batches"].as_u64() >= Some(20), "{counters}");
    drop((client, program, buffer));
    // What a client did stays counted.
    eventually("it has gone", || ask(&["list"]) == Value::Array(vec![]));
    assert_eq!(ask(&["statistics"])["Submits"], 20);
}

#[test]
fn top_shows_who_works_and_who_does_not() {
    let (bus, daemon) = administered("none");
    let (busy, _idle) = (
        daemon.try_connect("busy").unwrap(),
        daemon.try_connect("idle").unwrap(),
    );
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| work_until(&busy, 640, &over));
        eventually("it works", || {
            let listed = vkmpsctl(&bus).arg("list").output().unwrap();
            let listed: Value = serde_json::from_str(&well(&listed)).unwrap();
            listed[0]["dispatches"].as_u64() > Some(10)
        });
        let top = ["top", "-n", "2", "-i", "0.5", "--sort", "wait"];
        let ended = vkmpsctl(&bus).args(top).output().unwrap();
        over.store(true, Ordering::Release);
        ended
    });
    let frames = well(&ended);
    assert_eq!(frames.lines().count(), 2, "{frames}");
    for frame in frames.lines() {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let (first, second) = (&frame["clients"][0], &frame["clients"][1]);
        assert_eq!(
            (&first["name"], &second["name"]),
            (&"busy".into(), &"idle".into())
        );
        let keys = [
            "device_time_percent",
            "dispatches_per_second",
            "wait_mean_us",
            "slices_per_second",
        ];
        for key in keys {
            assert!(first[key].as_f64() > Some(0.0), "{key}: {frame}");
            assert_eq!(second[key], 0.0, "{key}: {frame}");
        }
        assert_eq!(first["preemptions_per_second"], 0.0);
    }
}

/// A daemon on a bus whose polkit denies this.
fn administered(denied: &'static str) -> (Bus, Daemon) {
    let bus = Bus::start(denied);
    let daemon = Daemon::start_with(|command| {
        command.arg("--bus").arg(&bus.address);
    });
    eventually("the daemon is on the bus", || {
        let status = vkmpsctl(&bus).arg("status").output().unwrap();
        status.status.success()
    });
    (bus, daemon)
}

fn vkmpsctl(bus: &Bus) -> Command {
    let mut command = Command::new(built("vkmpsctl"));
    command
        .env_clear()
        .args(["--json", "--address", &bus.address]);
    command
}

/// What vkmpsctl shows of a client.
fn shown(bus: &Bus, client: &Client) -> Value {
    let id = client.session().to_string();
    let shown = vkmpsctl(bus).args(["show", &id]).output().unwrap();
    serde_json::from_str(&well(&shown)).unwrap()
}

fn with_priority(daemon: &Daemon, name: &str, priority: Priority) -> Client {
    let builder = Client::builder().socket(daemon.socket()).name(name);
    builder.priority(priority).connect().unwrap()
}

fn trace_into(bus: &Bus, file: &Path) -> Output {
    let mut command = vkmpsctl(bus);
    command.args(["trace", "--seconds", "3", "-o"]).arg(file);
    command.output().unwrap()
}

fn well(ended: &Output) -> String {
    assert!(ended.status.success(), "{ended:?}");
    String::from_utf8(ended.stdout.clone()).unwrap()
}

fn work_until(client: &Client, words: u32, over: &AtomicBool) {
    let program = affine(client, 3, 1);
    let buffer = buffer_of(client, Memory::Shared, &vec![1; words as usize]);
    while !over.load(Ordering::Acquire) {
        let submissions: Vec<_> = (0..4)
            .map(|_| client.submit(affine_over(&program, &buffer)).unwrap())
            .collect();
        for submission in submissions {
            submission.wait().unwrap();
        }
    }
}

/// The name of the process that a slice belongs to.
fn client_of(events: &[Value], slice: &Value) -> String {
    let names = events
        .iter()
        .find(|event| event["name"] == "process_name" && event["pid"] == slice["pid"]);
    names.unwrap()["args"]["name"].as_str().unwrap().to_owned()
}

/// Work of a job in a batch.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    job: u64,
    program: String,
    from: u64,
    to: u64,
    total: u64,
}

/// Pieces in the order of the trace, by the name of the client.
fn pieces(events: &[Value]) -> BTreeMap<String, Vec<Piece>> {
    let mut pieces: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
    for piece in events.iter().filter(|event| event["cat"] == "piece") {
        let args = &piece["args"];
        let number = |key: &str| args[key].as_u64().unwrap();
        let of = pieces.entry(client_of(events, piece)).or_default();
        of.push(Piece {
            job: number("job"),
            program: args["program"].as_str().unwrap().to_owned(),
            from: number("from"),
            to: number("to"),
            total: number("total"),
        });
    }
    pieces
}

/// Each job once and after the one before it, all of it, in one piece or several. Of the first and the last one only a
/// part may have been seen.
fn assert_without_gaps(pieces: &[Piece]) {
    for two in pieces.windows(2) {
        let (before, after) = (&two[0], &two[1]);
        assert!(
            after.from < after.to && after.to <= after.total,
            "{after:?}"
        );
        let expected = match before.to == before.total {
            true => (before.job + 1, 0),
            false => (before.job, before.to),
        };
        assert_eq!((after.job, after.from), expected, "after {before:?}");
    }
}

/// Batches of a queue follow one another, and each is on the streams of the clients it names.
fn assert_batches_in_order(events: &[Value]) {
    let mut last: BTreeMap<u64, f64> = BTreeMap::new();
    let mut batches = 0;
    let on_streams: BTreeSet<(u64, u64, u64)> = events
        .iter()
        .filter(|event| event["cat"] == "batch" && event["pid"] != 1)
        .map(|event| {
            let args = &event["args"];
            let number = |value: &Value| value.as_u64().unwrap();
            // Clients have the pid after their number.
            (
                number(&event["pid"]) - 1,
                number(&args["queue"]),
                number(&args["batch"]),
            )
        })
        .collect();
    for event in events
        .iter()
        .filter(|event| event["cat"] == "batch" && event["pid"] == 1)
    {
        let queue = event["tid"].as_u64().unwrap() - 1;
        let (begin, length) = (
            event["ts"].as_f64().unwrap(),
            event["dur"].as_f64().unwrap(),
        );
        let free = last.insert(queue, begin + length).unwrap_or(0.0);
        // Half a nanosecond: numbers have their limits.
        assert!(begin + 5e-4 >= free && length >= 0.0, "{event}");
        for client in event["args"]["clients"].as_array().unwrap() {
            let batch = event["args"]["batch"].as_u64().unwrap();
            let place = (client.as_u64().unwrap(), queue, batch);
            assert!(on_streams.contains(&place), "{event}");
        }
        batches += 1;
    }
    assert!(batches > 10, "{batches}");
}
