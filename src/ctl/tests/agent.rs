//! Passwords on a terminal without a desktop.

use crate::bus::Bus;
use crate::fake::{Fake, World};
use crate::program::command;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A `pkttyagent` that says that it was started, and how; it would never end.
const AGENT: &str = "#!/bin/sh\necho \"$$ $*\" >\"$0.started\"\nexec >&-\nexec sleep 1000\n";

/// A folder for anybody, with the program and the agent in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("vkmps-ctl-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        // By another process: had this one the files open for writing, another test's fork might keep them so.
        let write = "cp \"$1\" \"$2/vkmpsctl\" && printf %s \"$0\" >\"$2/pkttyagent\" && chmod 755 \"$2/pkttyagent\"";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", write, AGENT, env!("CARGO_BIN_EXE_vkmpsctl")])
            .arg(&folder);
        assert!(shell.status().unwrap().success());
        Self(folder)
    }

    /// Reloads the service from a terminal, as somebody who is not root.
    fn reload(&self, bus: &Bus, options: &[&str]) -> Option<i32> {
        let program = self.0.join("vkmpsctl");
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut reload = match geteuid().is_root() {
            true => {
                let mut setpriv = command("/usr/bin/setpriv", bus);
                setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
                setpriv.arg(program);
                setpriv
            }
            false => command(program.to_str().unwrap(), bus),
        };
        reload
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.display()))
            .args(options)
            .arg("reload")
            .stdin(terminal.slave)
            .stdout(Stdio::null());
        reload.status().unwrap().code()
    }

    fn agent(&self) -> Option<String> {
        fs::read_to_string(self.0.join("pkttyagent.started")).ok()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of a test that failed.
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

#[test]
fn a_user_on_a_terminal_is_asked_there() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let folder = Folder::new("asked");
    assert_eq!(folder.reload(&bus, &[]), Some(0));
    assert_eq!(fake.asked(), ["!Reload"]);
    let agent = folder.agent().unwrap();
    let (pid, arguments) = agent.split_once(' ').unwrap();
    assert_eq!(arguments, "--notify-fd 1 --fallback\n");
    // It has ended with the program.
    assert_eq!(
        kill(Pid::from_raw(pid.parse().unwrap()), None),
        Err(Errno::ESRCH)
    );
}

#[test]
fn a_user_who_does_not_want_to_be_asked_is_not() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let folder = Folder::new("not-asked");
    assert_eq!(folder.reload(&bus, &["--no-ask-password"]), Some(0));
    assert_eq!(fake.asked(), ["Reload"]);
    assert_eq!(folder.agent(), None);
}
