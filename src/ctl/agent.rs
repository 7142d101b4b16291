//! Somebody whom polkit can ask for a password where there is no desktop: `pkttyagent` on this terminal.

use std::io::{IsTerminal, Read, stdin};
use std::process::{Child, Command, Stdio};

/// It ends with what it was started for.
#[derive(Debug)]
pub(crate) struct Agent {
    process: Child,
}

impl Agent {
    /// None where nobody sits, where nobody needs to be asked, and where polkit brings no such program. A desktop's own
    /// agent goes before ours.
    pub(crate) fn start() -> Option<Self> {
        if nix::unistd::geteuid().is_root() || !stdin().is_terminal() {
            return None;
        }
        // It closes its standard output when it is ready, and speaks through /dev/tty.
        let mut process = Command::new("pkttyagent")
            .args(["--notify-fd", "1", "--fallback"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        if let Some(mut ready) = process.stdout.take() {
            // Whatever it says, or if it has ended: the call shows whether it helps.
            let _ = ready.read_to_end(&mut Vec::new());
        }
        Some(Self { process })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
