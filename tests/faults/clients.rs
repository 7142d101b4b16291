//! Clients that die, and crowds of them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use vkmps::{Client, ErrorCode, Memory};
use vkmps_ipc::memory::memfd_with;
use vkmps_protocol::limits::MAX_SESSIONS;
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Connection, Session, hello};
use vkmps_tests::kernels::{Adder, affine, module};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};
use vkmps_tests::witness::Witness;

#[test]
fn a_client_killed_at_any_stage_leaves_nothing_behind() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let engine = daemon.engine();
    let before = engine.shared_mappings();
    let sockets = || {
        daemon
            .process()
            .descriptors()
            .iter()
            .filter(|name| name.starts_with("socket:"))
            .count()
    };
    let spared = daemon.compilers().len();
    let before_sockets = sockets() - spared;
    for stage in [
        "connecting",
        "greeted",
        "registering",
        "writing",
        "submitting",
        "holding-a-batch",
    ] {
        for _ in 0..3 {
            let mut victim = ClientProcess::start(&daemon, &[stage]);
            victim.log().line(&["ready"]);
            let mark = daemon.log().mark();
            victim.kill();
            if stage != "connecting" {
                daemon.log().line_after(
                    mark,
                    &[
                        "client disconnected",
                        &format!("pid={} ", victim.process().0),
                    ],
                );
            }
            witness.goes_on();
        }
        eventually(
            &format!("the engine has let go of clients killed while {stage}"),
            || engine.shared_mappings() == before,
        );
        eventually(
            &format!("the daemon has let go of clients killed while {stage}"),
            || sockets() <= before_sockets + daemon.compilers().len(),
        );
    }
    assert_eq!(
        daemon.engines(),
        [engine],
        "the engine lived through all of it"
    );
}

#[test]
fn many_clients_killed_at_once_leave_the_others_alone() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let engine = daemon.engine();
    let before = engine.shared_mappings();
    let mut victims: Vec<_> = (0..10)
        .map(|_| ClientProcess::start(&daemon, &["submitting"]))
        .collect();
    victims
        .iter()
        .for_each(|victim| drop(victim.log().line(&["ready"])));
    victims
        .iter()
        .for_each(|victim| victim.process().signal(Signal::SIGKILL));
    victims.iter_mut().for_each(ClientProcess::kill);
    witness.goes_on();
    eventually("the engine has let go of all of them", || {
        engine.shared_mappings() == before
    });
}

#[test]
fn a_client_that_is_stopped_in_the_middle_of_its_work_holds_up_nobody() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let stopped: Vec<_> = ["submitting", "writing", "registering"]
        .map(|stage| ClientProcess::start(&daemon, &[stage]))
        .into();
    for client in &stopped {
        client.log().line(&["ready"]);
        client.process().signal(Signal::SIGSTOP);
        eventually("it stands still", || client.process().is_stopped());
        witness.goes_on();
    }
    // Registering, allocating and leaving still work, too.
    Adder::new(&daemon.connect(), 100).unwrap();
    for client in &stopped {
        client.process().signal(Signal::SIGCONT);
    }
    witness.goes_on();
}

#[test]
fn a_module_that_stands_in_a_dead_clients_memory_is_no_trouble() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    for attempt in 0..20_u64 {
        use std::os::fd::AsFd;
        let session = Session::open(&daemon, "hasty");
        let bytes = module("affine");
        let file = memfd_with("module", &bytes).unwrap();
        let request = vkmps_tests::hostile::specialized_registration(
            bytes.len() as u64,
            "main",
            0,
            9000 + attempt,
        );
        // Gone before the answer.
        session.connection().say(&request, &[file.as_fd()]);
        drop(session);
    }
    witness.goes_on();
    affine(&daemon.connect(), 3, 3);
}

#[test]
fn five_hundred_connections_at_once_are_all_served() {
    raise_descriptor_limit();
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    // All hellos are on their way before the first welcome is read.
    let connections: Vec<Connection> = (0..500)
        .map(|_| {
            let connection = Connection::open(daemon.socket());
            connection.say(&hello("crowd"), &[]);
            connection
        })
        .collect();
    let sessions: Vec<Session> = connections
        .into_iter()
        .map(|connection| Session::welcomed(connection).unwrap())
        .collect();
    witness.goes_on();
    let mut ids: Vec<u64> = sessions.iter().map(|session| session.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    drop(sessions);
    witness.goes_on();

    let clients: Vec<Client> = std::thread::scope(|scope| {
        let crowd = || (0..25).map(|_| daemon.connect()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..20).map(|_| scope.spawn(crowd)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    for client in &clients {
        let buffer = client.alloc(64, Memory::Shared).unwrap();
        client
            .default_stream()
            .batch()
            .fill(&buffer, 9)
            .submit()
            .unwrap()
            .wait()
            .unwrap();
    }
    witness.goes_on();
}

#[test]
fn a_full_daemon_says_so_at_once_and_serves_again_when_somebody_leaves() {
    raise_descriptor_limit();
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let mut sessions = Vec::new();
    let refusal = loop {
        assert!(sessions.len() <= MAX_SESSIONS, "no limit");
        match Session::try_open(daemon.socket(), "one of many") {
            Ok(session) => sessions.push(session),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, Some(ErrorCode::DaemonFull));
    // The witness has one of them.
    let most = if nix::unistd::getuid().is_root() {
        MAX_SESSIONS
    } else {
        vkmps_protocol::limits::MAX_SESSIONS_PER_UID
    };
    assert_eq!(sessions.len(), most - 1);
    let begun = Instant::now();
    assert_eq!(
        daemon.try_connect("late").unwrap_err().code(),
        ErrorCode::DaemonFull
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    daemon.log().line(&["connection refused", "DaemonFull"]);
    witness.goes_on();
    drop(sessions);
    eventually("there is room again", || {
        daemon.try_connect("later").is_ok()
    });
}

#[test]
fn connections_that_say_nothing_take_nobodys_place() {
    let daemon = Daemon::start();
    let silent: Vec<_> = (0..300)
        .map(|_| Connection::open(daemon.socket()))
        .collect();
    let witness = Witness::of(&daemon);
    daemon.connect();
    drop(witness);
    // And they are not kept for ever.
    in_time("a silent connection is refused", PATIENCE, move || {
        assert_eq!(silent[0].verdict(), Some(ErrorCode::Timeout));
    });
}

fn raise_descriptor_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the hard limit is allowed");
}
