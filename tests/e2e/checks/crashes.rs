//! Processes that die or stop, and what their clients see of it.

use super::checks;
use crate::boot::Machine;
use crate::guest::{SERVICE, SOCKET, User};
use nix::sys::signal::Signal;
use vkmps_tests::patience::eventually;

checks![
    a_service_killed_ten_times_is_back_each_time_and_clients_see_a_clear_error,
    an_engine_that_is_killed_is_replaced,
    an_engine_that_is_stopped_is_replaced,
    a_service_that_is_stopped_is_restarted_by_its_watchdog,
    a_client_that_is_killed_in_the_middle_of_its_work_costs_nobody_else_anything,
];

fn a_service_killed_ten_times_is_back_each_time_and_clients_see_a_clear_error(machine: &Machine) {
    for round in 1..=10 {
        let mut alice = machine.session(User::Alice, "sees it die");
        assert_eq!(alice.add(), "right");
        let before = machine.main_pid();
        machine.ok(&[
            "systemctl",
            "kill",
            "--signal=KILL",
            "--kill-whom=main",
            SERVICE,
        ]);
        // Until systemd has killed the engine too, it may still compute.
        let mut answer = String::new();
        eventually("she hears of it", || {
            answer = alice.add();
            answer != "right"
        });
        assert_eq!(answer, "failed DaemonLost", "round {round}");
        // By systemd, not by the next client.
        eventually("the service is back", || {
            machine.state(SERVICE) == "active" && machine.main_pid() != before
        });
        assert_eq!(machine.state(SOCKET), "active", "round {round}");
        assert_eq!(machine.property("NRestarts"), round.to_string());
    }
    assert_eq!(machine.attempt(User::Alice), "right");
}

fn an_engine_that_is_killed_is_replaced(machine: &Machine) {
    engine_lost(machine, Signal::SIGKILL);
}

fn an_engine_that_is_stopped_is_replaced(machine: &Machine) {
    machine.configure("[service]\nengine-timeout = \"1s\"\n");
    engine_lost(machine, Signal::SIGSTOP);
}

fn engine_lost(machine: &Machine, signal: Signal) {
    let mut alice = machine.session(User::Alice, "loses its engine");
    assert_eq!(alice.add(), "right");
    let service = machine.main_pid();
    let engine = machine.engine();
    engine.signal(signal);
    assert_eq!(alice.add(), "failed EngineLost");
    eventually("the engine is replaced", || {
        machine.attempt(User::Bob) == "right"
    });
    assert_ne!(machine.engine(), engine);
    assert!(!engine.is_alive(), "it holds the device");
    let status = machine.status();
    assert_eq!(
        (&status[0], &status[1]),
        (&"serving".into(), &"ready".into())
    );
    assert_eq!(status[4], 1, "one engine was replaced");
    assert_eq!(machine.main_pid(), service, "the service goes on");
}

fn a_service_that_is_stopped_is_restarted_by_its_watchdog(machine: &Machine) {
    assert_ne!(machine.property("WatchdogUSec"), "0");
    machine.drop_in("[Service]\nWatchdogSec=2s\n");
    let mut alice = machine.session(User::Alice, "waits");
    assert_eq!(alice.add(), "right");
    let before = machine.main_pid();
    // Longer than the watchdog's time: a service that is well is left alone.
    eventually("it feeds its watchdog", || {
        machine.property("WatchdogTimestampMonotonic") != "0"
    });
    machine.ok(&[
        "systemctl",
        "kill",
        "--signal=STOP",
        "--kill-whom=main",
        SERVICE,
    ]);
    eventually("the service is back", || {
        machine.state(SERVICE) == "active" && machine.main_pid() != before
    });
    let journal = machine.ok(&["journalctl", "--boot", "--unit=vkmpsd"]);
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(alice.add(), "failed DaemonLost");
    assert_eq!(machine.attempt(User::Alice), "right");
}

fn a_client_that_is_killed_in_the_middle_of_its_work_costs_nobody_else_anything(machine: &Machine) {
    let mut bob = machine.session(User::Bob, "goes on");
    for role in [
        "registering",
        "writing",
        "submitting",
        "holding-a-batch",
        "greeted",
    ] {
        let mut client = machine.client(User::Alice, &[role]);
        assert_eq!(client.next_line(), "ready", "{role}");
        client.process().signal(Signal::SIGKILL);
        client.await_exit();
        assert_eq!(bob.add(), "right", "after {role}");
        eventually("its session is gone", || machine.clients().len() == 1);
    }
    assert_eq!(machine.property("NRestarts"), "0");
}
