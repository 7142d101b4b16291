//! Who may do what, decided by polkit.

use super::checks;
use crate::boot::Machine;
use crate::guest::{Refusal, User};
use vkmps_tests::patience::eventually;

checks![
    users_may_manage_their_own_clients,
    users_may_make_limits_of_their_own_clients_tighter_and_not_wider,
    users_may_not_manage_those_of_others_or_the_service,
    the_shipped_rule_lets_members_of_gpu_admin_manage,
    root_may_do_everything,
    without_polkit_users_are_denied_and_clients_go_on,
    a_polkit_that_does_not_answer_holds_nobody_else_up,
];

fn users_may_manage_their_own_clients(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "own");
    let id = alice.id().to_string();
    machine
        .call(User::Alice, "SetPriority", &["ts", &id, "low"])
        .expect("it is her own");
    assert_eq!(machine.clients()[0][5], "low");
    machine
        .call(User::Alice, "SetPriority", &["ts", &id, "high"])
        .expect("it is her own");
    let refusal = machine.call(User::Alice, "SetPriority", &["ts", &id, "realtime"]);
    assert_denied(&refusal.expect_err("beyond what is configured"));
    assert_eq!(machine.clients()[0][5], "high");
    machine
        .call(User::Alice, "TerminateClient", &["t", &id])
        .expect("it is her own");
    assert_eq!(alice.add(), "failed PermissionDenied");
    assert!(machine.clients().is_empty());
}

fn users_may_make_limits_of_their_own_clients_tighter_and_not_wider(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "own");
    let id = alice.id().to_string();
    let object = format!("/org/vkmps/client/{id}");
    let cap = || {
        let name = "ActiveThreadPercentage";
        machine.bus_property(User::Alice, &object, "org.vkmps.Client", name)
    };
    let set = |user, percent| {
        let limits = ["ta{sv}", &id, "1", "active-thread-percentage", "y", percent];
        machine.call(user, "SetLimits", &limits)
    };
    set(User::Alice, "30").expect("it is her own, and tighter");
    assert_eq!(cap(), 30);
    assert_denied(&set(User::Alice, "31").expect_err("it is wider"));
    assert_denied(&set(User::Bob, "10").expect_err("it is not his"));
    assert_eq!(cap(), 30);
    set(User::Root, "80").expect("root may");
    assert_eq!(cap(), 80);
    let uid = User::Alice.uid().to_string();
    let memory = ["ua{sv}", &uid, "1", "memory", "s", "64M"];
    assert_denied(
        &machine
            .call(User::Alice, "SetUserLimits", &memory)
            .expect_err("hers or not"),
    );
    machine
        .call(User::Root, "SetUserLimits", &memory)
        .expect("root may");
    let limit = machine.bus_property(User::Alice, &object, "org.vkmps.Client", "MemoryLimit");
    assert_eq!(limit, 64 << 20);
    let limits = machine
        .call(User::Bob, "GetUserLimits", &["u", &uid])
        .expect("all may look");
    assert_eq!(limits[0]["memory"]["data"], 64 << 20);
    let changed = machine.await_entry(&[&format!("VKMPS_UID={uid}")], |entry| {
        entry.message().contains("limits of a user changed")
    });
    assert!(!changed.field("MESSAGE_ID").is_empty());
    assert_eq!(alice.add(), "right");
}

fn users_may_not_manage_those_of_others_or_the_service(machine: &Machine) {
    let mut bob = machine.session(User::Bob, "bob's");
    let id = bob.id().to_string();
    for (method, arguments) in managing(&id) {
        let answer = machine.call(User::Alice, method, &arguments);
        assert_denied(&answer.expect_err(method));
    }
    assert_eq!(bob.add(), "right");
    assert_eq!(machine.clients()[0][5], "medium");
    assert_eq!(machine.attempt(User::Alice), "right", "nothing is drained");
    let fields = [&format!("VKMPS_UID={}", User::Alice.uid())[..]];
    let denied = machine.await_entry(&fields, |entry| !entry.field("VKMPS_ACTION").is_empty());
    assert!(
        denied
            .field("VKMPS_ACTION")
            .starts_with("org.vkmps.Manager."),
        "{denied:?}"
    );
    assert!(denied.field("VKMPS_SENDER").starts_with(':'), "{denied:?}");
}

