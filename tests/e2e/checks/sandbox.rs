//! What the service's processes cannot reach.

use super::checks;
use crate::boot::Machine;
use crate::guest::{SERVICE, User, told};
use std::fs;
use vkmps_tests::patience::eventually;
use vkmps_tests::processes::Process;

checks![
    every_probe_from_inside_each_process_is_refused,
    every_thread_is_without_capabilities_and_under_seccomp,
    a_check_that_fails_ends_the_start_unless_it_is_to_be_a_warning,
    the_service_sees_a_read_only_system_and_no_devices,
    the_exposure_is_at_most_the_promised_one,
    the_exposure_with_the_gpu_settings_is_at_most_the_promised_one,
    a_gpu_node_is_seen_with_the_gpu_settings_only,
    a_device_of_no_gpu_is_out_of_reach_with_the_gpu_settings,
];

fn every_probe_from_inside_each_process_is_refused(machine: &Machine) {
    machine.drop_in(
        "[Service]\nType=oneshot\nExecStart=\nExecStart=/usr/sbin/vkmpsd --check-sandbox\nRestart=no\nWatchdogSec=0\n",
    );
    let output = machine.run(&["systemctl", "start", SERVICE]);
    let journal = machine.ok(&["journalctl", "--boot", "--unit=vkmpsd", "--output=cat"]);
    assert!(output.status.success(), "{}{journal}", told(&output));
    let results: Vec<Vec<&str>> = journal
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let refused = |process: &str, probe: &str| {
        let found = results
            .iter()
            .find(|words| words.starts_with(&[process, probe]));
        let words = found.unwrap_or_else(|| panic!("{process} did not try {probe}: {journal}"));
        assert_eq!(words[2], "refused", "{process} {probe}");
    };
    for process in ["vkmpsd", "engine", "compiler"] {
        for probe in FOR_NONE {
            refused(process, probe);
        }
    }
    refused("vkmpsd", "open:/dev/null");
    for process in ["engine", "compiler"] {
        refused(process, "socket:unix");
        refused(process, "connect:dbus");
    }
}

fn every_thread_is_without_capabilities_and_under_seccomp(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "computes");
    assert_eq!(alice.add(), "right");
    let _registering = machine.client(User::Bob, &["registering"]);
    let mut seen = Vec::new();
    // A compiler lives as long as its work.
    eventually("engine and compiler are seen", || {
        for (pid, command) in machine.processes() {
            let is = |name: &str| command.contains(name);
            let kind = match (is("--compiler"), is("vkmps-engine")) {
                (true, _) => "compiler",
                (_, true) => "engine",
                _ => "vkmpsd",
            };
            // One that just starts has not closed its doors yet; it serves nobody.
            if kind == "compiler" && !is_closed(pid) {
                continue;
            }
            check_threads(pid, &command);
            seen.push(kind);
        }
        seen.contains(&"engine") && seen.contains(&"compiler")
    });
    assert!(seen.contains(&"vkmpsd"));
}

fn a_check_that_fails_ends_the_start_unless_it_is_to_be_a_warning(machine: &Machine) {
    machine.drop_in("[Service]\nSystemCallFilter=~landlock_create_ruleset\n");
    let start = || machine.run(&["systemctl", "start", SERVICE]);
    assert!(!start().status.success());
    assert_eq!(machine.property("ExecMainStatus"), "77");
    machine.await_entry(&[], |entry| entry.message().contains("landlock"));
    machine.configure("[sandbox]\nwarn-only = [\"seccomp\"]\n");
    assert!(
        !start().status.success(),
        "the warning is for another check"
    );
    machine.configure("[sandbox]\nwarn-only = [\"landlock\"]\n");
    assert_eq!(machine.attempt(User::Alice), "right");
    let warnings = machine.status()[5].to_string();
    assert!(warnings.contains("landlock"), "{warnings}");
}

