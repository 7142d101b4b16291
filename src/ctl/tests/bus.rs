//! A bus of our own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A `dbus-daemon` that ends with its test.
pub(crate) struct Bus {
    daemon: Child,
    folder: PathBuf,
    pub(crate) address: String,
}

impl Bus {
    /// It starts nothing for its users.
    pub(crate) fn start() -> Self {
        Self::with_services(&[])
    }

    /// It would start these, had they a program.
    pub(crate) fn with_services(names: &[&str]) -> Self {
        static BUSES: AtomicU32 = AtomicU32::new(0);
        let number = BUSES.fetch_add(1, Ordering::Relaxed);
        let name = format!("vkmps-ctl-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        for name in names {
            let service = format!("[D-BUS Service]\nName={name}\nExec=/bin/false\n");
            fs::write(folder.join(format!("{name}.service")), service).unwrap();
        }
        let configuration = folder.join("bus.conf");
        fs::write(
            &configuration,
            format!(
                "<busconfig><type>session</type><listen>unix:path={folder}/bus</listen>\
                 <servicedir>{folder}</servicedir><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
                 <allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>",
                folder = folder.display()
            ),
        )
        .unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--print-address")
            .arg(format!("--config-file={}", configuration.display()))
            .stdout(Stdio::piped())
            // It complains of limits that it cannot raise.
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is in the package dbus-daemon");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self {
            daemon,
            folder,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
