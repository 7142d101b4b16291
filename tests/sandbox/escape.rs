//! `vkmpsd --check-sandbox`: each process tries to get out.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Output};
use vkmps_tests::binaries::{built, tool};
use vkmps_tests::daemon::{choose_driver, command};
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::skipped;

#[test]
fn no_process_gets_out_of_its_sandbox() {
    let folder = Folder::new();
    let output = command(&folder).arg("--check-sandbox").output().unwrap();
    expect_no_gap(&output);
}

#[test]
fn no_process_of_an_unprivileged_user_gets_out_either() {
    let folder = Folder::new();
    let Some(mut check) = as_nobody(&folder, "exec \"$@\"") else {
        return;
    };
    expect_no_gap(&check.output().unwrap());
}

#[test]
fn gaps_are_found_and_named() {
    let folder = Folder::new();
    let checks = "\"capabilities\", \"no-new-privileges\", \"seccomp\", \"landlock\"";
    let config = folder.join("open.toml");
    fs::write(&config, format!("[sandbox]\nwarn-only = [{checks}]")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    // Where nothing can be proven Landlock is not even put into force.
    let Some(mut check) = as_nobody(&folder, "mount -t tmpfs none /proc && exec \"$@\"") else {
        return;
    };
    let output = check.arg("--config").arg(&config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(77), "{text}");
    for process in ["vkmpsd", "engine", "compiler"] {
        for (probe, outcome) in [
            ("write:/tmp", "POSSIBLE"),
            ("read:/", "POSSIBLE"),
            ("socket:inet", "refused (EPERM)"),
            ("exec", "refused (EPERM)"),
        ] {
            let lines = findings(&text);
            let found = lines
                .iter()
                .find(|line| line.0 == process && line.1 == probe);
            // vkmpsd may open files to read only, by its filter too.
            let expected = match (process, probe) {
                ("vkmpsd", "write:/tmp") => "refused (EPERM)",
                _ => outcome,
            };
            assert_eq!(
                found.map(|line| line.2),
                Some(expected),
                "{process} {probe}\n{text}"
            );
        }
        assert!(text.contains("sandbox check \"landlock\" failed"), "{text}");
    }
}

/// Every process tried everything, and nothing was possible.
fn expect_no_gap(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    let lines = findings(&text);
    for process in ["vkmpsd", "engine", "compiler"] {
        let outcome = |probe: &str| {
            let found = lines
                .iter()
                .find(|line| line.0 == process && line.1 == probe);
            found
                .unwrap_or_else(|| panic!("{process} did not try {probe}:\n{text}"))
                .2
        };
        for probe in [
            "read:/etc/shadow",
            "write:/etc",
            "write:/usr",
            "write:/var",
            "write:/tmp",
            "write:/run",
            "socket:inet",
            "socket:netlink",
            "socket:vsock",
            "listen",
            "namespace:user",
            "mount",
            "parent:trace",
            "parent:mem",
            "parent:signal",
            "parent:alarm-owner",
            "parent:alarm-group",
            "parent:alarm-switch",
            "parent:alarm-flag",
            "parent:schedule-cores",
            "parent:schedule-weight",
            "parent:schedule-class",
            "memory:map-write-execute",
            "memory:protect-write-execute",
            "memory:map-shared-execute",
            "call:io_uring_setup",
            "fork",
            "exec",
        ] {
            assert!(
                outcome(probe).starts_with("refused ("),
                "{process} {probe}\n{text}"
            );
        }
        assert_eq!(outcome("self-test"), "passed", "{text}");
        assert!(["full", "partial"].contains(&outcome("landlock")), "{text}");
        let devices = lines
            .iter()
            .filter(|line| line.0 == process && line.1.starts_with("open:/dev/"));
        assert!(devices.count() > 0, "{process} tried no device:\n{text}");
    }
    for (process, probe) in [
        ("vkmpsd", "open:/dev/null"),
        ("vkmpsd", "memory:protect-execute"),
        ("engine", "socket:unix"),
        ("engine", "connect:dbus"),
        ("compiler", "connect:dbus"),
    ] {
        let found = lines
            .iter()
            .any(|line| line.0 == process && line.1 == probe && line.2.starts_with("refused ("));
        assert!(found, "{process} {probe}\n{text}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.1 == "driver" && line.2.contains("llvmpipe")),
        "{text}"
    );
    assert!(!text.contains("POSSIBLE"), "{text}");
}

/// Process, probe and outcome of each line.
fn findings(text: &str) -> Vec<(&str, &str, &str)> {
    let columns = |line| {
        let (process, rest) = str::split_once(line, ' ')?;
        let (probe, outcome) = rest.trim_start().split_once(' ')?;
        Some((process, probe, outcome.trim()))
    };
    text.lines().filter_map(columns).collect()
}

/// The check by a user who owns nothing, in a shell that may change the file system for it.
fn as_nobody(folder: &Folder, script: &str) -> Option<Command> {
    let (unshare, setpriv) = (tool("unshare"), tool("setpriv"));
    let root = nix::unistd::geteuid().is_root();
    let (Some(unshare), Some(setpriv), true) = (unshare, setpriv, root) else {
        skipped("another user's processes need root, unshare and setpriv (util-linux)");
        return None;
    };
    // Where binaries are built may be closed to others.
    fs::set_permissions(&**folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let copied = |name: &str| {
        let copy = folder.join(name);
        fs::copy(built(name), &copy).expect("there is room");
        copy
    };
    let (daemon, engine) = (copied("vkmpsd"), copied("vkmps-engine"));
    let cache = folder.join("cache");
    fs::create_dir(&cache).expect("a folder of ours");
    chown(&cache, Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut check = Command::new(unshare);
    check.args(["--mount", "/bin/sh", "-c", script, "sh"]);
    check.arg(setpriv).args([
        format!("--reuid={NOBODY}"),
        format!("--regid={NOBODY}"),
        "--clear-groups".to_owned(),
    ]);
    check.arg(daemon).arg("--check-sandbox");
    check
        .arg("--engine")
        .arg(engine)
        .arg("--cache-dir")
        .arg(cache);
    check.current_dir(Path::new("/")).env_remove("HOME");
    choose_driver(&mut check);
    Some(check)
}

const NOBODY: u32 = 65_534;
