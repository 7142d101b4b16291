//! Who decides, and what of it holds for clients that are there.

use super::{configure, daemon, rule};
use std::process::Command;
use vkmps::{Amount, Client, ErrorCode, Priority};
use vkmps_tests::binaries::built;
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::eventually;

#[test]
fn rules_are_for_users_and_for_members_of_groups_and_the_first_decides() {
    let group = nix::unistd::getegid().as_raw();
    let second =
        format!("[[rule]]\ngroups = [{group}]\nactive-thread-percentage = 50\nstreams = 7\n");
    let others = "[[rule]]\nusers = [4242]\nbuffers = 1\n";
    let daemon = daemon(&format!(
        "{}{second}{others}",
        rule("active-thread-percentage = 30")
    ));
    let quota = daemon.connect().quota().expect("a session");
    assert_eq!(
        (quota.cap_percent, quota.streams, quota.buffers.1),
        (30, 7, 65_536)
    );
}

#[test]
fn a_reload_applies_to_clients_that_are_there_and_a_bad_one_does_not() {
    let daemon = daemon("");
    let client = daemon.connect();
    assert_eq!(client.quota().expect("a session").cap_percent, 100);
    configure(
        &daemon,
        &rule("active-thread-percentage = 20\nmax-priority = \"low\""),
    );
    let quota = client.quota().expect("a session");
    assert_eq!((quota.cap_percent, quota.priority), (20, Priority::Low));
    assert_eq!(client.priority(), Priority::Low);
    let folder = daemon.socket().parent().expect("it is in a folder");
    std::fs::write(
        folder.join(vkmps_tests::daemon::CONFIG),
        "[[rule]]\nusers = [1, 2]\nreserved-percentage = 51\n",
    )
    .unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.log().line(&["102 percent reserved in all"]);
    assert_eq!(client.quota().expect("a session").cap_percent, 20);
}

#[test]
fn a_client_may_make_its_limits_tighter_and_never_wider() {
    let daemon = daemon("[limits]\nactive-thread-percentage = 50\nmemory = \"64M\"\n");
    let with = |percent, amount| {
        let builder = Client::builder().socket(daemon.socket());
        let builder = builder
            .active_thread_percentage(percent)
            .memory_limit(amount);
        builder
            .connect()
            .map(|client| client.quota().expect("a session"))
    };
    let tighter = with(20, Amount::Bytes(1 << 20)).unwrap();
    assert_eq!((tighter.cap_percent, tighter.shared_bytes.1), (20, 1 << 20));
    let wider = with(100, Amount::Percent(100)).unwrap();
    assert_eq!((wider.cap_percent, wider.shared_bytes.1), (50, 64 << 20));
    for (percent, amount) in [
        (0, Amount::ALL),
        (101, Amount::ALL),
        (1, Amount::Bytes(0)),
        (1, Amount::Percent(0)),
    ] {
        let error = with(percent, amount).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
}

#[test]
fn names_are_looked_up_and_unknown_ones_refused_with_their_line() {
    let daemon = daemon("[[rule]]\nusers = [\"root\"]\nweight = 5\n");
    drop(daemon);
    let folder = Folder::new();
    let path = folder.join("bad.toml");
    std::fs::write(&path, "[[rule]]\nusers = [\"root\",\n  \"no such user\"]\n").unwrap();
    let output = Command::new(built("vkmpsd"))
        .arg("--check-config")
        .arg("--config")
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("bad.toml:2: rule.users: there is no user \"no such user\""),
        "{text}"
    );
}

#[test]
fn what_a_client_tightened_ends_with_it() {
    let daemon = daemon("");
    let client = Client::builder()
        .socket(daemon.socket())
        .active_thread_percentage(5);
    drop(client.connect().unwrap());
    eventually("its place is free", || {
        daemon.log().says(&["client disconnected"])
    });
    assert_eq!(daemon.connect().quota().unwrap().cap_percent, 100);
}
