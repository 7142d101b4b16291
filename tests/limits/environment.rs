//! Limits that a user sets for programs that know nothing of them.

use super::daemon;
use std::io::Write;
use std::process::{Command, Stdio};
use vkmps_tests::binaries::build_folder;
use vkmps_tests::daemon::Daemon;

/// What a program with these variables says of its session.
fn said(daemon: &Daemon, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(build_folder().join("vkmps-test-client"));
    command
        .args(["session", "limited"])
        .env("VKMPS_SOCKET", daemon.socket())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("it is built");
    let mut orders = child.stdin.take().expect("a pipe");
    // Who was refused listens no more.
    let _ = orders.write_all(b"quota\n");
    drop(orders);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("words");
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_environment_tightens_the_limits_of_any_program() {
    let daemon = daemon("[limits]\nactive-thread-percentage = 50\n");
    let ours = [
        ("VKMPS_DEVICE_MEM_LIMIT", "2M"),
        ("VKMPS_ACTIVE_THREAD_PERCENTAGE", "30"),
        ("VKMPS_CLIENT_PRIORITY", "low"),
    ];
    assert_eq!(said(&daemon, &ours), "quota 2097152 30 low");
    let nvidia = [
        ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1M,1=2M"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "90"),
        ("CUDA_MPS_CLIENT_PRIORITY", "1"),
    ];
    assert_eq!(said(&daemon, &nvidia), "quota 1048576 50 low");
    let both = [nvidia, ours].concat();
    assert_eq!(said(&daemon, &both), "quota 2097152 30 low");
}

#[test]
fn a_malformed_value_is_an_error_and_never_no_limit() {
    let daemon = daemon("");
    for (name, value) in [
        ("VKMPS_DEVICE_MEM_LIMIT", "lots"),
        ("VKMPS_DEVICE_MEM_LIMIT", ""),
        ("VKMPS_DEVICE_MEM_LIMIT", "1=2G"),
        ("VKMPS_ACTIVE_THREAD_PERCENTAGE", "101"),
        ("VKMPS_ACTIVE_THREAD_PERCENTAGE", "nan"),
        ("VKMPS_CLIENT_PRIORITY", "urgent"),
        ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=0"),
        ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "0"),
        ("CUDA_MPS_CLIENT_PRIORITY", "7"),
    ] {
        assert_eq!(
            said(&daemon, &[(name, value)]),
            "refused InvalidArgument",
            "{name}={value}"
        );
    }
    assert!(!daemon.log().says(&["client connected", "limited"]));
}
