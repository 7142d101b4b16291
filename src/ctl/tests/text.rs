//! Every verb, as people see it.

use crate::bus::Bus;
use crate::fake::{Fake, World, client};
use crate::program::vkmpsctl;

#[test]
fn every_verb_that_looks_prints_text() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(vec![client(5, "solver")]));
    let status = vkmpsctl(&bus, &["status"]).well();
    for line in [
        "     State: serving\n",
        "    Engine: ready, pid 4711, replaced 1 time\n",
        "    Device: Test, device\\u{1b}[2J, 1 queue, software\n",
        "    Memory: 3.0 MiB of 8.0 GiB\n",
        "   Sandbox: lacks seccomp\n",
    ] {
        assert!(status.contains(line), "{status}");
    }
    let list = vkmpsctl(&bus, &["list"]).well();
    let row = list.lines().nth(1).unwrap();
    assert!(row.starts_with("     5  "), "{list}");
    assert!(row.ends_with("  session-2.scope  solver"), "{list}");
    let show = vkmpsctl(&bus, &["show", "5"]).well();
    assert!(show.contains("     Memory: 3.0 MiB of 1.0 GiB\n"), "{show}");
    assert_eq!(
        vkmpsctl(&bus, &["statistics"]).well(),
        "COUNTER   VALUE\nsessions      3\nsubmits      12\n"
    );
    assert_eq!(vkmpsctl(&bus, &["mode"]).well(), "exclusive-throughput\n");
    assert_eq!(vkmpsctl(&bus, &["log-level"]).well(), "info\n");
    let asked = fake.asked();
    assert!(
        asked.iter().all(|asked| !asked.starts_with('!')),
        "{asked:?}"
    );
}

#[test]
fn every_verb_that_changes_asks_polkit_to_ask() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(vec![client(5, "a"), client(6, "b")]));
    assert_eq!(vkmpsctl(&bus, &["set-priority", "5", "high"]).well(), "");
    assert_eq!(vkmpsctl(&bus, &["log-level", "debug"]).well(), "");
    let set = vkmpsctl(
        &bus,
        &["set-limits", "5", "--memory", "2G", "--streams", "4"],
    )
    .well();
    assert_eq!(
        set,
        "more is in use than there may be now: memory; nothing more is given until it is freed\n"
    );
    let user = [
        "set-limits",
        "--user",
        "1000",
        "--reserved-percentage",
        "30",
    ];
    assert_eq!(vkmpsctl(&bus, &user).well(), "");
    let all = [
        "set-limits",
        "--default",
        "--memory",
        "25%",
        "--weight",
        "default",
    ];
    assert_eq!(vkmpsctl(&bus, &all).well(), "");
    let mode = ["mode", "cooperative-fairshare", "--loop-slice-quota", "7"];
    assert_eq!(vkmpsctl(&bus, &mode).well(), "");
    assert_eq!(vkmpsctl(&bus, &["terminate", "5"]).well(), "");
    assert_eq!(
        vkmpsctl(&bus, &["drain"]).well(),
        "draining; vkmpsctl resume ends it\n"
    );
    assert_eq!(vkmpsctl(&bus, &["resume"]).well(), "serving\n");
    assert_eq!(
        vkmpsctl(&bus, &["reload"]).well(),
        "takes effect when vkmpsd is restarted: device.queues\n"
    );
    let asked: Vec<String> = fake
        .asked()
        .into_iter()
        .filter(|asked| asked != "State")
        .collect();
    assert_eq!(
        asked,
        [
            "!SetPriority 5 high",
            "!SetLogLevel debug",
            "!SetLimits 5 memory=2G streams=4",
            "!SetUserLimits 1000 reserved-percentage=30",
            "!SetDefaultLimits memory=25% weight=default",
            "!SetSchedulingMode cooperative-fairshare",
            "!SetLoopSliceQuota 7",
            "!TerminateClient 5",
            "!Drain",
            "!Resume",
            "!Reload"
        ]
    );
}

#[test]
fn nobody_is_asked_for_a_password_if_that_is_unwanted() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    vkmpsctl(&bus, &["--no-ask-password", "reload"]).well();
    vkmpsctl(&bus, &["log-level", "warn", "--no-ask-password"]).well();
    assert_eq!(fake.asked(), ["Reload", "SetLogLevel warn"]);
}

#[test]
fn a_hostile_name_reaches_no_terminal() {
    let bus = Bus::start();
    let name = "\x1b]0;owned\x07\x1b[2Jroot\nfake row";
    let _fake = Fake::start(&bus, World::with(vec![client(5, name)]));
    for arguments in [
        &["list"][..],
        &["show", "5"],
        &["top", "--once", "--interval", "0.05"],
    ] {
        let text = vkmpsctl(&bus, arguments).well();
        let escaped = "\\u{1b}]0;owned\\u{7}\\u{1b}[2Jroot\\nfake row\n";
        assert!(text.contains(escaped), "{text}");
        let control = text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!control, "{text}");
    }
}

#[test]
fn another_bus_is_named_by_an_option() {
    let bus = Bus::start();
    let other = Bus::start();
    let _fake = Fake::start(&bus, World::with(Vec::new()));
    let ended = vkmpsctl(&other, &["--address", &bus.address, "mode"]);
    assert_eq!(ended.well(), "exclusive-throughput\n");
}

#[test]
fn completions_know_the_verbs() {
    let bus = Bus::start();
    for shell in ["bash", "zsh", "fish"] {
        let script = vkmpsctl(&bus, &["completions", shell]).well();
        assert!(script.contains("set-priority"), "{shell}");
        assert!(script.contains("check-config"), "{shell}");
    }
}
