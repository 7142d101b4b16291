//! What can be said on the command line.

use nix::sys::stat::Mode;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use vkmps::{Client, ErrorCode};
use vkmps_tests::binaries::built;
use vkmps_tests::daemon::{Daemon, SOCKET, command, command_with_engine, spawn};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;
use vkmps_tests::patience::eventually;
use vkmps_tests::witness::Witness;

#[test]
fn the_help_names_every_option() {
    for flag in ["-h", "--help"] {
        let output = Command::new(built("vkmpsd")).arg(flag).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let options = [
            "-s, --socket",
            "-d, --device",
            "-M, --scheduling-mode",
            "-q, --loop-slice-quota",
        ];
        let more = [
            "--instrument-submodular",
            "-l, --log",
            "-L, --log-path",
            "--config <PATH>",
            "--check-config",
            "--bus <BUS>",
            "-h, --help",
        ];
        let modes = ["exclusive-throughput", "cooperative-fairshare"];
        for name in options.iter().chain(&more).chain(&modes) {
            assert!(text.contains(name), "{name} is not in the help:\n{text}");
        }
    }
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let cases: [(&[&str], &str); 9] = [
        (&["--bogus"], "--bogus"),
        (&["extra"], "extra"),
        (&["-M", "fastest"], "fastest"),
        (&["-q", "0"], "0"),
        (&["-q", "-1"], "-1"),
        (&["-q", "many"], "many"),
        (&["-d", "first"], "first"),
        (&["-d", "-2"], "-2"),
        (&["-s"], "--socket"),
    ];
    for (arguments, named) in cases {
        let output = Command::new(built("vkmpsd"))
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(named), "{arguments:?}: {text}");
    }
}

#[test]
fn long_and_short_options_start_the_same_daemon() {
    let folder = Folder::new();
    let mut long = command(&folder);
    long.arg("--socket")
        .arg(folder.join(SOCKET))
        .args(["--device", "0", "--log"]);
    long.args([
        "--scheduling-mode",
        "exclusive-throughput",
        "--loop-slice-quota",
        "1000",
    ]);
    let mut daemon = Daemon::launch_command(folder, long);
    daemon.await_service();
    let client = daemon.connect();
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    assert!(!daemon.log().says(&["no effect yet"]));
}

#[test]
fn a_switch_without_effect_is_kept_and_said_to_have_none() {
    let options = [
        "-d",
        "0",
        "-M",
        "cooperative-fairshare",
        "-q",
        "5",
        "--instrument-submodular",
    ];
    let daemon = Daemon::start_with(|command| _ = command.args(options));
    daemon
        .log()
        .line(&["--instrument-submodular", "no effect yet"]);
    let client = daemon.connect();
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    let plain = Daemon::start();
    assert!(!plain.log().says(&["no effect yet"]));
}

#[test]
fn the_log_goes_to_the_file_that_is_named_and_is_quiet_unless_asked_for() {
    let folder = Folder::new();
    let path = folder.join("daemon.log");
    fs::write(&path, "an older line\n").unwrap();
    let daemon = Daemon::start_with(|command| _ = command.arg("-L").arg(&path));
    daemon.try_connect("logged one").unwrap();
    eventually("the client is in the file", || {
        let text = fs::read_to_string(&path).unwrap();
        text.starts_with("an older line") && text.contains("ready") && text.contains("logged one")
    });
    drop(daemon);

    let quiet_folder = Folder::new();
    let mut quiet = command(&quiet_folder);
    quiet.arg("-s").arg(quiet_folder.join(SOCKET));
    let (mut child, log) = spawn(quiet);
    let socket = quiet_folder.join(SOCKET);
    eventually("the quiet daemon serves", || {
        Client::builder().socket(&socket).connect().is_ok()
    });
    assert_eq!(
        log.text(),
        "",
        "a daemon without -l says nothing while all is well"
    );
    child.kill().unwrap();
    child.wait().unwrap();

    let mut nowhere = command(&folder);
    nowhere
        .arg("-s")
        .arg(folder.join(SOCKET))
        .args(["-L", "/nonexistent/vkmpsd.log"]);
    let output = nowhere.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/vkmpsd.log"));
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    // A disk without room.
    let daemon = Daemon::start_with(|command| _ = command.args(["-L", "/dev/full"]));
    let witness = Witness::of(&daemon);
    witness.goes_on();
    // A FIFO that nobody reads is not waited for.
    let folder = Folder::new();
    let fifo = folder.join("log");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut nobody = command(&folder);
    nobody
        .arg("-s")
        .arg(folder.join(SOCKET))
        .arg("-L")
        .arg(&fifo);
    let output = nobody.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&*fifo.to_string_lossy()), "{text}");
}

#[test]
fn a_device_that_is_not_there_is_a_clear_error() {
    let daemon = Daemon::launch(Folder::new(), |command| _ = command.args(["-d", "99"]));
    let line = daemon.log().line(&["no engine"]);
    assert!(line.contains("99"), "the index that was looked for: {line}");
    expect_no_device(&daemon, "99");
}

#[test]
fn no_device_at_all_is_a_clear_error_that_names_the_package() {
    let daemon = Daemon::launch(Folder::new(), |command| {
        _ = command.env("VK_DRIVER_FILES", "/nonexistent/icd.json")
    });
    let line = daemon.log().line(&["no engine"]);
    assert!(
        line.contains("mesa-vulkan-drivers"),
        "the package that brings lavapipe: {line}"
    );
    expect_no_device(&daemon, "mesa-vulkan-drivers");
}

#[test]
fn an_engine_that_cannot_be_started_is_a_clear_error() {
    for engine in ["/nonexistent/vkmps-engine", "/bin/false", "/etc/passwd"] {
        let folder = Folder::new();
        let mut broken = command_with_engine(&folder, Path::new(engine));
        broken.arg("-l").arg("-s").arg(folder.join(SOCKET));
        let daemon = Daemon::launch_command(folder, broken);
        daemon.log().line(&["no engine"]);
        expect_no_device(&daemon, "");
    }
}

/// Clients are told at once, and why.
fn expect_no_device(daemon: &Daemon, text: &str) {
    let begun = Instant::now();
    let error = daemon
        .try_connect("hopeful")
        .expect_err("there is no device");
    assert_eq!(error.code(), ErrorCode::NoDevice, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "refused only after {:?}",
        begun.elapsed()
    );
    assert!(daemon.process().is_alive());
}
