//! What the service writes to the journal.

use super::checks;
use crate::boot::Machine;
use crate::guest::{SERVICE, User};
use std::collections::BTreeSet;
use vkmps_tests::patience::eventually;

checks![
    the_journal_tells_of_the_service_its_device_and_its_clients,
    entries_can_be_found_by_the_user_they_are_about,
    every_message_id_is_explained_by_the_catalog,
    a_hostile_name_forges_no_field,
    refusals_are_recorded_with_who_and_why,
    a_client_cannot_flood_the_journal,
];

fn the_journal_tells_of_the_service_its_device_and_its_clients(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "told of");
    assert_eq!(alice.add(), "right");
    let (id, pid) = (alice.id().to_string(), alice.pid().to_string());
    let device = machine.await_entry(&[], |entry| !entry.field("VKMPS_DEVICE").is_empty());
    for field in ["VKMPS_DRIVER", "VKMPS_QUEUES", "MESSAGE_ID"] {
        assert_ne!(device.field(field), "", "{field}");
    }
    assert_eq!(device.field("_TRANSPORT"), "journal");
    assert_eq!(device.field("_SYSTEMD_UNIT"), SERVICE);
    let about = format!("VKMPS_CLIENT={id}");
    let connected =
        machine.await_entry(&[&about], |entry| !entry.field("VKMPS_PRIORITY").is_empty());
    assert_eq!(connected.field("VKMPS_UID"), User::Alice.uid().to_string());
    assert_eq!(connected.field("VKMPS_PID"), pid);
    assert_eq!(connected.field("VKMPS_NAME"), "told of");
    assert_eq!(connected.field("VKMPS_PRIORITY"), "medium");
    machine.await_entry(&[&about], |entry| !entry.field("VKMPS_PROGRAM").is_empty());
    alice.leave();
    machine.await_entry(&[&about], |entry| entry.message().contains("disconnected"));
    machine.ok(&["systemctl", "stop", SERVICE]);
    machine.await_entry(&["SYSLOG_IDENTIFIER=vkmpsd"], |entry| {
        entry.message().contains("stopped")
    });
}

fn entries_can_be_found_by_the_user_they_are_about(machine: &Machine) {
    assert_eq!(machine.attempt(User::Alice), "right");
    assert_eq!(machine.attempt(User::Bob), "right");
    for user in [User::Alice, User::Bob] {
        let fields = [&format!("VKMPS_UID={}", user.uid())[..]];
        machine.await_entry(&fields, |entry| entry.message().contains("disconnected"));
        let sessions: BTreeSet<String> = machine
            .journal(&fields)
            .iter()
            .map(|entry| entry.field("VKMPS_CLIENT"))
            .collect();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
    }
    assert!(machine.journal(&["VKMPS_UID=4711"]).is_empty());
}

fn every_message_id_is_explained_by_the_catalog(machine: &Machine) {
    let mut alice = machine.session(User::Alice, "causes entries");
    assert_eq!(alice.add(), "right");
    let _denied = machine.call(User::Alice, "Drain", &[]);
    machine.configure("[clients]\nno-such-key = 1\n");
    machine.reload();
    machine.configure("");
    machine.reload();
    alice.leave();
    machine.ok(&["systemctl", "restart", SERVICE]);
    machine.await_entry(&["SYSLOG_IDENTIFIER=vkmpsd"], |entry| {
        entry.message().contains("stopped")
    });
    let entries = machine.journal(&["SYSLOG_IDENTIFIER=vkmpsd"]);
    let ids: BTreeSet<String> = entries
        .iter()
        .map(|entry| entry.field("MESSAGE_ID"))
        .filter(|id| !id.is_empty())
        .collect();
    assert!(ids.len() >= 6, "{ids:?}");
    for id in ids {
        let text = machine.ok(&["journalctl", "--dump-catalog", &id]);
        assert!(
            text.contains("Subject: ") && text.contains("Defined-By: vkmpsd"),
            "{id}: {text}"
        );
    }
}

fn a_hostile_name_forges_no_field(machine: &Machine) {
    let mut mallory = machine.client(User::Alice, &["hostile-name"]);
    assert!(mallory.next_line().starts_with("session "));
    let about = format!("VKMPS_CLIENT={}", mallory.id());
    let entry = machine.await_entry(&[&about], |entry| {
        entry.field("VKMPS_NAME").contains("evil")
    });
    assert_eq!(entry.field("VKMPS_UID"), User::Alice.uid().to_string());
    assert!(entry.message() != "forged");
    assert!(machine.journal(&["MESSAGE=forged"]).is_empty());
    assert!(machine.journal(&["VKMPS_UID=0"]).is_empty());
    let shown = machine.ok(&[
        "journalctl",
        "--boot",
        "--unit=vkmpsd",
        "--output=cat",
        "--all",
    ]);
    let forbidden = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(forbidden), "{shown:?}");
}

fn refusals_are_recorded_with_who_and_why(machine: &Machine) {
    machine.configure("[clients]\nmax-sessions-per-uid = 1\n");
    let mut alice = machine.session(User::Alice, "the one");
    assert_eq!(alice.add(), "right");
    assert_eq!(machine.attempt(User::Alice), "refused DaemonFull");
    assert_eq!(machine.attempt(User::Bob), "right", "his limit is his own");
    let fields = [&format!("VKMPS_UID={}", User::Alice.uid())[..]];
    let refused = machine.await_entry(&fields, |entry| entry.field("VKMPS_CODE") == "DaemonFull");
    assert_ne!(refused.field("VKMPS_REASON"), "");
    let mut bad = machine.client(User::Bob, &["refused"]);
    for code in ["InvalidModule", "InvalidArgument"] {
        let answer = bad.next_line();
        assert!(
            answer == code || answer == "LimitReached" || answer.starts_with("OutOf"),
            "{answer}"
        );
    }
    let fields = [&format!("VKMPS_UID={}", User::Bob.uid())[..]];
    machine.await_entry(&fields, |entry| {
        entry.field("VKMPS_CODE") == "InvalidModule"
    });
}

fn a_client_cannot_flood_the_journal(machine: &Machine) {
    let mut bob = machine.session(User::Bob, "goes on");
    let mut flood = machine.client(User::Alice, &["refused-over-and-over", "3000"]);
    assert_eq!(flood.next_line(), "over");
    assert_eq!(bob.add(), "right");
    let fields = [&format!("VKMPS_UID={}", User::Alice.uid())[..]];
    let written = machine.journal(&fields).len();
    assert!(
        (1..500).contains(&written),
        "{written} entries of 3000 refusals"
    );
    // What was left out is said.
    eventually("the suppressed are counted", || {
        machine.attempt(User::Alice);
        machine
            .journal(&fields)
            .iter()
            .any(|entry| !entry.field("VKMPS_SUPPRESSED").is_empty())
    });
}
