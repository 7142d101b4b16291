//! The units, as systemd itself judges them without being booted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use vkmps_tests::binaries::{output_of, tool, workspace};
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::skipped;

/// Tenths. Online the same figure comes out (the end-to-end tests look).
const EXPOSURE: u32 = 4;
const EXPOSURE_WITH_GPU: u32 = 7;

#[test]
fn the_service_exposes_little_on_the_software_driver_and_hardly_more_on_a_gpu() {
    let Some(analyze) = tool("systemd-analyze") else {
        return skipped(NO_SYSTEMD);
    };
    // Drop-ins are found beside the unit.
    let bare = Folder::new();
    for unit in UNITS {
        fs::copy(units().join(unit), bare.join(unit)).unwrap();
    }
    let judge = |folder: &Path, most: u32| {
        output_of(
            Command::new(&analyze)
                .args(["security", "--offline=true", "--no-pager"])
                .arg(format!("--threshold={most}"))
                .arg(folder.join("vkmpsd.service")),
        );
    };
    judge(&bare, EXPOSURE);
    judge(&units(), EXPOSURE_WITH_GPU);
}

#[test]
fn an_engine_may_prefer_the_thread_that_polls_a_gpu() {
    let drop_in = read("vkmpsd.service.d/50-gpu.conf");
    assert_eq!(only(&drop_in, "SystemCallFilter="), "setpriority");
    assert_eq!(only(&drop_in, "LimitNICE="), "-10");
    let service = read("vkmpsd.service");
    assert!(values(&service, "SystemCallFilter=").any(|value| value.contains("@resources")));
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let Some(analyze) = tool("systemd-analyze") else {
        return skipped(NO_SYSTEMD);
    };
    let verify = Command::new(analyze)
        .args(["verify", "--man=no"])
        .args(UNITS.map(|unit| units().join(unit)))
        .output()
        .unwrap();
    // Fails wherever the package is not installed: only what it says counts.
    let complaints = String::from_utf8_lossy(&verify.stderr);
    let complaints: Vec<&str> = complaints
        .lines()
        .filter(|line| line.contains("vkmps") && !line.contains("is not executable"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_user_of_the_service_and_the_group_of_the_socket_are_made() {
    let Some(sysusers) = tool("systemd-sysusers") else {
        return skipped(NO_SYSTEMD);
    };
    let file = units().join("vkmpsd.sysusers");
    output_of(Command::new(sysusers).arg("--dry-run").arg(&file));
    let made = fs::read_to_string(file).unwrap();
    let made: Vec<(&str, &str)> = made
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .collect();
    let service = read("vkmpsd.service");
    assert!(made.contains(&("u", only(&service, "User="))));
    assert_eq!(only(&service, "User="), only(&service, "Group="));
    assert!(made.contains(&("g", only(&read("vkmpsd.socket"), "SocketGroup="))));
    let drop_in = read("vkmpsd.service.d/50-gpu.conf");
    for group in only(&drop_in, "SupplementaryGroups=").split(' ') {
        assert!(made.contains(&("g", group)), "no group {group}");
    }
}

#[test]
fn journalctl_takes_every_text_of_the_catalog() {
    let Some(journalctl) = tool("journalctl") else {
        return skipped(NO_SYSTEMD);
    };
    let root = Folder::new();
    let (texts, index) = ("usr/lib/systemd/catalog", "var/lib/systemd/catalog");
    for folder in [texts, index] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let catalog = read("vkmpsd.catalog");
    fs::write(root.join(texts).join("vkmpsd.catalog"), &catalog).unwrap();
    let ask = |what: &str| {
        let mut ask = Command::new(&journalctl);
        output_of(ask.arg(format!("--root={}", root.display())).arg(what))
    };
    ask("--update-catalog");
    let list = ask("--list-catalog");
    let listed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.split_once(" vkmpsd: "))
        .map(|(id, _)| id)
        .collect();
    let written: BTreeSet<&str> = catalog
        .lines()
        .filter_map(|line| line.strip_prefix("-- "))
        .collect();
    assert_eq!(listed, written);
}

/// Each was found to break the service; see the comments in the units.
#[test]
fn the_units_are_without_what_breaks_the_service() {
    for unit in UNITS {
        for wrong in [
            "PrivateUsers=",
            "MemoryDenyWriteExecute=",
            "RuntimeDirectory=",
            "RestartPreventExitStatus=",
        ] {
            let text = read(unit);
            assert_eq!(values(&text, wrong).next(), None, "{wrong} in {unit}");
        }
    }
    assert_eq!(only(&read("vkmpsd.service"), "StartLimitIntervalSec="), "0");
    assert_eq!(
        only(&read("vkmpsd.socket"), "TriggerLimitIntervalSec="),
        "0"
    );
}

fn units() -> PathBuf {
    workspace().join("systemd")
}

fn read(unit: &str) -> String {
    fs::read_to_string(units().join(unit)).expect("units are UTF-8 and there")
}

/// The value of a key that must be there once.
fn only<'a>(unit: &'a str, key: &str) -> &'a str {
    let values: Vec<&str> = values(unit, key).collect();
    assert_eq!(values.len(), 1, "{key} {values:?}");
    values[0]
}

fn values<'a>(unit: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    unit.lines().filter_map(move |line| line.strip_prefix(key))
}

const UNITS: [&str; 2] = ["vkmpsd.service", "vkmpsd.socket"];
const NO_SYSTEMD: &str = "systemd is not installed (apt install systemd)";
