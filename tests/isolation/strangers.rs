//! Other users of the machine: what they can find out, and what clients that die leave to nobody.

use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use vkmps::Memory;
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::affine;
use vkmps_tests::patience::eventually;
use vkmps_tests::processes::Process;
use vkmps_tests::witness::Witness;

#[test]
fn another_user_finds_no_way_through_proc() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be several users");
        return;
    }
    let daemon = Daemon::start();
    let folder = daemon.socket().parent().unwrap();
    std::fs::set_permissions(folder, Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(daemon.socket(), Permissions::from_mode(0o666)).unwrap();
    let as_user = |uid: u32, role: &[&str]| {
        ClientProcess::start_with(&daemon, role, |command| {
            command.uid(uid);
        })
    };
    let victim = as_user(SOMEBODY, &["submitting"]);
    victim.log().line(&["ready"]);
    let mut targets = daemon.process().descendants();
    targets.extend([daemon.process(), victim.process()]);
    let pids: Vec<String> = targets
        .iter()
        .map(|process| process.0.to_string())
        .collect();
    let mut role = vec!["spy"];
    role.extend(pids.iter().map(String::as_str));
    let mut spy = as_user(SOMEBODY + 1, &role);
    assert!(spy.await_exit().success(), "{}", spy.log().text());
    spy.log().line(&["nothing"]);
    // What everybody can see of the daemon's processes names no client.
    for process in daemon
        .process()
        .descendants()
        .into_iter()
        .chain([daemon.process()])
    {
        let line = process.command_line();
        assert!(!line.contains("vkmps-test-client") && !line.contains(&SOMEBODY.to_string()));
    }
}

#[test]
fn of_fifty_clients_killed_at_random_nothing_is_left() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let engine = daemon.engine();
    let first = daemon.connect();
    let all = first.device().device_memory_bytes;
    // What they compute with is kept for the next who needs it.
    drop((affine(&first, 3, 1), first));
    let state = || {
        let (vkmpsd, compilers) = (daemon.process(), daemon.compilers().len());
        let sockets = vkmpsd
            .descriptors()
            .iter()
            .filter(|name| name.starts_with("socket:"))
            .count();
        let others = vkmpsd.descriptors().len() - sockets;
        (
            sockets - compilers,
            others,
            engine.shared_mappings(),
            threads(engine),
        )
    };
    eventually("compilers are at hand", || !daemon.compilers().is_empty());
    let before = state();
    for crowd in 0..5_u64 {
        let mut victims: Vec<ClientProcess> = (0..10)
            .map(|n| ClientProcess::start(&daemon, &["hoard", &(crowd * 10 + n).to_string()]))
            .collect();
        for (n, victim) in victims.iter_mut().enumerate() {
            // Some in the middle of their first request, some after many.
            if n % 3 > 0 {
                victim.log().line(&["hoarding"]);
            }
            victim.process().signal(Signal::SIGKILL);
        }
        victims.iter_mut().for_each(ClientProcess::kill);
        witness.goes_on();
    }
    let mut now = state();
    eventually(
        "descriptors, mappings and threads are what they were",
        || {
            now = state();
            (now.0 <= before.0, now.1, now.2, now.3) == (true, before.1, before.2, before.3)
        },
    );
    assert_eq!(
        daemon.engines(),
        [engine],
        "the engine lived through all of it"
    );
    // Nobody gets all the memory there is while a byte of it counts as somebody's.
    drop(witness);
    let last = daemon.connect();
    eventually("all memory can be had", || {
        last.alloc_unscrubbed(all, Memory::Device).is_ok()
    });
}

fn threads(process: Process) -> usize {
    let folder = std::fs::read_dir(format!("/proc/{}/task", process.0));
    folder.map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| entry.file_name())
            .collect::<BTreeSet<_>>()
            .len()
    })
}

/// Nobody on this machine.
const SOMEBODY: u32 = 64_331;
