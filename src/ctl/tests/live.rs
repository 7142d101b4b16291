//! Verbs that last: monitor, top, drain --wait.

use crate::bus::Bus;
use crate::fake::{Act, Fake, World, client};
use crate::man::assert_documented;
use crate::program::{command, vkmpsctl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};

/// A program whose lines are read as they come.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(bus: &Bus, arguments: &[&str]) -> Self {
        let mut command = command(env!("CARGO_BIN_EXE_vkmpsctl"), bus);
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// A line of JSON, without the time, which must be there.
    fn event(&mut self) -> Value {
        let mut event: Value = serde_json::from_str(&self.line()).unwrap();
        assert_documented(&event);
        let time = event.as_object_mut().unwrap().remove("time_us");
        assert!(time.is_some_and(|time| time.is_u64()));
        event
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

#[test]
fn monitor_sees_every_signal_until_it_is_interrupted() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let mut monitor = Running::start(&bus, &["--json", "monitor"]);
    assert_eq!(
        monitor.event(),
        json!({"event": "property_changed", "property": "State", "value": "serving"})
    );
    fake.act(Act::Join(client(5, "a")));
    assert_eq!(
        monitor.event(),
        json!({"event": "client_added", "client": 5, "object": "/org/vkmps/client/5", "uid": 0})
    );
    fake.act(Act::Limit(5, 0, "memory"));
    assert_eq!(
        monitor.event(),
        json!({"event": "limit_reached", "client": 5, "uid": 0, "limit": "memory"})
    );
    fake.act(Act::Fault("lost", 1));
    assert_eq!(
        monitor.event(),
        json!({"event": "device_fault", "reason": "lost", "sessions": 1})
    );
    fake.act(Act::Leave(5, "gone\n"));
    let mut events =
        [monitor.event(), monitor.event(), monitor.event()].map(|event| event.to_string());
    // Signals and properties come by different ways.
    events.sort();
    assert_eq!(
        events,
        [
            json!({"event": "client_removed", "client": 5, "object": "/org/vkmps/client/5", "reason": "gone\n"}),
            json!({"event": "property_changed", "property": "ClientCount", "value": 0}),
            json!({"event": "property_changed", "property": "State", "value": "serving"}),
        ]
        .map(|event| event.to_string())
    );
    assert_eq!(monitor.signal(Signal::SIGINT), Some(0));
}

#[test]
fn monitor_follows_a_service_that_comes_and_goes() {
    let bus = Bus::with_services(&[vkmps_bus::SERVICE]);
    let mut monitor = Running::start(&bus, &["monitor"]);
    assert!(monitor.line().ends_with("  vkmpsd does not run\n"));
    let fake = Fake::start(&bus, World::with(Vec::new()));
    assert!(monitor.line().ends_with("  vkmpsd started\n"));
    fake.act(Act::Join(client(5, "a")));
    assert!(
        monitor
            .line()
            .ends_with("  client 5 of root (0) connected\n")
    );
    drop(fake);
    assert!(monitor.line().ends_with("  vkmpsd does not run\n"));
    assert_eq!(monitor.signal(Signal::SIGTERM), Some(0));
}

#[test]
fn monitor_believes_nobody_but_the_service() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(Vec::new()));
    let mut monitor = Running::start(&bus, &["monitor"]);
    assert!(monitor.line().ends_with("  State is serving\n"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let forger = zbus::connection::Builder::address(bus.address.as_str());
        let forger = forger.build().await.unwrap();
        forger
            .emit_signal(
                None::<&str>,
                vkmps_bus::MANAGER,
                "org.vkmps.Manager",
                "DeviceFault",
                &("forged", 9_u32),
            )
            .await
            .unwrap();
        // An answer from the bus says that it has passed the signal on.
        zbus::fdo::DBusProxy::new(&forger)
            .await
            .unwrap()
            .get_id()
            .await
            .unwrap();
    });
    fake.act(Act::Fault("true", 1));
    let line = monitor.line();
    assert!(
        line.ends_with("  device fault, 1 client lost: true\n"),
        "{line}"
    );
    assert_eq!(monitor.signal(Signal::SIGINT), Some(0));
}

#[test]
fn drain_waits_for_the_last_client() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(vec![client(5, "a"), client(6, "b")]));
    let mut drain = Running::start(&bus, &["drain", "--wait"]);
    fake.wait_until_asked("!Drain");
    fake.act(Act::Leave(5, "done"));
    fake.act(Act::Leave(6, "done"));
    assert_eq!(drain.line(), "drained\n");
    assert_eq!(drain.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_drain_that_somebody_ends_is_a_failure() {
    let bus = Bus::start();
    let fake = Fake::start(&bus, World::with(vec![client(5, "a")]));
    let mut drain = Running::start(&bus, &["drain", "--wait"]);
    fake.wait_until_asked("!Drain");
    vkmpsctl(&bus, &["resume"]).well();
    assert_eq!(drain.child.wait().unwrap().code(), Some(1));
    let mut drain = Running::start(&bus, &["drain", "--wait"]);
    fake.asked();
    fake.wait_until_asked("!Drain");
    fake.wait_until_asked("State");
    drop(fake);
    assert_eq!(drain.child.wait().unwrap().code(), Some(3));
}

#[test]
fn top_repeats_plain_blocks_where_there_is_no_terminal() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(vec![client(5, "a")]));
    let text = vkmpsctl(&bus, &["top", "-n", "2", "-i", "0.05"]).well();
    let blocks: Vec<&str> = text.split("\n\nvkmpsd ").collect();
    assert_eq!(blocks.len(), 2, "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.contains("CLIENT  "), "{text}");
}

#[test]
fn top_gives_the_terminal_back_as_it_was() {
    let bus = Bus::start();
    let _fake = Fake::start(&bus, World::with(vec![client(5, "a")]));
    let terminal = nix::pty::openpty(None, None).unwrap();
    let before = nix::sys::termios::tcgetattr(&terminal.slave).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_vkmpsctl"), &bus);
    let mut child = command
        .env("TERM", "xterm")
        .args(["top", "-i", "0.05"])
        .stdin(terminal.slave.try_clone().unwrap())
        .stdout(terminal.slave.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut master = std::fs::File::from(terminal.master);
    let mut shown = String::new();
    let mut read = |shown: &mut String, what: &str| {
        let mut bytes = [0; 4096];
        while !shown.contains(what) {
            let count = master.read(&mut bytes).unwrap();
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        master.try_clone().unwrap()
    };
    read(&mut shown, "CLIENT");
    let mut keys = read(&mut shown, "CLIENT");
    let during = nix::sys::termios::tcgetattr(&terminal.slave).unwrap();
    assert!(
        !during
            .local_flags
            .contains(nix::sys::termios::LocalFlags::ECHO)
    );
    keys.write_all(b"xq").unwrap();
    read(&mut shown, "\x1b[?1049l");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(
        shown.contains("\x1b[?1049h") && shown.contains("\x1b[?25h"),
        "{shown}"
    );
    let after = nix::sys::termios::tcgetattr(&terminal.slave).unwrap();
    assert_eq!(after, before);
}
