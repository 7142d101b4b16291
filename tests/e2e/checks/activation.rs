//! Coming to life with the first client, and leaving with the last.

use super::checks;
use crate::boot::Machine;
use crate::guest::{SERVICE, SOCKET, User};
use vkmps_tests::patience::eventually;

checks![
    the_service_is_inactive_until_the_first_client,
    a_member_of_render_computes_a_right_result,
    a_user_outside_of_render_is_refused_by_the_socket,
    the_service_leaves_when_idle_and_comes_back_with_the_next_client,
    a_shutdown_ends_the_service_in_order_while_clients_are_connected,
];

fn the_service_is_inactive_until_the_first_client(machine: &Machine) {
    assert_eq!(machine.state(SOCKET), "active");
    assert_eq!(machine.state(SERVICE), "inactive");
    assert_eq!(machine.attempt(User::Alice), "right");
    assert_eq!(machine.state(SERVICE), "active");
}

fn a_member_of_render_computes_a_right_result(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    for _ in 0..5 {
        assert_eq!(alice.add(), "right");
    }
    assert!(alice.leave().success());
}

fn a_user_outside_of_render_is_refused_by_the_socket(machine: &Machine) {
    let path = machine.path("/run/vkmps/vkmps.sock");
    let metadata = std::fs::metadata(&path).expect("the socket unit listens");
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    assert_eq!(mode & 0o7777, 0o660);
    assert_eq!(machine.attempt(User::Carol), "refused PermissionDenied");
    assert_eq!(
        machine.state(SERVICE),
        "inactive",
        "a refused client starts nothing"
    );
}

fn the_service_leaves_when_idle_and_comes_back_with_the_next_client(machine: &Machine) {
    machine.configure("[service]\nidle-exit = \"1s\"\n");
    let mut alice = machine.session(User::Alice, "alice's");
    let first = machine.main_pid();
    assert_eq!(alice.add(), "right");
    assert!(alice.leave().success());
    machine.await_state(SERVICE, "inactive");
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.state(SOCKET), "active");
    assert_eq!(machine.attempt(User::Alice), "right");
    assert_ne!(machine.main_pid(), first);
    eventually("it leaves again", || machine.state(SERVICE) == "inactive");
}

fn a_shutdown_ends_the_service_in_order_while_clients_are_connected(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    assert_eq!(alice.add(), "right");
    machine.ok(&["systemctl", "stop", SERVICE, SOCKET]);
    assert_eq!(machine.property("Result"), "success");
    let answer = alice.add();
    assert!(
        answer == "failed DaemonLost" || answer == "failed Draining",
        "no clear error: {answer}"
    );
    assert_eq!(machine.attempt(User::Alice), "refused NoDaemon");
}
