//! Clients that have limits together: `vkmpsctl run`, and sessions over the bus.

use super::checks;
use crate::boot::Machine;
use crate::guest::{User, as_user, text, told};
use serde_json::Value;
use vkmps_tests::patience::eventually;

checks![
    a_command_is_a_session_that_all_see_and_its_user_ends,
    sessions_of_others_are_for_administrators,
    who_leaves_the_bus_leaves_no_session,
    who_may_not_use_the_device_gets_no_session,
];

fn sessions(machine: &Machine, user: User) -> Vec<Value> {
    let answer = machine.call(user, "ListSessions", &[]);
    let answer = answer.unwrap_or_else(|refusal| panic!("ListSessions: {}", refusal.0));
    answer[0].as_array().cloned().unwrap_or_default()
}

fn a_command_is_a_session_that_all_see_and_its_user_ends(machine: &Machine) {
    let options = [
        "--memory",
        "64M",
        "--percentage",
        "50",
        "--priority",
        "low",
        "--name",
        "job",
    ];
    let mut member = machine.session_in(User::Alice, &options, "member");
    assert_eq!(member.add(), "right");
    let seen = sessions(machine, User::Carol);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let session = &seen[0];
    assert_eq!(
        (&session[1], &session[3]),
        (&User::Alice.uid().into(), &"job".into())
    );
    assert_eq!(session[4], Value::from(vec![member.id()]));
    assert_eq!(session[6], 64 << 20);
    assert_eq!((&session[7], &session[8]), (&50.into(), &"low".into()));
    assert_eq!(machine.clients()[0][5], "low");
    let list = machine.ok(&["vkmpsctl", "list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.contains(&format!("session {}", session[0])), "{list}");
    assert!(list.contains("job (1 client)"), "{list}");
    let id = session[0].to_string();
    let denied = machine.run_as(
        User::Carol,
        &["vkmpsctl", "--no-ask-password", "release", &id],
    );
    assert_eq!(denied.status.code(), Some(4), "{}", told(&denied));
    let released = machine.run_as(User::Alice, &["vkmpsctl", "release", &id]);
    assert!(released.status.success(), "{}", told(&released));
    // The command was told to end, and vkmpsctl says why it did.
    assert_eq!(member.await_exit().code(), Some(124));
    assert!(sessions(machine, User::Root).is_empty() && machine.clients().is_empty());
    let over = machine.await_entry(&[&format!("VKMPS_SESSION={id}")], |entry| {
        entry.message().contains("session over")
    });
    assert_eq!(over.field("VKMPS_REASON"), "it was released");
    assert_eq!(over.field("VKMPS_UID"), User::Alice.uid().to_string());
}

fn sessions_of_others_are_for_administrators(machine: &Machine) {
    let mut member = machine.session_in(User::Alice, &[], "member");
    let id = sessions(machine, User::Alice)[0][0].to_string();
    let refusal = machine.call(User::Bob, "ReleaseSession", &["t", &id]);
    let refusal = refusal.expect_err("it is not his").0;
    assert!(refusal.contains("release-session"), "{refusal}");
    assert_eq!(member.add(), "right");
    machine
        .call(User::Root, "ReleaseSession", &["t", &id])
        .expect("root may");
    assert_eq!(member.await_exit().code(), Some(124));
    let refusal = machine.call(User::Root, "ReleaseSession", &["t", &id]);
    let refusal = refusal.expect_err("it is gone").0;
    assert!(refusal.contains("there is no session"), "{refusal}");
}

fn who_leaves_the_bus_leaves_no_session(machine: &Machine) {
    let arguments = ["sa{sv}t", "left", "1", "memory", "s", "64M", "0"];
    let opened = machine.call(User::Alice, "CreateSession", &arguments);
    let opened = opened.expect("everybody may");
    assert_eq!(opened[1].as_str().map(str::len), Some(64));
    // busctl has left the bus.
    eventually("the session is over", || {
        sessions(machine, User::Root).is_empty()
    });
    let filter = format!("VKMPS_SESSION={}", opened[0]);
    let over = machine.await_entry(&[&filter], |entry| entry.message().contains("session over"));
    assert_eq!(over.field("VKMPS_NAME"), "left");
}

fn who_may_not_use_the_device_gets_no_session(machine: &Machine) {
    let run = [&as_user(User::Carol)[..], &["vkmpsctl", "run", "true"]].concat();
    let refused = machine.run(&run);
    assert_eq!(refused.status.code(), Some(125), "{}", told(&refused));
    assert!(
        text(&refused.stderr).contains("permission denied"),
        "{}",
        told(&refused)
    );
}
