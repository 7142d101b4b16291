//! Every thread of every process is confined, or nobody is served.

use std::fs;
use std::process::Command;
use vkmps_tests::binaries::tool;
use vkmps_tests::daemon::{CONFIG, Daemon, SOCKET, command};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;
use vkmps_tests::patience::{eventually, skipped};
use vkmps_tests::processes::Process;
use vkmps_tests::witness::Witness;

#[test]
fn every_thread_of_every_process_is_confined() {
    let daemon = Daemon::start();
    let _witness = Witness::of(&daemon);
    let family = daemon.process().descendants();
    assert!(!daemon.engines().is_empty() && !daemon.compilers().is_empty());
    let driven = [daemon.engines(), daemon.compilers()].concat();
    for process in family.iter().chain([&daemon.process()]) {
        let statuses = statuses(*process);
        assert!(!statuses.is_empty());
        for status in statuses {
            for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(value(&status, field).trim_matches('0'), "", "{status}");
            }
            assert_eq!(value(&status, "NoNewPrivs"), "1", "{status}");
            // The spawner executes engines; it talks to nobody but vkmpsd.
            let filtered = driven.contains(process) || *process == daemon.process();
            let seccomp = if filtered { "2" } else { "0" };
            assert_eq!(value(&status, "Seccomp"), seccomp, "{status}");
        }
    }
    daemon.log().line(&["confined", "landlock="]);
}

#[test]
fn a_daemon_that_cannot_prove_its_sandbox_does_not_serve() {
    let folder = Folder::new();
    let mut plain = command(&folder);
    plain.arg("-s").arg(folder.join(SOCKET));
    let Some(mut blind) = without_proc(&plain) else {
        return;
    };
    let output = blind.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{text}");
    for part in ["sandbox check", "/proc/self/task", "warn-only"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!folder.join(SOCKET).exists(), "its socket is gone with it");
}

#[test]
fn checks_that_are_to_be_warnings_are_warned_of_and_the_daemon_serves() {
    let folder = Folder::new();
    let all = "[\"capabilities\", \"no-new-privileges\", \"seccomp\", \"landlock\"]";
    let mut plain = command(&folder);
    fs::write(folder.join(CONFIG), format!("[sandbox]\nwarn-only = {all}")).unwrap();
    plain.arg("-l").arg("-s").arg(folder.join(SOCKET));
    let Some(blind) = without_proc(&plain) else {
        return;
    };
    let mut daemon = Daemon::launch_command(folder, blind);
    daemon.await_service();
    for check in ["capabilities", "no-new-privileges", "seccomp", "landlock"] {
        eventually("vkmpsd's gap and the engine's are in the log", || {
            let text = daemon.log().text();
            let gaps = text
                .lines()
                .filter(|line| line.contains("WARN") && line.contains(check));
            gaps.count() == 2
        });
    }
    let client = daemon.connect();
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
}

/// The same command where /proc is empty: nothing can be proven there.
fn without_proc(plain: &Command) -> Option<Command> {
    let unshare = tool("unshare").filter(|_| nix::unistd::geteuid().is_root());
    let Some(unshare) = unshare else {
        skipped("hiding /proc needs root and unshare (util-linux)");
        return None;
    };
    let mut blind = Command::new(unshare);
    blind
        .args(["--mount", "/bin/sh", "-c"])
        .arg(r#"mount -t tmpfs none /proc && exec "$@""#)
        .arg("sh")
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => blind.env(name, value),
            None => blind.env_remove(name),
        };
    }
    Some(blind)
}

fn statuses(process: Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.0));
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .collect()
}

fn value<'a>(status: &'a str, field: &str) -> &'a str {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map_or("missing", str::trim)
}
