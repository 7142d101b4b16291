//! Clients inside a machine.

use super::{User, as_user};
use crate::boot::Machine;
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use vkmps_tests::daemon::spawn;
use vkmps_tests::log::Log;
use vkmps_tests::patience::eventually;
use vkmps_tests::processes::Process;

/// A `vkmps-test-client` in a machine; killed on drop.
#[derive(Debug)]
pub(crate) struct GuestClient {
    child: Child,
    input: Option<ChildStdin>,
    log: Log,
    read: usize,
}

impl Machine {
    /// Starts a client in a role (see `test_client.rs`).
    pub(crate) fn client(&self, user: User, role: &[&str]) -> GuestClient {
        self.start(&[&as_user(user), &[PROGRAM][..], role].concat())
    }

    /// As [`Self::client`], as a service of its own.
    pub(crate) fn client_in_unit(&self, user: User, unit: &str, role: &[&str]) -> GuestClient {
        let (unit, user) = (format!("--unit={unit}"), format!("--uid={}", user.name()));
        let run = [
            "systemd-run",
            "--quiet",
            "--pipe",
            "--collect",
            &unit,
            &user,
            PROGRAM,
        ];
        self.start(&[&run[..], role].concat())
    }

    /// As [`Self::session`], by `vkmpsctl run` with these options.
    pub(crate) fn session_in(&self, user: User, options: &[&str], name: &str) -> GuestClient {
        let run = ["vkmpsctl", "run"];
        let program = ["--", PROGRAM, "session", name];
        let mut client = self.start(&[&as_user(user), &run[..], options, &program].concat());
        let answer = client.next_line();
        assert!(answer.starts_with("session "), "no session: {answer}");
        client
    }

    fn start(&self, arguments: &[&str]) -> GuestClient {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let (mut child, log) = spawn(command);
        let input = child.stdin.take();
        GuestClient {
            child,
            input,
            log,
            read: 0,
        }
    }

    /// A client with a session that computes when it is told to.
    ///
    /// # Panics
    /// When it gets none.
    pub(crate) fn session(&self, user: User, name: &str) -> GuestClient {
        let mut client = self.client(user, &["session", name]);
        let answer = client.next_line();
        assert!(
            answer.starts_with("session "),
            "{} got no session: {answer}",
            user.name()
        );
        client
    }

    /// Connects, computes once, and says how that went: `right`, or the name of an error.
    pub(crate) fn attempt(&self, user: User) -> String {
        let mut client = self.client(user, &["session", "attempt"]);
        let answer = client.next_line();
        match answer.starts_with("session ") {
            true => client.add(),
            false => answer,
        }
    }
}

impl GuestClient {
    /// The next line it writes.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn next_line(&mut self) -> String {
        let line = self.log.line_after(self.read, &[]);
        self.read += 1;
        line
    }

    /// Tells it to do something; what it says of it.
    pub(crate) fn tell(&mut self, order: &str) -> String {
        self.order(order);
        self.next_line()
    }

    /// Tells it to do something and does not wait.
    pub(crate) fn order(&mut self, order: &str) {
        if let Some(input) = &mut self.input {
            // A client that is gone says so by its missing answer.
            let _ = writeln!(input, "{order}");
        }
    }

    /// Lets it add vectors: `right`, or the name of an error.
    pub(crate) fn add(&mut self) -> String {
        self.tell("add")
    }

    /// Its session's number.
    ///
    /// # Panics
    /// When it has none.
    pub(crate) fn id(&mut self) -> u64 {
        let answer = self.tell("id");
        answer
            .parse()
            .unwrap_or_else(|_| panic!("no number of a session: {answer}"))
    }

    /// Its process, as the machine counts.
    ///
    /// # Panics
    /// When it runs no more.
    pub(crate) fn pid(&self) -> u32 {
        let inside = self.process();
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", inside.0)).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let pid = numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
        pid.expect("it is in a namespace of processes")
    }

    /// Its process, as seen from outside.
    ///
    /// # Panics
    /// When it runs no more.
    pub(crate) fn process(&self) -> Process {
        let inside = Process(self.child.id()).children();
        *inside
            .first()
            .expect("who enters a namespace of processes waits outside for the one inside")
    }

    /// Lets it end, and waits for that.
    pub(crate) fn leave(mut self) -> ExitStatus {
        self.input = None;
        self.await_exit()
    }

    /// Waits for its end.
    pub(crate) fn await_exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the client ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("just seen")
    }
}

impl Drop for GuestClient {
    fn drop(&mut self) {
        self.input = None;
        for inside in Process(self.child.id()).children() {
            inside.signal(Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Where [`crate::boot::STAGING`] has it.
const PROGRAM: &str = "/run/vkmps-e2e/vkmps-test-client";
