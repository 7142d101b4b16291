//! Our programs, started as users start them.

use crate::bus::Bus;
use std::io::Write;
use std::process::{Command, Stdio};

/// How a program ended, and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) exit: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    /// Its output, if it did what it should.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert_eq!(
            (self.exit, self.errors.as_str()),
            (0, ""),
            "{}",
            self.output
        );
        self.output
    }
}

pub(crate) fn vkmpsctl(bus: &Bus, arguments: &[&str]) -> Ended {
    run(
        command(env!("CARGO_BIN_EXE_vkmpsctl"), bus).args(arguments),
        "",
    )
}

/// On a bus that the environment names; nothing else of it reaches the program.
pub(crate) fn command(program: &str, bus: &Bus) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("DBUS_SYSTEM_BUS_ADDRESS", &bus.address);
    command
}

pub(crate) fn run(command: &mut Command, input: &str) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        exit: output.status.code().expect("it ends by itself"),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}