fn the_shipped_rule_lets_members_of_gpu_admin_manage(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    let id = alice.id().to_string();
    let drain = || machine.call(User::Bob, "Drain", &[]);
    assert_denied(&drain().expect_err("the rule is only shipped"));
    let files = machine.ok(&["dpkg", "--listfiles", "vkmpsd"]);
    let rule = files
        .lines()
        .find(|file| file.ends_with(".rules"))
        .expect("a rule is shipped");
    assert!(
        rule.starts_with("/usr/share/doc/"),
        "{rule} is in force unasked"
    );
    machine.ok(&[
        "install",
        "-m",
        "644",
        rule,
        "/etc/polkit-1/rules.d/50-gpu-admin.rules",
    ]);
    // polkit reads its rules again when it sees them change.
    eventually("the rule is in force", || drain().is_ok());
    assert_eq!(machine.attempt(User::Alice), "refused Draining");
    for (method, arguments) in managing(&id) {
        machine
            .call(User::Bob, method, &arguments)
            .unwrap_or_else(|refusal| panic!("{method}: {}", refusal.0));
    }
    assert_eq!(
        alice.add(),
        "failed PermissionDenied",
        "the last of them ended her session"
    );
    machine
        .call(User::Bob, "Resume", &[])
        .expect("the rule allows it");
    assert_denied(
        &machine
            .call(User::Alice, "Drain", &[])
            .expect_err("she is in another group"),
    );
}

fn root_may_do_everything(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    let id = alice.id().to_string();
    machine
        .call(User::Root, "SetPriority", &["ts", &id, "realtime"])
        .expect("root may");
    assert_eq!(machine.clients()[0][5], "realtime");
    for (method, arguments) in managing(&id) {
        machine
            .call(User::Root, method, &arguments)
            .unwrap_or_else(|refusal| panic!("{method}: {}", refusal.0));
    }
    assert_eq!(alice.add(), "failed PermissionDenied");
    assert_eq!(machine.attempt(User::Alice), "refused Draining");
    machine.call(User::Root, "Resume", &[]).expect("root may");
    assert_eq!(machine.attempt(User::Alice), "right");
}

fn without_polkit_users_are_denied_and_clients_go_on(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    let id = alice.id().to_string();
    machine.ok(&["systemctl", "mask", "--now", "polkit.service"]);
    for (method, arguments) in managing(&id).into_iter().chain([("ListClients", vec![])]) {
        let answer = machine.call(User::Alice, method, &arguments);
        assert_denied(&answer.expect_err(method));
    }
    assert_eq!(alice.add(), "right");
    machine.ok(&["systemctl", "unmask", "polkit.service"]);
    machine
        .call(User::Alice, "ListClients", &[])
        .expect("polkit is back");
}

fn a_polkit_that_does_not_answer_holds_nobody_else_up(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "alice's");
    machine
        .call(User::Alice, "ListClients", &[])
        .expect("polkit runs now");
    let pid = machine.ok(&["systemctl", "show", "-P", "MainPID", "polkit.service"]);
    machine.ok(&["kill", "-STOP", pid.trim()]);
    let mut waiting = machine.background(User::Alice, "Drain", &[]);
    assert_eq!(alice.add(), "right");
    assert_eq!(machine.attempt(User::Bob), "right");
    let name = machine.bus_property(
        User::Bob,
        crate::guest::MANAGER,
        crate::guest::NAME,
        "Version",
    );
    assert!(name.is_string());
    machine.ok(&["kill", "-CONT", pid.trim()]);
    let mut status = None;
    eventually("the call is answered", || {
        status = waiting.try_wait().expect("it is our child");
        status.is_some()
    });
    assert!(
        status.is_some_and(|status| !status.success()),
        "alice may not drain"
    );
    assert_eq!(machine.attempt(User::Bob), "right", "nothing is drained");
}

/// What only an administrator may do, with a client of somebody else; the last ends it.
fn managing(id: &str) -> Vec<(&'static str, Vec<&str>)> {
    vec![
        ("SetPriority", vec!["ts", id, "low"]),
        ("SetLimits", vec!["ta{sv}", id, "1", "streams", "u", "100"]),
        (
            "SetUserLimits",
            vec!["ua{sv}", "4099", "1", "weight", "q", "50"],
        ),
        ("SetDefaultLimits", vec!["a{sv}", "1", "memory", "s", "90%"]),
        ("SetSchedulingMode", vec!["s", "exclusive-throughput"]),
        ("SetLoopSliceQuota", vec!["t", "100000"]),
        ("Trace", vec![]),
        ("Reload", vec![]),
        ("SetLogLevel", vec!["s", "debug"]),
        ("Drain", vec![]),
        ("TerminateClient", vec!["t", id]),
    ]
}

fn assert_denied(refusal: &Refusal) {
    // busctl prints the text of named errors, not their names.
    assert!(refusal.0.contains("polkit"), "{}", refusal.0);
}
