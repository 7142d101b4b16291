//! A daemon that systemd started leaves when nobody needs it, and nobody who comes just then is turned away.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use vkmps::Client;
use vkmps_ipc::socket::Seqpacket;
use vkmps_tests::daemon::{CONFIG, Daemon, inheriting, spawn};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;
use vkmps_tests::log::Log;

use crate::sockets::exit;

#[test]
fn an_idle_daemon_of_systemd_leaves_and_comes_back_without_turning_anyone_away() {
    let folder = Folder::new();
    fs::write(folder.join(CONFIG), "service.idle-exit = \"1s\"\n").unwrap();
    let path = folder.join("inherited.sock");
    let systemd = Systemd::listen(&folder, &path);
    for round in 0..ROUNDS {
        let client = Client::builder().socket(&path).connect();
        let client = client.unwrap_or_else(|error| panic!("round {round}: {error}"));
        Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
        drop(client);
        // The daemon leaves about then: sometimes before the next client comes, sometimes after, and sometimes while.
        thread::sleep(Duration::from_millis(985 + 5 * round));
    }
    let starts = systemd.stop();
    assert!(starts >= 2, "it left {starts} times");
}

#[test]
fn a_daemon_with_a_client_or_with_its_own_socket_stays() {
    let folder = Folder::new();
    fs::write(folder.join(CONFIG), "service.idle-exit = \"1s\"\n").unwrap();
    let own = Daemon::launch(folder, |_| {});
    let folder = Folder::new();
    fs::write(folder.join(CONFIG), "service.idle-exit = \"1s\"\n").unwrap();
    let path = folder.join("inherited.sock");
    let systemd = Systemd::listen(&folder, &path);
    let client = Client::builder().socket(&path).connect().unwrap();
    // There is nothing to wait for: what must not happen would happen in the meantime.
    thread::sleep(Duration::from_secs(2));
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    drop(client);
    assert_eq!(systemd.stop(), 1);
    own.connect();
}

#[test]
fn a_hang_up_makes_a_daemon_of_systemd_read_its_configuration_again() {
    let folder = Folder::new();
    let path = folder.join("inherited.sock");
    let listener = Seqpacket::bind(&path).unwrap();
    let (mut child, log) = spawn(inheriting(&folder, listener.into()));
    let client = Client::builder().socket(&path).connect().unwrap();
    let process = vkmps_tests::processes::Process(child.id());
    fs::write(folder.join(CONFIG), "service.idle-exi = \"1s\"\n").unwrap();
    process.signal(Signal::SIGHUP);
    log.line(&["the configuration is bad", "idle-exi"]);
    fs::write(folder.join(CONFIG), "service.idle-exit = \"1s\"\n").unwrap();
    process.signal(Signal::SIGHUP);
    log.line(&["configuration reloaded"]);
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    drop(client);
    assert_eq!(exit(&mut child).code(), Some(0), "{}", log.text());
}

/// What systemd does for a socket unit: starts the daemon when somebody comes and none runs.
struct Systemd {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<u32>,
}

impl Systemd {
    fn listen(folder: &Path, path: &Path) -> Self {
        let listener: OwnedFd = Seqpacket::bind(path).expect("the folder is ours").into();
        let (stop, stopped) = mpsc::channel();
        let folder = folder.to_owned();
        let thread = thread::spawn(move || {
            let mut starts = 0;
            let mut running: Option<(Child, Log)> = None;
            loop {
                if stopped.try_recv().is_ok() {
                    break;
                }
                if let Some((child, log)) = &mut running {
                    match child.try_wait().expect("it is our child") {
                        None => thread::sleep(Duration::from_millis(2)),
                        Some(status) => {
                            assert_eq!(status.code(), Some(0), "{}", log.text());
                            running = None;
                        }
                    }
                    continue;
                }
                let mut waiting = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                let soon = PollTimeout::from(100_u8);
                if poll(&mut waiting, soon).expect("a listening socket can be polled") > 0 {
                    starts += 1;
                    running = Some(spawn(inheriting(
                        &folder,
                        listener.try_clone().expect("descriptors are left"),
                    )));
                }
            }
            if let Some((mut child, _log)) = running {
                vkmps_tests::processes::Process(child.id()).signal(Signal::SIGTERM);
                exit(&mut child);
            }
            starts
        });
        Self { stop, thread }
    }

    /// How often a daemon was started.
    fn stop(self) -> u32 {
        self.stop.send(()).expect("it listens until now");
        self.thread.join().expect("it found no fault")
    }
}

const ROUNDS: u64 = 7;
