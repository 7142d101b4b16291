//! What checks do inside a machine.

mod bus;
mod client;
mod journal;
mod service;

pub(crate) use bus::{MANAGER, NAME, Refusal};
pub(crate) use client::GuestClient;
pub(crate) use service::{SERVICE, SOCKET};

use crate::boot::Machine;
use std::process::Output;

/// Who runs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// The administrator.
    Root,
    /// May use the GPU: a member of `render`.
    Alice,
    /// As alice, and a member of the shipped rule's `gpu-admin`.
    Bob,
    /// In no group of interest.
    Carol,
}

impl User {
    /// All that the machines have and systems do not.
    pub(crate) const ORDINARY: [User; 3] = [User::Alice, User::Bob, User::Carol];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            User::Root => "root",
            User::Alice => "alice",
            User::Bob => "bob",
            User::Carol => "carol",
        }
    }

    /// Its number.
    pub(crate) fn uid(self) -> u32 {
        match self {
            User::Root => 0,
            User::Alice => 4001,
            User::Bob => 4002,
            User::Carol => 4003,
        }
    }

    /// Its groups beside its own.
    pub(crate) fn groups(self) -> &'static [&'static str] {
        match self {
            User::Root | User::Carol => &[],
            User::Alice => &["render"],
            User::Bob => &["render", "gpu-admin"],
        }
    }
}

impl Machine {
    /// What a command wrote that must succeed.
    ///
    /// # Panics
    /// When it fails.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        text(&output.stdout)
    }

    /// Runs a command as somebody, without a login.
    pub(crate) fn run_as(&self, user: User, arguments: &[&str]) -> Output {
        self.run(&[&as_user(user)[..], arguments].concat())
    }

    /// Writes a file, and the folders it lies in.
    ///
    /// # Panics
    /// When it cannot.
    pub(crate) fn write(&self, path: &str, contents: &str) {
        let path = self.path(path);
        let folder = path.parent().expect("no file is the root");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, contents))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// The beginning of a command line that makes somebody else run the rest.
pub(crate) fn as_user(user: User) -> Vec<&'static str> {
    let (reuid, regid) = match user {
        User::Root => return Vec::new(),
        User::Alice => ("--reuid=alice", "--regid=alice"),
        User::Bob => ("--reuid=bob", "--regid=bob"),
        User::Carol => ("--reuid=carol", "--regid=carol"),
    };
    vec!["setpriv", reuid, regid, "--init-groups", "--"]
}

/// How a command ended and all that it said.
pub(crate) fn told(output: &Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    format!("{}\n{out}{err}", output.status)
}

/// What bytes say, roughly.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
