//! Exit statuses, and the one line that says why.

use crate::bus::Bus;
use crate::fake::{Fake, World, client};
use crate::program::{Ended, command, run, vkmpsctl};
use std::fs;
use std::path::Path;
use std::process::Command;

/// It failed as it should and told why on one line.
#[track_caller]
fn failed(ended: &Ended, exit: i32, why: &str) {
    assert_eq!(ended.exit, exit, "{ended:?}");
    assert_eq!(ended.output, "", "{ended:?}");
    assert!(ended.errors.starts_with("vkmpsctl: "), "{ended:?}");
    assert!(ended.errors.contains(why), "{ended:?}");
    assert_eq!(ended.errors.lines().count(), 1, "{ended:?}");
}

#[test]
fn a_bus_without_the_service_is_told_from_no_bus() {
    let bus = Bus::start();
    for verb in [
        &["status"][..],
        &["list"],
        &["drain"],
        &["top", "--once"],
        &["monitor"],
    ] {
        failed(&vkmpsctl(&bus, verb), 3, "is vkmpsd.socket enabled?");
    }
    let nowhere = vkmpsctl(&bus, &["--address", "unix:path=/nonexistent/bus", "list"]);
    failed(&nowhere, 3, "is dbus.service running?");
}

#[test]
fn a_service_that_cannot_be_started_is_unreachable() {
    let bus = Bus::with_services(&[vkmps_bus::SERVICE]);
    failed(&vkmpsctl(&bus, &["status"]), 3, "is vkmpsd.socket enabled?");
}

#[test]
fn who_is_not_authorised_hears_so() {
    let bus = Bus::start();
    let world = World {
        denies: true,
        ..World::with(vec![client(5, "a")])
    };
    let _fake = Fake::start(&bus, world);
    for verb in [
        &["set-priority", "5", "high"][..],
        &["drain"],
        &["drain", "--wait"],
        &["resume"],
        &["reload"],
        &["log-level", "debug"],
    ] {
        failed(&vkmpsctl(&bus, verb), 4, "not authorised: polkit says no");
    }
    let ended = vkmpsctl(&bus, &["--json", "terminate", "5"]);
    assert_eq!(
        (ended.exit, ended.output.as_str()),
        (4, "{\"terminated\":[]}\n")
    );
    vkmpsctl(&bus, &["list"]).well();
}

#[test]
fn a_client_that_does_not_exist_is_named() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(vec![client(5, "a")]));
    failed(&vkmpsctl(&bus, &["show", "7"]), 5, "no client 7");
    failed(
        &vkmpsctl(&bus, &["set-priority", "7", "low"]),
        5,
        "no client 7",
    );
    fake.asked();
    let ended = vkmpsctl(&bus, &["--json", "terminate", "7", "5", "9"]);
    assert_eq!(
        (ended.exit, ended.output.as_str()),
        (5, "{\"terminated\":[5]}\n")
    );
    assert_eq!(ended.errors.lines().count(), 2, "{}", ended.errors);
    assert!(ended.errors.contains("no client 9"), "{}", ended.errors);
}

#[test]
fn a_bad_configuration_is_told_in_the_services_words() {
    let bus = Bus::start();
    let world = World {
        bad_configuration: Some("vkmpsd.toml:3: log.level\nis not \x1b[1m\"loud\""),
        ..World::with(Vec::new())
    };
    let _fake = Fake::start(&bus, world);
    let why = "vkmpsd.toml:3: log.level\\nis not \\u{1b}[1m\"loud\"";
    failed(&vkmpsctl(&bus, &["reload"]), 78, why);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let bus = Bus::start();
    for wrong in [
        &[][..],
        &["frobnicate"],
        &["show"],
        &["show", "-1"],
        &["show", "x"],
        &["terminate"],
        &["set-priority", "1", "urgent"],
        &["log-level", "loud"],
        &["top", "--interval", "0"],
        &["top", "-n", "0"],
        &["top", "-n", "2", "--once"],
        &["completions", "tcsh"],
    ] {
        let ended = vkmpsctl(&bus, wrong);
        assert_eq!((ended.exit, ended.output.as_str()), (2, ""), "{ended:?}");
    }
    assert_eq!(vkmpsctl(&bus, &["--help"]).exit, 0);
    assert!(
        vkmpsctl(&bus, &["--version"])
            .well()
            .starts_with("vkmpsctl ")
    );
}

#[test]
fn vkmpsd_itself_checks_the_configuration() {
    let bus = Bus::start();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("vkmpsctl");
    fs::hard_link(env!("CARGO_BIN_EXE_vkmpsctl"), &program).unwrap();
    let script = "#!/bin/sh\n[ \"$*\" = '--check-config --config good.toml' ] && exit 0\necho \"bad: $*\" >&2\nexit 78\n";
    // Written by another process: had this one the file open for writing, another test's fork might keep it so.
    let write = "printf %s \"$0\" >\"$1\" && chmod 755 \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", write, script]).arg(folder.join("vkmpsd"));
    assert!(shell.status().unwrap().success());
    let check =
        |arguments: &[&str]| run(command(program.to_str().unwrap(), &bus).args(arguments), "");
    assert_eq!(check(&["check-config", "--config", "good.toml"]).well(), "");
    let bad = check(&["check-config"]);
    assert_eq!(
        (bad.exit, bad.errors.as_str()),
        (78, "bad: --check-config\n")
    );
    let bad = check(&["--json", "check-config"]);
    let told = "{\"valid\":false,\"message\":\"bad: --check-config\"}\n";
    assert_eq!(
        (bad.exit, bad.output.as_str(), bad.errors.as_str()),
        (78, told, "")
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_output_that_is_closed_is_no_failure() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(Vec::new()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut status = command(env!("CARGO_BIN_EXE_vkmpsctl"), &bus);
    let ended = status.arg("status").stdout(writer).status().unwrap();
    assert_eq!(ended.code(), Some(0));
}