fn the_service_sees_a_read_only_system_and_no_devices(machine: &Machine) {
    machine.write("/home/alice/secret", "hers");
    machine.write("/tmp/outside", "everybody's");
    without_gpu_settings(machine);
    let mut alice = machine.session(User::Alice, "computes");
    assert_eq!(alice.add(), "right");
    for (pid, command) in machine.processes() {
        let inside = |path: &str| format!("/proc/{pid}/root{path}");
        for path in ["/home/alice/secret", "/tmp/outside", "/root/.profile"] {
            assert!(fs::read(inside(path)).is_err(), "{command} sees {path}");
        }
        let devices = fs::read_dir(inside("/dev")).expect("there is a /dev");
        let known = [
            "null",
            "zero",
            "full",
            "random",
            "urandom",
            "tty",
            "ptmx",
            "pts",
            "shm",
            "mqueue",
            "hugepages",
            "char",
            "block",
        ];
        let known = |name: &str| {
            known.contains(&name)
                || ["std", "fd", "log", "core", "initctl"]
                    .iter()
                    .any(|start| name.starts_with(start))
        };
        for device in devices.flatten() {
            let name = device.file_name().to_string_lossy().into_owned();
            assert!(known(&name), "{command} sees /dev/{name}");
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("it runs");
        let writable: Vec<&str> = mounts.lines().filter_map(writable_mount).collect();
        let allowed = [
            "/var/cache/vkmps",
            "/var/lib/vkmps",
            "/tmp",
            "/var/tmp",
            "/dev",
            "/proc",
        ];
        for place in writable {
            assert!(
                allowed.iter().any(|start| place.starts_with(start)),
                "{command} can write to {place}"
            );
        }
        // Only what looks back at itself.
        let interfaces = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("it runs");
        let interfaces = interfaces
            .lines()
            .skip(2)
            .filter(|line| !line.trim_start().starts_with("lo:"));
        assert_eq!(interfaces.count(), 0, "{command} has a network");
    }
}

fn the_exposure_is_at_most_the_promised_one(machine: &Machine) {
    without_gpu_settings(machine);
    let exposure = exposure(machine);
    assert!(exposure <= 0.4, "{exposure}");
}

fn the_exposure_with_the_gpu_settings_is_at_most_the_promised_one(machine: &Machine) {
    let exposure = exposure(machine);
    assert!(exposure <= 0.7, "{exposure}");
}

fn a_gpu_node_is_seen_with_the_gpu_settings_only(machine: &Machine) {
    // The numbers of a DRM node; nothing is behind it here.
    machine.ok(&["mkdir", "-p", "/dev/dri"]);
    machine.ok(&[
        "mknod",
        "-m",
        "666",
        "/dev/dri/renderD128",
        "c",
        "226",
        "128",
    ]);
    let seen = || {
        machine.ok(&["systemctl", "restart", SERVICE]);
        assert_eq!(machine.attempt(User::Alice), "right");
        let engine = machine.engine().0;
        fs::metadata(format!("/proc/{engine}/root/dev/dri/renderD128")).is_ok()
    };
    assert!(seen(), "the settings hide it");
    without_gpu_settings(machine);
    assert!(!seen(), "no GPU is meant to be used");
}

fn a_device_of_no_gpu_is_out_of_reach_with_the_gpu_settings(machine: &Machine) {
    // zero's numbers under another name are zero's; those of a console, a disk and the like are nobody's GPU.
    for (name, kind, major, minor) in [
        ("kmsg", "c", "1", "11"),
        ("mem", "c", "1", "1"),
        ("loop0", "b", "7", "0"),
        ("tun", "c", "10", "200"),
    ] {
        machine.ok(&[
            "mknod",
            "-m",
            "666",
            &format!("/dev/{name}"),
            kind,
            major,
            minor,
        ]);
        machine.drop_in(&format!(
            "[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart=/bin/sh -c ': </dev/{name}'\n"
        ));
        assert!(
            !machine
                .run(&["systemctl", "start", SERVICE])
                .status
                .success(),
            "{name} can be opened"
        );
        let refused = ["Operation not permitted", "Permission denied"];
        let refused = refused.map(|why| format!("/dev/{name}: {why}"));
        machine.await_entry(&[], |entry| {
            refused.iter().any(|words| entry.message().contains(words))
        });
    }
}

/// As the shipped settings for GPUs say how.
fn without_gpu_settings(machine: &Machine) {
    let place = format!("/etc/systemd/system/{SERVICE}.d");
    machine.ok(&["mkdir", "-p", &place]);
    machine.ok(&["ln", "-s", "/dev/null", &format!("{place}/50-gpu.conf")]);
    machine.ok(&["systemctl", "daemon-reload"]);
}

fn exposure(machine: &Machine) -> f64 {
    let output = machine.run(&["systemd-analyze", "security", "--no-pager", SERVICE]);
    let table = told(&output);
    let line = table
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let figure = line.and_then(|line| {
        line.split(": ")
            .nth(1)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    let figure: f64 = figure.unwrap_or_else(|| panic!("no figure: {table}"));
    println!("exposure of {SERVICE}: {figure}");
    figure
}

fn check_threads(pid: u32, command: &str) {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    for thread in threads {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        if status.is_empty() || !Process(pid).is_alive() {
            continue;
        }
        for (field, wanted) in WANTED {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            assert_eq!(
                line.map(str::trim),
                Some(wanted),
                "{field} of a thread of {command}: {status}"
            );
        }
    }
}

/// Whether the last of a process's doors is closed.
fn is_closed(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| {
        line.strip_prefix("Seccomp_filters:")
            .is_some_and(|count| count.trim().parse().is_ok_and(|count: u32| count > 0))
    })
}

/// The place of a mount that can be written to.
fn writable_mount(line: &str) -> Option<&str> {
    let mut fields = line.split(' ');
    let (place, options) = (fields.nth(4)?, fields.next()?);
    options
        .split(',')
        .any(|option| option == "rw")
        .then_some(place)
}

/// What none of the processes may.
const FOR_NONE: [&str; 11] = [
    "open:/dev/tty",
    "read:/etc/shadow",
    "read:/home",
    "write:/usr",
    "write:/run",
    "socket:inet",
    "namespace:user",
    "parent:trace",
    "memory:map-write-execute",
    "memory:protect-write-execute",
    "exec",
];

const WANTED: [(&str, &str); 4] = [
    ("CapEff:", "0000000000000000"),
    ("CapPrm:", "0000000000000000"),
    ("NoNewPrivs:", "1"),
    ("Seccomp:", "2"),
];
