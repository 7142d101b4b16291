//! Bad input and bad surroundings.

use super::checks;
use crate::boot::Machine;
use crate::guest::{MANAGER, NAME, SERVICE, SOCKET, User};
use vkmps_tests::patience::eventually;

checks![
    a_flood_of_calls_keeps_nobody_else_from_being_served,
    absurd_arguments_are_refused_and_cost_nothing,
    a_caller_that_vanishes_inside_its_call_costs_nothing,
    a_log_that_cannot_be_written_is_an_error_that_names_it,
    without_a_vulkan_device_clients_are_told_so_and_the_service_stays,
    a_cache_that_cannot_be_written_is_no_reason_not_to_compute,
];

fn a_flood_of_calls_keeps_nobody_else_from_being_served(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "computes");
    assert_eq!(alice.add(), "right");
    let before = machine.journal(&[]).len();
    let mut flood = machine.client(User::Carol, &["flood-bus", "5000"]);
    assert_eq!(flood.next_line(), "flooding");
    for _ in 0..5 {
        assert_eq!(alice.add(), "right");
        machine
            .call(User::Bob, "ListClients", &[])
            .expect("bob is served");
    }
    let end = flood.next_line();
    assert!(end.starts_with("answered "), "{end}");
    assert!(flood.leave().success());
    let written = machine.journal(&[]).len() - before;
    assert!(written < 200, "{written} entries for 5000 calls");
    assert_eq!(machine.property("NRestarts"), "0");
    assert_eq!(machine.attempt(User::Bob), "right");
}

fn absurd_arguments_are_refused_and_cost_nothing(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "computes");
    let (id, long) = (alice.id().to_string(), "x".repeat(100_000));
    let refused: [(&str, &[&str]); 22] = [
        ("SetPriority", &["ts", "0", "low"]),
        ("SetPriority", &["ts", "18446744073709551615", "low"]),
        ("SetPriority", &["ts", &id, ""]),
        ("SetPriority", &["ts", &id, "LOW\n"]),
        ("SetPriority", &["ts", &id, &long]),
        ("SetPriority", &["s", "low"]),
        ("SetPriority", &["st", "low", &id]),
        ("SetLimits", &["ta{sv}", "0", "1", "streams", "u", "5"]),
        (
            "SetLimits",
            &["ta{sv}", &id, "1", "active-thread-percentage", "y", "0"],
        ),
        (
            "SetLimits",
            &["ta{sv}", &id, "1", "active-thread-percentage", "y", "101"],
        ),
        (
            "SetLimits",
            &["ta{sv}", &id, "1", "active-thread-percentage", "s", "nan"],
        ),
        ("SetLimits", &["ta{sv}", &id, "1", "memory", "s", &long]),
        ("SetLimits", &["ta{sv}", &id, "1", &long, "y", "5"]),
        (
            "SetUserLimits",
            &["ua{sv}", "4001", "1", "reserved-percentage", "y", "101"],
        ),
        ("SetDefaultLimits", &["a{sv}", "1", "memory", "x", "-1"]),
        ("SetSchedulingMode", &["s", &long]),
        ("SetLoopSliceQuota", &["t", "0"]),
        ("TerminateClient", &["t", "0"]),
        ("TerminateClient", &["x", "-1"]),
        ("SetLogLevel", &["s", &long]),
        ("Drain", &["s", "now"]),
        ("NoSuchMethod", &[]),
    ];
    for (method, arguments) in refused {
        for user in [User::Root, User::Alice] {
            let answer = machine.call(user, method, arguments);
            let refusal = answer.expect_err("it makes no sense");
            assert!(
                refusal.0.len() < 1000,
                "{method} answers with what it was sent"
            );
        }
    }
    for path in [
        "/org/vkmps/client/0",
        "/org/vkmps/client/x",
        "/org/vkmps/nothing",
        "/",
    ] {
        let read = machine.busctl(
            User::Alice,
            &["get-property", NAME, path, "org.vkmps.Client", "Uid"],
        );
        read.expect_err(path);
    }
    let write = [
        "set-property",
        NAME,
        MANAGER,
        NAME,
        "SchedulingMode",
        "s",
        "other",
    ];
    machine
        .busctl(User::Root, &write)
        .expect_err("it is read-only");
    assert_eq!(alice.add(), "right");
    assert_eq!(machine.clients()[0][5], "medium");
    assert_eq!(machine.property("NRestarts"), "0");
}

fn a_caller_that_vanishes_inside_its_call_costs_nothing(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "computes");
    for _ in 0..20 {
        let mut caller = machine.client(User::Bob, &["vanish-in-call"]);
        assert_eq!(caller.next_line(), "called");
        caller.await_exit();
        assert_eq!(alice.add(), "right");
    }
    assert_eq!(machine.clients().len(), 1);
    assert_eq!(machine.property("NRestarts"), "0");
}

fn a_log_that_cannot_be_written_is_an_error_that_names_it(machine: &Machine) {
    machine.drop_in(
        "[Service]\nExecStart=\nExecStart=/usr/sbin/vkmpsd -L /var/log/vkmpsd.log\nRestart=no\n",
    );
    assert!(
        !machine
            .run(&["systemctl", "start", SERVICE])
            .status
            .success()
    );
    assert_eq!(machine.property("ExecMainStatus"), "1");
    machine.await_entry(&[], |entry| entry.message().contains("/var/log/vkmpsd.log"));
    assert_eq!(machine.state(SOCKET), "active");
    machine.drop_in("");
    assert_eq!(machine.attempt(User::Alice), "right");
}

fn without_a_vulkan_device_clients_are_told_so_and_the_service_stays(machine: &Machine) {
    machine.drop_in("[Service]\nInaccessiblePaths=-/usr/share/vulkan/icd.d -/etc/vulkan/icd.d\n");
    assert_eq!(machine.attempt(User::Alice), "refused NoDevice");
    let service = machine.main_pid();
    eventually("it says that it failed", || {
        let status = machine.status();
        status[0] == "failed" && status[1] == "failed"
    });
    let detail = machine.status()[2].clone();
    assert!(
        detail.as_str().is_some_and(
            |detail| detail.to_lowercase().contains("vulkan") || detail.contains("device")
        ),
        "{detail}"
    );
    assert_eq!(machine.attempt(User::Bob), "refused NoDevice");
    assert_eq!(
        (machine.main_pid(), &machine.property("NRestarts")[..]),
        (service, "0")
    );
    assert_eq!(
        machine.bus_property(User::Root, MANAGER, NAME, "DeviceName"),
        ""
    );
    machine.drop_in("");
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(machine.attempt(User::Alice), "right");
}

fn a_cache_that_cannot_be_written_is_no_reason_not_to_compute(machine: &Machine) {
    assert_eq!(machine.attempt(User::Alice), "right");
    machine.drop_in("[Service]\nReadOnlyPaths=/var/cache/vkmps\n");
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(machine.attempt(User::Alice), "right");
}
