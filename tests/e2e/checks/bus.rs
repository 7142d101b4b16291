//! The service on the system bus, asked by the tools that systems have.

use super::checks;
use crate::boot::Machine;
use crate::guest::{MANAGER, NAME, SERVICE, User};
use nix::sys::signal::Signal;
use serde_json::Value;
use vkmps_tests::binaries::workspace;
use vkmps_tests::daemon::spawn;
use vkmps_tests::patience::eventually;

checks![
    a_call_on_the_bus_starts_the_service,
    the_uid_and_pid_seen_are_those_of_the_client,
    the_unit_of_a_client_is_seen,
    every_user_can_introspect_what_the_contract_documents,
    every_property_can_be_read_by_root_and_by_users,
    root_and_users_can_call_methods,
    objects_come_and_go_with_their_clients,
    faults_limits_and_changes_are_signalled,
];

fn a_call_on_the_bus_starts_the_service(machine: &Machine) {
    assert_eq!(machine.state(SERVICE), "inactive");
    assert!(machine.clients().is_empty());
    assert_eq!(machine.state(SERVICE), "active");
    assert_eq!(machine.attempt(User::Alice), "right", "it has its socket");
}

fn the_uid_and_pid_seen_are_those_of_the_client(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "first");
    let mut bob = machine.session(User::Bob, "second");
    let clients = machine.clients();
    let seen: Vec<_> = clients
        .iter()
        .map(|client| (&client[0], &client[1], &client[2], &client[3]))
        .collect();
    let expected = [
        (
            Value::from(alice.id()),
            Value::from(User::Alice.uid()),
            Value::from(alice.pid()),
            Value::from("first"),
        ),
        (
            Value::from(bob.id()),
            Value::from(User::Bob.uid()),
            Value::from(bob.pid()),
            Value::from("second"),
        ),
    ];
    assert_eq!(
        seen,
        expected
            .iter()
            .map(|(id, uid, pid, name)| (id, uid, pid, name))
            .collect::<Vec<_>>()
    );
}

fn the_unit_of_a_client_is_seen(machine: &Machine) {
    let mut job = machine.client_in_unit(User::Alice, "job.service", &["session", "in a unit"]);
    assert!(job.next_line().starts_with("session "));
    let object = format!("/org/vkmps/client/{}", job.id());
    // Asked of systemd in the background.
    eventually("the unit is known", || {
        machine.bus_property(User::Root, &object, "org.vkmps.Client", "Unit") == "job.service"
    });
    assert_eq!(machine.clients()[0][4], "job.service");
}

fn every_user_can_introspect_what_the_contract_documents(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "seen");
    let client = format!("/org/vkmps/client/{}", alice.id());
    for (object, contract) in [
        (MANAGER, "org.vkmps.Manager.xml"),
        ("/org/vkmps/device/0", "org.vkmps.Device.xml"),
        (&client, "org.vkmps.Client.xml"),
    ] {
        let path = workspace().join("dbus").join(contract);
        let contract = std::fs::read_to_string(&path).expect("it is in the tree");
        for user in [User::Root, User::Carol] {
            let output =
                machine.run_as(user, &["busctl", "introspect", "--no-legend", NAME, object]);
            let shown = crate::guest::told(&output);
            for (kind, name) in members(&contract) {
                let there = shown.lines().any(|line| {
                    let mut words = line.split_whitespace();
                    words.next() == Some(&format!(".{name}")) && words.next() == Some(kind)
                });
                assert!(
                    there,
                    "{object} has no {kind} {name} for {}: {shown}",
                    user.name()
                );
            }
        }
    }
}

