//! `vkmpsctl run`.

use nix::sys::signal::Signal;
use std::process::{Child, Command, Output, Stdio};
use vkmps_tests::binaries::{build_folder, built};
use vkmps_tests::daemon::{Daemon, spawn};
use vkmps_tests::kernels::Adder;
use vkmps_tests::log::Log;
use vkmps_tests::patience::eventually;
use vkmps_tests::processes::Process;

/// `vkmpsctl run` with these arguments, at this daemon.
fn run(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(built("vkmpsctl"));
    command
        .arg("run")
        .args(arguments)
        .env("VKMPS_SOCKET", daemon.socket())
        .env("CLIENT", build_folder().join("vkmps-test-client"))
        .stdin(Stdio::null());
    command
}

fn output(daemon: &Daemon, arguments: &[&str]) -> Output {
    run(daemon, arguments).output().expect("it was built")
}

fn started(daemon: &Daemon, arguments: &[&str]) -> (Child, Log) {
    spawn(run(daemon, arguments))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client that does not belong to the session goes on, and has all that the session had.
fn nothing_is_left(daemon: &Daemon) {
    daemon.log().line(&["session over"]);
    let client = daemon.connect();
    let adder = Adder::new(&client, 100).expect("it may");
    adder.round(&client, 1).expect("it is served");
    drop(adder);
    eventually("no memory is accounted to the user", || {
        client.quota().is_ok_and(|quota| quota.shared_bytes.0 == 0)
    });
}

#[test]
fn its_clients_have_the_memory_together_and_the_status_is_the_commands() {
    let daemon = Daemon::start();
    // The second asks when the first has got what it wants.
    let script = "\"$CLIENT\" hold 41943040 | { read -r first; echo \"$first\"; \"$CLIENT\" hold 31457280; \
                  \"$CLIENT\" add 1; kill -9 $$; } ; exit 7";
    let output = output(
        &daemon,
        &[
            "--memory", "64M", "--name", "pair", "--", "sh", "-c", script,
        ],
    );
    let lines = text(&output.stdout);
    let mut lines = lines.lines();
    assert_eq!(lines.next(), Some("holds"), "{output:?}");
    let refused = lines.next().expect("the second says something");
    assert!(refused.starts_with("refused LimitReached"), "{refused}");
    assert!(refused.contains("scope: Group"), "{refused}");
    assert!(
        refused.contains("used: 41943040, most: 67108864"),
        "{refused}"
    );
    assert_eq!(lines.next(), Some("right"));
    assert_eq!(output.status.code(), Some(137), "killed by its script");
    daemon.log().line(&["session created", "name=\"pair\""]);
    nothing_is_left(&daemon);
}

#[test]
fn the_status_is_the_commands() {
    let daemon = Daemon::start();
    for (command, status) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["/nonexistent/program"], 127),
        (&["/"], 126),
    ] {
        assert_eq!(
            output(&daemon, command).status.code(),
            Some(status),
            "{command:?}"
        );
    }
    let bad = output(&daemon, &["--memory", "-1", "true"]);
    assert_eq!(bad.status.code(), Some(2));
    for bad in [
        ["--percentage", "0"],
        ["--percentage", "101"],
        ["--ttl", "5"],
        ["--clients", "0"],
    ] {
        let output = output(&daemon, &[bad[0], bad[1], "true"]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
    let nowhere = output(&daemon, &["--socket", "/nonexistent/vkmps.sock", "true"]);
    assert_eq!(nowhere.status.code(), Some(125));
    assert!(
        text(&nowhere.stderr).contains("no vkmpsd listens"),
        "{nowhere:?}"
    );
}

#[test]
fn its_time_ends_the_clients_and_the_command() {
    let daemon = Daemon::start();
    let script = "\"$CLIENT\" hold 4096 & trap : TERM; wait; wait";
    let output = output(&daemon, &["--ttl", "700ms", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    assert_eq!(text(&output.stdout), "holds\nover Some(SessionOver)\n");
    assert!(
        text(&output.stderr).contains("its time has passed"),
        "{output:?}"
    );
    nothing_is_left(&daemon);
}

#[test]
fn killing_it_ends_its_clients() {
    let daemon = Daemon::start();
    let script = "exec \"$CLIENT\" hold 4096";
    let (mut child, log) = started(&daemon, &["--", "sh", "-c", script]);
    log.line(&["holds"]);
    Process(child.id()).signal(Signal::SIGKILL);
    child.wait().unwrap();
    log.line(&["over Some(SessionOver)"]);
    nothing_is_left(&daemon);
}

#[test]
fn who_outlives_the_command_does_not_outlive_the_session() {
    let daemon = Daemon::start();
    let script = "\"$CLIENT\" hold 4096 & read -r ready < \"$FIFO\"";
    let fifo = daemon.socket().with_extension("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut command = run(&daemon, &["--", "sh", "-c", script]);
    command.env("FIFO", &fifo);
    let (mut child, log) = spawn(command);
    log.line(&["holds"]);
    std::fs::write(&fifo, "now\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    log.line(&["over Some(SessionOver)"]);
    nothing_is_left(&daemon);
}

#[test]
fn signals_go_to_the_command() {
    let daemon = Daemon::start();
    let script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, log) = started(&daemon, &["--", "sh", "-c", script]);
    log.line(&["ready"]);
    Process(child.id()).signal(Signal::SIGTERM);
    log.line(&["got it"]);
    assert_eq!(child.wait().unwrap().code(), Some(5));
    nothing_is_left(&daemon);
}
