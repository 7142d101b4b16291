//! The packages: what is in them, what an upgrade does, what removal leaves.

use super::checks;
use crate::boot::{Machine, STAGING};
use crate::guest::{SERVICE, SOCKET, User, told};
use std::collections::BTreeSet;

checks![
    the_daemon_is_static_and_the_engine_needs_the_c_library_only,
    an_upgrade_while_clients_are_connected_ends_in_a_service_that_serves,
    removing_and_purging_leave_nothing,
    a_c_program_built_against_the_installed_library_computes,
    the_installed_units_and_man_pages_are_found,
];

fn the_daemon_is_static_and_the_engine_needs_the_c_library_only(machine: &Machine) {
    assert_eq!(needed(machine, "/usr/sbin/vkmpsd"), [""; 0]);
    for library in needed(machine, "/usr/libexec/vkmps/vkmps-engine") {
        let known = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];
        assert!(
            known.iter().any(|start| library.starts_with(start)),
            "the engine needs {library}"
        );
    }
}

fn an_upgrade_while_clients_are_connected_ends_in_a_service_that_serves(machine: &Machine) {
    let package = format!("{STAGING}/packages/vkmpsd_*.deb");
    let older = "/var/tmp/older";
    machine.ok(&[
        "sh",
        "-c",
        &format!("dpkg-deb --raw-extract {package} {older}"),
    ]);
    machine.ok(&[
        "sed",
        "--in-place",
        "s/^Version: .*/Version: 0.0.1-1/",
        &format!("{older}/DEBIAN/control"),
    ]);
    machine.ok(&[
        "dpkg-deb",
        "-Zgzip",
        "-z1",
        "--build",
        older,
        "/var/tmp/older.deb",
    ]);
    machine.ok(&[
        "dpkg",
        "--force-downgrade",
        "--force-depends",
        "--install",
        "/var/tmp/older.deb",
    ]);
    machine.configure("[clients]\nmax-priority = \"low\"\n");
    let mut alice = machine.session(User::Alice, "connected");
    assert_eq!(alice.add(), "right");
    let before = machine.main_pid();
    machine.ok(&["sh", "-c", &format!("dpkg --install {package}")]);
    assert_eq!(machine.state(SOCKET), "active");
    let answer = alice.add();
    // The new one serves new clients; sessions end with the old one, and say so.
    assert!(ENDED.contains(&&answer[..]), "{answer}");
    let mut bob = machine.session(User::Bob, "comes later");
    assert_eq!(bob.add(), "right");
    assert_ne!(machine.main_pid(), before);
    assert_eq!(
        machine.clients()[0][5],
        "low",
        "the administrator's configuration stays"
    );
    let version = machine.ok(&["dpkg-query", "--show", "--showformat=${Version}", "vkmpsd"]);
    assert_ne!(version, "0.0.1-1");
}

fn removing_and_purging_leave_nothing(machine: &Machine) {
    let files = machine.ok(&["dpkg", "--listfiles", "vkmpsd"]);
    let mut alice = machine.session(User::Alice, "connected");
    assert_eq!(alice.add(), "right");
    machine.ok(&[
        "sh",
        "-c",
        "dpkg --remove $(dpkg-query --show --showformat='${Package} ' 'vkmps*' 'libvkmps*')",
    ]);
    let answer = alice.add();
    assert!(ENDED.contains(&&answer[..]), "{answer}");
    assert_ne!(machine.state(SERVICE), "active");
    assert_ne!(machine.state(SOCKET), "active");
    assert!(!machine.path("/usr/sbin/vkmpsd").exists());
    assert!(
        machine.path("/etc/vkmps/vkmpsd.toml").exists(),
        "a removal keeps the configuration"
    );
    machine.ok(&[
        "sh",
        "-c",
        "dpkg --purge $(dpkg-query --show --showformat='${Package} ' 'vkmps*' 'libvkmps*')",
    ]);
    let left: Vec<&str> = files
        .lines()
        .filter(|file| machine.path(file).is_file())
        .collect();
    assert_eq!(left, [""; 0]);
    let search = [
        "find",
        "/etc",
        "/usr",
        "/var",
        "/run",
        "/lib",
        "-xdev",
        "-iname",
        "*vkmps*",
        "-not",
        "-path",
        &format!("{STAGING}*"),
    ];
    let found: BTreeSet<String> = machine
        .ok(&search)
        .lines()
        .filter(|path| !is_of_dpkg_or_tests(path))
        .map(str::to_owned)
        .collect();
    assert_eq!(found, BTreeSet::new());
    let units = machine.run(&["systemctl", "list-unit-files", "--no-legend", "vkmps*"]);
    assert!(units.stdout.trim_ascii().is_empty(), "{}", told(&units));
}

fn a_c_program_built_against_the_installed_library_computes(machine: &Machine) {
    if !machine
        .run(&["sh", "-c", "command -v cc && command -v pkg-config"])
        .status
        .success()
    {
        return println!("SKIPPED: no C compiler or no pkg-config");
    }
    let build = format!(
        "cc -o /var/tmp/simple {STAGING}/c/simple_compute.c $(pkg-config --cflags --libs vkmps)"
    );
    machine.ok(&["sh", "-c", &build]);
    let libraries = machine.ok(&["ldd", "/var/tmp/simple"]);
    let ours = libraries
        .lines()
        .find(|line| line.contains("libvkmps.so.1 => "));
    assert!(
        ours.is_some_and(|line| line.contains(" /lib/") || line.contains(" /usr/lib/")),
        "{libraries}"
    );
    let shader = format!("{STAGING}/shaders/vector_add.spv");
    let output = machine.run_as(User::Alice, &["/var/tmp/simple", &shader]);
    assert!(output.status.success(), "{}", told(&output));
}

fn the_installed_units_and_man_pages_are_found(machine: &Machine) {
    for unit in [SERVICE, SOCKET] {
        machine.ok(&["systemctl", "cat", unit]);
    }
    let output = machine.run(&["systemd-analyze", "verify", "--man=no", SERVICE, SOCKET]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        told(&output)
    );
    let files = machine.ok(&["dpkg", "--listfiles", "vkmpsd"]);
    for page in [
        "vkmpsd.8",
        "vkmpsctl.1",
        "vkmps-control.1",
        "vkmpsd.toml.5",
        "org.vkmps.Manager.5",
    ] {
        let page = format!("/{page}");
        assert!(
            files.lines().any(|file| file.contains(&page)),
            "no page {page}: {files}"
        );
    }
}

/// The libraries that a program names.
fn needed(machine: &Machine, program: &str) -> Vec<String> {
    // From outside: the machine underneath compiles programs, so it has it.
    let mut readelf = std::process::Command::new("readelf");
    readelf.arg("--dynamic").arg(machine.path(program));
    let lines = vkmps_tests::binaries::output_of(&mut readelf);
    let needed = lines.lines().filter(|line| line.contains("(NEEDED)"));
    needed
        .filter_map(|line| Some(line.split('[').nth(1)?.split(']').next()?.to_owned()))
        .collect()
}

/// Records of the package manager, and what checks made.
fn is_of_dpkg_or_tests(path: &str) -> bool {
    [
        "/var/lib/dpkg/",
        "/var/cache/apt",
        "/var/log/",
        "/var/lib/systemd/",
        "/var/tmp",
    ]
    .iter()
    .any(|start| path.starts_with(start))
}

/// What a client sees of a service that was asked to stop.
const ENDED: [&str; 2] = ["failed DaemonLost", "failed Draining"];
