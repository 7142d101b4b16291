//! `vkmpsctl` and `vkmps-control` with the real service.

use super::checks;
use crate::boot::Machine;
use crate::guest::{SERVICE, SOCKET, User, text, told};
use serde_json::Value;
use std::process::Stdio;
use vkmps_tests::daemon::spawn;
use vkmps_tests::patience::eventually;

checks![
    vkmpsctl_shows_service_clients_and_counters,
    vkmpsctl_manages_clients_and_the_service,
    vkmpsctl_ends_with_the_documented_statuses,
    vkmpsctl_monitor_prints_what_happens,
    vkmpsctl_top_shows_who_uses_the_device,
    vkmpsctl_checks_configurations_as_the_service_reads_them,
    vkmps_control_answers_scripts_written_for_mps,
    vkmps_control_quits_the_service,
];

fn vkmpsctl_shows_service_clients_and_counters(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "shown");
    assert_eq!(alice.add(), "right");
    let id = alice.id();
    for user in [User::Root, User::Carol] {
        let status = json(machine, user, &["status"]);
        assert_eq!(
            (&status["state"], &status["engine"]),
            (&"serving".into(), &"ready".into())
        );
        assert!(
            status["device"]["name"]
                .as_str()
                .is_some_and(|name| !name.is_empty()),
            "{status}"
        );
        let list = json(machine, user, &["list"]);
        assert_eq!(
            (&list[0]["id"], &list[0]["uid"], &list[0]["name"]),
            (&id.into(), &User::Alice.uid().into(), &"shown".into())
        );
        let client = json(machine, user, &["show", &id.to_string()]);
        assert!(client["dispatches"].as_u64() >= Some(1), "{client}");
        assert!(client["memory_used_bytes"].as_u64() > Some(0), "{client}");
        let statistics = json(machine, user, &["statistics"]);
        assert!(
            statistics
                .as_object()
                .is_some_and(|counters| counters.len() > 3),
            "{statistics}"
        );
        assert!(
            json(machine, user, &["mode"])
                .to_string()
                .contains("exclusive-throughput")
        );
    }
    // Not on a terminal: words without colours.
    for verb in ["status", "list", "statistics", "mode"] {
        let output = machine.ok(&["vkmpsctl", verb]);
        assert!(
            !output.is_empty() && !output.contains('\u{1b}'),
            "{verb}: {output:?}"
        );
    }
}

fn vkmpsctl_manages_clients_and_the_service(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "managed");
    let id = alice.id().to_string();
    machine.ok(&["vkmpsctl", "set-priority", &id, "low"]);
    assert_eq!(json(machine, User::Root, &["show", &id])["priority"], "low");
    machine.ok(&["vkmpsctl", "log-level", "debug"]);
    assert_eq!(json(machine, User::Root, &["status"])["log_level"], "debug");
    machine.ok(&["vkmpsctl", "reload"]);
    machine.ok(&["vkmpsctl", "drain"]);
    assert_eq!(json(machine, User::Root, &["status"])["state"], "draining");
    assert_eq!(machine.attempt(User::Bob), "refused Draining");
    assert_eq!(alice.add(), "right");
    machine.ok(&["vkmpsctl", "terminate", &id]);
    assert_eq!(alice.add(), "failed PermissionDenied");
    machine.ok(&["vkmpsctl", "drain", "--wait"]);
    assert_eq!(json(machine, User::Root, &["status"])["state"], "drained");
    machine.ok(&["vkmpsctl", "resume"]);
    assert_eq!(machine.attempt(User::Bob), "right");
}

fn vkmpsctl_ends_with_the_documented_statuses(machine: &Machine) {
    let status = |user, arguments: &[&str]| {
        let output = machine.run_as(user, &[&["vkmpsctl"], arguments].concat());
        assert!(
            output.stderr.is_empty() == output.status.success(),
            "{arguments:?}: {}",
            told(&output)
        );
        output.status.code()
    };
    assert_eq!(status(User::Root, &["status"]), Some(0));
    assert_eq!(status(User::Root, &["no-such-verb"]), Some(2));
    assert_eq!(status(User::Alice, &["drain"]), Some(4));
    assert_eq!(status(User::Root, &["show", "999999"]), Some(5));
    assert_eq!(status(User::Root, &["terminate", "999999"]), Some(5));
    machine.configure("[clients]\nmax-sesions = 5\n");
    assert_eq!(status(User::Root, &["reload"]), Some(78));
    machine.configure("");
    machine.ok(&["systemctl", "mask", "--runtime", "--now", SERVICE, SOCKET]);
    assert_eq!(status(User::Root, &["status"]), Some(3));
}

