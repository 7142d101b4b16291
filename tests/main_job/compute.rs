//! Right results, whoever asks for them.

use nix::sys::signal::Signal;
use std::time::Duration;
use vkmps::{Access, Dispatch, Memory, Priority};
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{Adder, affine, affine_over, buffer_of, module, program, read_words};
use vkmps_tests::patience::in_time;

#[test]
fn a_vector_add_gives_the_sum_of_every_element() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    for elements in [1, 63, 64, 65, 10_000, 1 << 20] {
        let adder = Adder::new(&client, elements).unwrap();
        for round in 0..3 {
            adder.round(&client, round).unwrap();
        }
    }
    let device = client.device();
    assert!(
        !device.name.is_empty() && device.queues > 0 && device.max_groups[0] > 0,
        "{device:?}"
    );
}

#[test]
fn several_processes_compute_at_once_and_each_gets_its_own_right_results() {
    let daemon = Daemon::start();
    let mut clients: Vec<_> = (0..8)
        .map(|_| ClientProcess::start(&daemon, &["add", "30"]))
        .collect();
    for client in &mut clients {
        client.log().line(&["right"]);
        assert!(client.await_exit().success());
    }
    assert_eq!(
        daemon.engines().len(),
        1,
        "one device context for all of them"
    );
}

#[test]
fn specialization_constants_make_different_programs() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let defaults = client.program(&module("affine")).register().unwrap();
    let wide = client
        .program(&module("affine"))
        .specialize_bits(0, 6)
        .specialize(1, u32::MAX)
        .register()
        .unwrap();
    for (program, expected) in [(&defaults, 7), (&affine(&client, 5, 2), 37), (&wide, 41)] {
        let buffer = buffer_of(&client, Memory::Shared, &[7; 10]);
        client
            .submit(affine_over(program, &buffer))
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!(read_words(&buffer), vec![expected; 10]);
    }
}

#[test]
fn bindings_in_several_sets_arrays_and_uniform_buffers_find_their_place() {
    let daemon = Daemon::start();
    let client = daemon.connect();
    let sets = program(&client, "sets");
    assert_eq!(sets.interface().bindings.len(), 3, "{:?}", sets.interface());
    let one = buffer_of(&client, Memory::Shared, &[1; 64]);
    let two = buffer_of(&client, Memory::Shared, &[10; 128]);
    let (scale, out) = (
        buffer_of(&client, Memory::Shared, &[3, 0, 0, 0]),
        buffer_of(&client, Memory::Shared, &[0; 64]),
    );
    let dispatch = Dispatch::new(&sets, [1, 1, 1])
        .bind(1, 3, 1, two.slice(256, 256), Access::Read)
        .bind(1, 3, 0, &one, Access::Read)
        .bind(2, 0, 0, &scale, Access::Read)
        .bind(0, 5, 0, &out, Access::Write);
    client.submit(dispatch).unwrap().wait().unwrap();
    assert_eq!(read_words(&out), vec![31; 64]);
}

#[test]
fn a_program_that_the_daemon_knows_is_not_compiled_again() {
    let daemon = Daemon::start();
    let first = daemon.connect();
    let _program = program(&first, "vector_add");
    let compilers = daemon.compilers();
    assert!(
        !compilers.is_empty(),
        "the first registration needed a compiler"
    );
    // Whatever would need a compiler now waits for ever.
    compilers
        .iter()
        .for_each(|compiler| compiler.signal(Signal::SIGSTOP));
    let second = daemon.connect();
    let _same = in_time(
        "registering a known program",
        Duration::from_secs(5),
        move || program(&second, "vector_add"),
    );
    assert_eq!(daemon.compilers(), compilers);
    // Also when nobody uses it any more.
    drop((_program, _same, first));
    let third = daemon.connect();
    let _again = in_time(
        "registering it once more",
        Duration::from_secs(5),
        move || program(&third, "vector_add"),
    );
    assert_eq!(daemon.compilers(), compilers);
}

#[test]
fn priorities_are_granted() {
    let daemon = Daemon::start();
    for priority in [
        Priority::Low,
        Priority::Medium,
        Priority::High,
        Priority::Realtime,
    ] {
        let client = vkmps::Client::builder()
            .socket(daemon.socket())
            .priority(priority)
            .connect()
            .unwrap();
        let granted = if nix::unistd::getuid().is_root() {
            priority
        } else {
            priority.min(Priority::High)
        };
        assert_eq!(client.priority(), granted);
        Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
    }
}
