//! Configuration files.

use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use vkmps_tests::binaries::{built, workspace};
use vkmps_tests::daemon::{CONFIG, Daemon, SOCKET, command};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::Adder;

#[test]
fn the_shipped_file_is_a_good_one() {
    let output = check(&workspace().join("systemd/vkmpsd.toml"));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"ok\n");
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_daemon_serves_by_its_file_and_the_command_line_overrides_it() {
    let folder = Folder::new();
    let text = "[device]\nindex = 99\nqueues = 1\n[scheduling]\ninstrument-submodular = true\n";
    fs::write(folder.join(CONFIG), text).unwrap();
    let mut daemon = Daemon::launch(folder, |command| _ = command.args(["-d", "0"]));
    daemon.await_service();
    let client = daemon.connect();
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    daemon
        .log()
        .line(&["scheduling.instrument-submodular", "no effect yet"]);
}

#[test]
fn an_unknown_key_is_an_error_with_file_line_and_what_there_is() {
    let folder = Folder::new();
    let file = folder.join(CONFIG);
    fs::write(&file, "[clients]\n# a comment\nmax-session = 5\n").unwrap();
    let named = format!("{}:3: clients.max-session: ", file.display());
    expect_refusal(
        &file,
        &[
            &named,
            "`max-sessions`",
            "`max-sessions-per-uid`",
            "`max-priority`",
        ],
    );
}

#[test]
fn a_bad_value_is_an_error_with_file_line_and_what_is_allowed() {
    let folder = Folder::new();
    let file = folder.join(CONFIG);
    fs::write(&file, "[clients]\nmax-priority = \"urgent\"\n").unwrap();
    let named = format!("{}:2: clients.max-priority: ", file.display());
    expect_refusal(&file, &[&named, "urgent", "low, medium, high, realtime"]);
}

#[test]
fn a_bad_drop_in_is_an_error_that_names_it() {
    let folder = Folder::new();
    let (file, drop_ins) = with_drop_ins(
        &folder,
        &[("10-good.toml", ""), ("20-bad.toml", "\n[log]\nlevel = 5")],
    );
    let named = format!("{}:3: log.level: ", drop_ins.join("20-bad.toml").display());
    expect_refusal(&file, &[&named, "error, warn, info, debug, trace"]);
}

#[test]
fn drop_ins_are_read_in_the_order_of_their_bytes_and_the_last_one_wins() {
    // B sorts before a, 9 after 10: bytes, not words or numbers.
    let choice = |submodular: bool| format!("scheduling.instrument-submodular = {submodular}");
    for (last, rest) in [
        ("a.toml", ["10.toml", "B.toml"]),
        ("9.toml", ["10.toml", "09.toml"]),
    ] {
        let folder = Folder::new();
        // The default, so that a daemon that reads it last warns of nothing.
        let (_, drop_ins) = with_drop_ins(&folder, &[(last, &choice(false))]);
        for name in rest {
            fs::write(drop_ins.join(name), choice(true)).unwrap();
        }
        // These are none.
        for name in [".z.toml", "z.toml~", "z.toml.dpkg-new", "README"] {
            fs::write(drop_ins.join(name), "nonsense").unwrap();
        }
        let mut daemon = Daemon::launch(folder, |_| {});
        daemon.await_service();
        assert!(
            !daemon.log().says(&["no effect yet"]),
            "{last} was not the last"
        );
    }
    let folder = Folder::new();
    with_drop_ins(
        &folder,
        &[("10.toml", &choice(false)), ("20.toml", &choice(true))],
    );
    let mut daemon = Daemon::launch(folder, |_| {});
    daemon.await_service();
    daemon
        .log()
        .line(&["scheduling.instrument-submodular", "no effect yet"]);
}

#[test]
fn what_is_no_readable_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let path = |name: &str| folder.join(name);
    fs::create_dir(path("folder.toml")).unwrap();
    nix::unistd::mkfifo(&path("fifo.toml"), Mode::S_IRUSR).unwrap();
    symlink("/nonexistent/target", path("dangling.toml")).unwrap();
    symlink("loop.toml", path("loop.toml")).unwrap();
    fs::write(path("latin.toml"), b"# caf\n# \xe9").unwrap();
    fs::write(path("long.toml"), " ".repeat((1 << 20) + 1)).unwrap();
    let cases = [
        ("folder.toml", "is not a regular file"),
        ("fifo.toml", "is not a regular file"),
        ("dangling.toml", "No such file"),
        ("loop.toml", "symbolic links"),
        ("latin.toml", ":2: not UTF-8"),
        ("long.toml", "more than 1048576 bytes"),
        ("missing.toml", "No such file"),
    ];
    for (name, why) in cases {
        expect_refusal(&path(name), &[name, why]);
        if name == "missing.toml" {
            continue;
        }
        // As a drop-in it is no better.
        let home = Folder::new();
        let (file, drop_ins) = with_drop_ins(&home, &[]);
        symlink(path(name), drop_ins.join("50-odd.toml")).unwrap();
        expect_refusal(&file, &["50-odd.toml", why]);
    }
    let home = Folder::new();
    fs::write(home.join(CONFIG), "").unwrap();
    fs::write(home.join("vkmpsd.toml.d"), "").unwrap();
    expect_refusal(&home.join(CONFIG), &["vkmpsd.toml.d", "Not a directory"]);
}

#[test]
fn a_daemon_with_a_bad_configuration_does_not_start() {
    let folder = Folder::new();
    fs::write(folder.join(CONFIG), "[log]\nlevel = \"loud\"").unwrap();
    let output = command(&folder)
        .arg("-s")
        .arg(folder.join(SOCKET))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("vkmpsd.toml:2: log.level: "));
    assert!(!folder.join(SOCKET).exists());
}

/// An empty file and its folder of drop-ins with these in it.
fn with_drop_ins(
    folder: &Folder,
    files: &[(&str, &str)],
) -> (std::path::PathBuf, std::path::PathBuf) {
    let (file, drop_ins) = (folder.join(CONFIG), folder.join("vkmpsd.toml.d"));
    fs::write(&file, "").expect("a folder of ours");
    fs::create_dir(&drop_ins).expect("a folder of ours");
    for (name, text) in files {
        fs::write(drop_ins.join(name), text).expect("a folder of ours");
    }
    (file, drop_ins)
}

fn expect_refusal(file: &Path, parts: &[&str]) {
    let output = check(file);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{}: {text}", file.display());
    assert_eq!(output.stdout, b"");
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
}

fn check(file: &Path) -> Output {
    Command::new(built("vkmpsd"))
        .arg("--check-config")
        .arg("--config")
        .arg(file)
        .output()
        .expect("it was built")
}