fn vkmpsctl_monitor_prints_what_happens(machine: &Machine) {
    machine.ok(&["systemctl", "start", SERVICE]);
    let mut command = machine.command(&["vkmpsctl", "--json", "monitor"]);
    command.stdin(Stdio::null());
    let (mut monitor, log) = spawn(command);
    log.line(&["property_changed", "State"]);
    let mut alice = machine.session(User::Alice, "seen");
    let id = format!("\"client\":{}", alice.id());
    let added: Value =
        serde_json::from_str(&log.line(&["client_added", &id])).expect("each line is JSON");
    assert_eq!(added["uid"], User::Alice.uid());
    alice.leave();
    log.line(&["client_removed", &id]);
    machine.ok(&["systemctl", "stop", SERVICE]);
    log.line(&["service_stopped"]);
    machine.ok(&["pkill", "--exact", "--signal=INT", "vkmpsctl"]);
    eventually("it ends when interrupted", || {
        monitor
            .try_wait()
            .is_ok_and(|status| status.is_some_and(|status| status.success()))
    });
}

fn vkmpsctl_top_shows_who_uses_the_device(machine: &Machine) {
    let mut busy = machine.client(User::Alice, &["submitting"]);
    assert_eq!(busy.next_line(), "ready");
    let shown = machine.ok(&["vkmpsctl", "top", "--once", "--interval", "1"]);
    assert!(
        shown.contains("alice") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    let frame = json(machine, User::Root, &["top", "--once", "--interval", "1"]);
    assert!(frame.is_object(), "{frame}");
}

fn vkmpsctl_checks_configurations_as_the_service_reads_them(machine: &Machine) {
    machine.ok(&["vkmpsctl", "check-config"]);
    machine.configure("[scheduling]\nmode = \"fastest\"\n");
    let output = machine.run(&["vkmpsctl", "check-config"]);
    assert_eq!(output.status.code(), Some(78));
    let said = told(&output);
    for part in [
        "90-test.toml:2",
        "mode",
        "exclusive-throughput",
        "cooperative-fairshare",
    ] {
        assert!(said.contains(part), "no {part} in: {said}");
    }
}

fn vkmps_control_answers_scripts_written_for_mps(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "a CUDA program, once");
    assert_eq!(alice.add(), "right");
    let control =
        |command: &str| machine.ok(&["sh", "-c", &format!("echo '{command}' | vkmps-control")]);
    let server = control("get_server_list");
    let server = server.trim();
    assert_eq!(machine.status()[3].to_string(), server);
    assert_eq!(
        control(&format!("get_server_status {server}")).trim(),
        "ACTIVE"
    );
    let client = control(&format!("get_client_list {server}"));
    assert_eq!(client.trim(), alice.pid().to_string());
    assert!(control("ps").contains(client.trim()));
    assert!(control("get_device_client_list").contains(client.trim()));
    assert!(control("device_query").contains("Default"));
    // As arguments, too.
    assert_eq!(
        machine.ok(&["vkmps-control", "get_server_list"]).trim(),
        server
    );
    let half = control("set_default_active_thread_percentage 50");
    assert_eq!(half.trim(), "50.0");
    assert_eq!(
        control("get_default_active_thread_percentage").trim(),
        "50.0"
    );
    let absurd = machine.run(&[
        "vkmps-control",
        "set_default_active_thread_percentage",
        "101",
    ]);
    assert!(!absurd.status.success(), "{}", told(&absurd));
    let denied = machine.run_as(
        User::Bob,
        &["vkmps-control", "terminate_client", server, client.trim()],
    );
    assert!(!denied.status.success(), "{}", told(&denied));
    assert_eq!(alice.add(), "right");
    assert_eq!(
        control(&format!("terminate_client {server} {}", client.trim())).trim(),
        "0"
    );
    assert_eq!(alice.add(), "failed PermissionDenied");
}

fn vkmps_control_quits_the_service(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "in the way");
    assert_eq!(alice.add(), "right");
    machine.ok(&["vkmps-control", "quit", "-t", "1"]);
    // It returns when the service has left the bus; systemd may still be waiting for the last of its processes.
    machine.await_state(SERVICE, "inactive");
    machine.await_state(SOCKET, "inactive");
    let answer = alice.add();
    assert!(
        answer == "failed PermissionDenied" || answer == "failed DaemonLost",
        "{answer}"
    );
    machine.ok(&["vkmps-control", "start_server", "-uid", "0"]);
    assert_eq!(machine.attempt(User::Alice), "right");
}

/// What a verb prints as JSON.
fn json(machine: &Machine, user: User, verb: &[&str]) -> Value {
    let output = machine.run_as(user, &[&["vkmpsctl", "--json"], verb].concat());
    assert!(output.status.success(), "{verb:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{verb:?}: {error}: {}", text(&output.stdout)))
}
