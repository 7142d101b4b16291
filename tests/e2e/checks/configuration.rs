//! Configuration files: read at the start, read again by a reload.

use super::checks;
use crate::boot::Machine;
use crate::guest::{GuestClient, MANAGER, NAME, SERVICE, SOCKET, User, told};
use vkmps_tests::patience::eventually;

checks![
    a_good_configuration_applies_to_clients_that_are_connected,
    a_rule_for_a_user_by_name_applies_to_its_clients,
    a_bad_configuration_fails_the_reload_and_changes_nothing,
    a_bad_configuration_keeps_the_service_from_starting_but_not_the_socket,
    a_configuration_that_is_a_folder_is_an_error_that_names_it,
    the_shipped_configuration_is_that_without_any,
];

fn a_good_configuration_applies_to_clients_that_are_connected(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "connected");
    assert_eq!(machine.clients()[0][5], "medium");
    let before = machine.main_pid();
    machine.configure("[clients]\nmax-priority = \"low\"\n");
    let output = machine.reload();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(machine.clients()[0][5], "low");
    assert_eq!(alice.add(), "right");
    let id = alice.id().to_string();
    let refusal = machine.call(User::Alice, "SetPriority", &["ts", &id, "medium"]);
    refusal.expect_err("beyond what is configured now");
    assert_eq!(machine.main_pid(), before);
}

fn a_rule_for_a_user_by_name_applies_to_its_clients(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "ruled");
    let mut bob = machine.session(User::Bob, "free");
    machine.configure(
        "[[rule]]\nusers = [\"alice\"]\nmemory = \"32M\"\nactive-thread-percentage = 40\n",
    );
    let output = machine.reload();
    assert!(output.status.success(), "{}", told(&output));
    let cap = |id: u64| {
        let (object, name) = (format!("/org/vkmps/client/{id}"), "ActiveThreadPercentage");
        machine.bus_property(User::Root, &object, "org.vkmps.Client", name)
    };
    assert_eq!((cap(alice.id()), cap(bob.id())), (40.into(), 100.into()));
    assert_eq!(
        (alice.add(), bob.add()),
        ("right".to_owned(), "right".to_owned())
    );
}

fn a_bad_configuration_fails_the_reload_and_changes_nothing(machine: &Machine) {
    machine.configure("[clients]\nmax-priority = \"low\"\n");
    let mut alice = machine.session(User::Alice, "connected");
    assert_eq!(machine.clients()[0][5], "low");
    for (text, key, line) in [
        (
            "[clients]\n\nmax-priority = \"highest\"\n",
            "max-priority",
            3,
        ),
        ("[clients]\nmax-sesions = 5\n", "max-sesions", 2),
        ("[clients]\nmax-sessions = -1\n", "max-sessions", 2),
        ("[service]\nidle-exit = \"5 parsecs\"\n", "idle-exit", 2),
        (
            "[limits]\nactive-thread-percentage = 101\n",
            "active-thread-percentage",
            2,
        ),
        ("[limits]\nmemory = \"nan\"\n", "memory", 2),
        ("[[rule]]\nusers = [\"no such user\"]\n", "rule.users", 2),
        (
            "[[rule]]\nusers = [\"alice\", \"bob\"]\nreserved-percentage = 51\n",
            "reserved-percentage",
            3,
        ),
        ("[clients\n", "90-test.toml", 1),
    ] {
        machine.configure(text);
        let output = machine.reload();
        assert!(!output.status.success(), "{text:?} was taken");
        let place = format!("90-test.toml:{line}");
        let said = |message: &str| message.contains(&place) && message.contains(key);
        machine.await_entry(&[], |entry| said(&entry.message()));
        let refusal = machine
            .call(User::Root, "Reload", &[])
            .expect_err("it is bad");
        assert!(said(&refusal.0), "{}", refusal.0);
        assert_eq!(machine.state(SERVICE), "active");
        assert_eq!(machine.clients()[0][5], "low");
        assert_eq!(alice.add(), "right");
        let id = alice.id().to_string();
        let refusal = machine.call(User::Alice, "SetPriority", &["ts", &id, "medium"]);
        refusal.expect_err("the old configuration stays");
    }
}

fn a_bad_configuration_keeps_the_service_from_starting_but_not_the_socket(machine: &Machine) {
    machine.configure("[clients]\nmax-sesions = 5\n");
    let waiting = refuses_to_start(machine, "90-test.toml:2");
    machine.configure("");
    are_served(waiting);
}

fn a_configuration_that_is_a_folder_is_an_error_that_names_it(machine: &Machine) {
    let folder = "/etc/vkmps/vkmpsd.toml.d/50-folder.toml";
    machine.ok(&["mkdir", "-p", folder]);
    let waiting = refuses_to_start(machine, folder);
    machine.ok(&["rmdir", folder]);
    are_served(waiting);
    let mut alice = machine.session(User::Alice, "connected");
    machine.ok(&["mkdir", folder]);
    assert!(!machine.reload().status.success());
    assert_eq!(alice.add(), "right");
}

fn the_shipped_configuration_is_that_without_any(machine: &Machine) {
    let output = machine.run(&["vkmpsctl", "check-config"]);
    assert!(output.status.success(), "{}", told(&output));
    machine.ok(&["systemctl", "start", SERVICE]);
    let show = || {
        ["SchedulingMode", "LoopSliceQuota", "LogLevel"]
            .map(|name| machine.bus_property(User::Root, MANAGER, NAME, name))
    };
    let shipped = show();
    machine.ok(&["rm", "/etc/vkmps/vkmpsd.toml"]);
    machine.ok(&["systemctl", "restart", SERVICE]);
    assert_eq!(shipped, show());
}

/// Starting fails with the exit status of a bad configuration and says why; the clients that came meanwhile wait.
fn refuses_to_start(machine: &Machine, place: &str) -> Vec<GuestClient> {
    assert!(
        !machine
            .run(&["systemctl", "start", SERVICE])
            .status
            .success()
    );
    assert_eq!(machine.property("ExecMainStatus"), "78");
    machine.await_entry(&[], |entry| entry.message().contains(place));
    let early = || machine.client(User::Alice, &["session", "too early"]);
    let waiting: Vec<GuestClient> = std::iter::repeat_with(early).take(3).collect();
    // systemd starts a unit five times in ten seconds by default, then fails it and its socket.
    eventually("it is started more often", || {
        machine
            .property("NRestarts")
            .parse()
            .is_ok_and(|times: u32| times > 6)
    });
    assert_eq!(machine.state(SOCKET), "active");
    waiting
}

/// The configuration is mended: those that wait are served without doing anything.
fn are_served(waiting: Vec<GuestClient>) {
    for mut client in waiting {
        let answer = client.next_line();
        assert!(answer.starts_with("session "), "{answer}");
        assert_eq!(client.add(), "right");
    }
}
