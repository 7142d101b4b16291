//! Compilers that die or hang.

use nix::sys::signal::Signal;
use vkmps::ErrorCode;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{Adder, affine, module};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};
use vkmps_tests::processes::Process;
use vkmps_tests::witness::Witness;

#[test]
fn a_compiler_killed_at_work_costs_the_owner_of_the_module_an_error_only() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    let mut crashed = 0;
    for attempt in 0..20_u32 {
        // A new one opens its device first: what holds a module is at work on it.
        let idle = daemon.compilers();
        idle.iter()
            .for_each(|compiler| compiler.signal(Signal::SIGKILL));
        eventually("idle compilers are gone", || {
            !idle.iter().any(|compiler| compiler.is_alive())
        });
        let owner = client.clone();
        let registering = std::thread::spawn(move || {
            owner
                .program(&module("affine"))
                .specialize(0, 1000 + attempt)
                .register()
                .map(drop)
        });
        eventually("a compiler is at work, or was", || {
            let compilers = daemon.compilers();
            let at_work = compilers.iter().find(|compiler| modules(**compiler) > 0);
            if let Some(compiler) = at_work {
                compiler.signal(Signal::SIGKILL);
            }
            at_work.is_some() || registering.is_finished()
        });
        let registered = in_time("the registration", PATIENCE, || registering.join().unwrap());
        // One that had just finished or had not begun costs nobody anything.
        if let Err(error) = registered {
            assert_eq!(error.code(), ErrorCode::CompileFailed, "{error}");
            let client = format!("client={} ", client.session());
            daemon
                .log()
                .line(&["program refused", "CompileFailed", &client]);
            crashed += 1;
        }
        witness.goes_on();
        if crashed == 3 {
            break;
        }
    }
    assert_eq!(crashed, 3, "no compiler was ever caught at work");
    affine(&client, 77, 7);
    Adder::new(&client, 100).unwrap().round(&client, 1).unwrap();
}

#[test]
fn a_compiler_killed_with_its_module_unread_costs_nobody_anything() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    for attempt in 0..10_u32 {
        // What is stopped reads nothing.
        let stopped = daemon.compilers();
        stopped
            .iter()
            .for_each(|compiler| compiler.signal(Signal::SIGSTOP));
        let kept = modules(daemon.process());
        let owner = client.clone();
        let registering = std::thread::spawn(move || {
            owner
                .program(&module("affine"))
                .specialize(0, 2000 + attempt)
                .register()
                .map(drop)
        });
        eventually("the daemon has the module, or a compiler", || {
            let busy = daemon.compilers().len() > stopped.len();
            busy || registering.is_finished() || modules(daemon.process()) > kept
        });
        stopped
            .iter()
            .for_each(|compiler| compiler.signal(Signal::SIGKILL));
        let registered = in_time("the registration", PATIENCE, || registering.join().unwrap());
        assert!(registered.is_ok(), "{registered:?}");
        witness.goes_on();
    }
}

#[test]
fn a_compiler_that_never_begins_costs_its_owner_time_only() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    let compilers = daemon.compilers();
    assert!(
        !compilers.is_empty(),
        "the witness's program was compiled a moment ago"
    );
    compilers
        .iter()
        .for_each(|compiler| compiler.signal(Signal::SIGSTOP));
    // Nobody has looked at the module, so that nothing can be said against it: another compiler gets it.
    affine(&client, 4711, 7);
    eventually("the compiler that hung is gone", || {
        !compilers.iter().any(|compiler| compiler.is_alive())
    });
    witness.goes_on();
}

/// Modules that it holds: a compiler while it works, the daemon those of all programs.
fn modules(process: Process) -> usize {
    let descriptors = process.descriptors();
    let of_module = |file: &&String| file.contains("vkmps-module");
    descriptors.iter().filter(of_module).count()
}