fn every_property_can_be_read_by_root_and_by_users(machine: &Machine) {
    let path = workspace().join("dbus/org.vkmps.Manager.xml");
    let contract = std::fs::read_to_string(path).expect("it is in the tree");
    let mut seen = 0;
    let _served = machine.session(User::Alice, "makes the engine start");
    for user in [User::Root, User::Carol] {
        for (_, name) in members(&contract).filter(|(kind, _)| *kind == "property") {
            let value = machine.bus_property(user, MANAGER, NAME, name);
            assert!(!value.is_null(), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 2 * 12, "{seen}");
    let device = machine.bus_property(User::Carol, MANAGER, NAME, "DeviceName");
    assert!(
        device.as_str().is_some_and(|name| !name.is_empty()),
        "{device}"
    );
    assert_eq!(
        machine.bus_property(User::Carol, MANAGER, NAME, "ClientCount"),
        1
    );
}

fn root_and_users_can_call_methods(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "computes");
    assert_eq!(alice.add(), "right");
    for user in [User::Root, User::Carol] {
        let clients = machine
            .call(user, "ListClients", &[])
            .expect("everyone may read");
        assert_eq!(clients[0].as_array().map(Vec::len), Some(1));
        let status = machine
            .call(user, "GetStatus", &[])
            .expect("everyone may read");
        assert_eq!(
            (&status[0], &status[1]),
            (&Value::from("serving"), &Value::from("ready"))
        );
        let counters = machine
            .call(user, "GetStatistics", &[])
            .expect("everyone may read");
        assert!(
            counters[0]
                .as_object()
                .is_some_and(|counters| !counters.is_empty()),
            "{counters}"
        );
    }
}

fn objects_come_and_go_with_their_clients(machine: &Machine) {
    let objects = || {
        let call = [
            "call",
            NAME,
            "/org/vkmps",
            "org.freedesktop.DBus.ObjectManager",
            "GetManagedObjects",
        ];
        let objects = machine.busctl(User::Carol, &call).expect("it is served");
        let objects = objects[0].as_object().cloned().unwrap_or_default();
        objects
            .keys()
            .filter(|path| path.starts_with("/org/vkmps/client/"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(objects(), [""; 0]);
    let mut alice = machine.session(User::Alice, "comes and goes");
    let path = format!("/org/vkmps/client/{}", alice.id());
    eventually("its object is there", || objects() == [path.clone()]);
    assert_eq!(
        machine.bus_property(User::Carol, &path, "org.vkmps.Client", "Uid"),
        User::Alice.uid()
    );
    alice.leave();
    eventually("its object is gone", || objects().is_empty());
}

fn faults_limits_and_changes_are_signalled(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "the one");
    assert_eq!(alice.add(), "right");
    let monitor = machine.command(&["busctl", "--json=short", "monitor", NAME]);
    let (mut monitor, log) = spawn(monitor);
    // It says nothing when it begins: calls until one is seen.
    eventually("signals are seen", || {
        let _ = machine.call(User::Root, "GetStatus", &[]);
        log.says(&["GetStatus"])
    });
    machine.configure("[clients]\nmax-sessions-per-uid = 1\n");
    assert!(machine.reload().status.success());
    assert_eq!(machine.attempt(User::Alice), "refused DaemonFull");
    let limit = log.line(&["\"member\":\"LimitReached\""]);
    assert!(
        limit.contains("\"clients\"") && limit.contains(&User::Alice.uid().to_string()),
        "{limit}"
    );
    let _bob = machine.session(User::Bob, "another");
    log.line(&["\"member\":\"ClientAdded\"", &User::Bob.uid().to_string()]);
    machine.engine().signal(Signal::SIGKILL);
    let fault = log.line(&["\"member\":\"DeviceFault\""]);
    assert!(fault.contains("\"type\":\"su\""), "{fault}");
    log.line(&["\"member\":\"ClientRemoved\""]);
    log.line(&["\"member\":\"PropertiesChanged\"", "ClientCount"]);
    let _ = monitor.kill();
    let _ = monitor.wait();
}

/// Kinds and names of what an interface's XML has, as busctl calls them.
fn members(contract: &str) -> impl Iterator<Item = (&'static str, &str)> {
    contract.lines().filter_map(|line| {
        let line = line.trim_start();
        let kinds = ["method", "property", "signal"];
        let kind = kinds
            .into_iter()
            .find(|kind| line.starts_with(&format!("<{kind} name=\"")))?;
        Some((kind, line.split('"').nth(1)?))
    })
}
