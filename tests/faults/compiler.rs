//! Compilers that die or hang.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use vkmps::ErrorCode;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::kernels::{Adder, affine, module};
use vkmps_tests::patience::{PATIENCE, eventually, in_time};
use vkmps_tests::witness::Witness;

#[test]
fn a_compiler_killed_at_work_costs_the_owner_of_the_module_an_error_only() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let client = daemon.connect();
    let mut crashed = 0;
    for attempt in 0..20_u32 {
        // Stopped compilers have not finished when they are killed.
        daemon
            .compilers()
            .iter()
            .for_each(|compiler| compiler.signal(Signal::SIGSTOP));
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
            compilers
                .iter()
                .for_each(|compiler| compiler.signal(Signal::SIGKILL));
            !compilers.is_empty() || registering.is_finished()
        });
        let registered = in_time("the registration", PATIENCE, || registering.join().unwrap());
        // One killed between two modules, or before it was given its first, says nothing about the module and costs
        // nobody anything: the next compiler takes it.
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
fn a_module_whose_compilation_never_ends_costs_its_owner_a_timeout_only() {
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
    let begun = Instant::now();
    let error = client
        .program(&module("affine"))
        .specialize(0, 4711)
        .register()
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::CompileTimeout, "{error}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    daemon.log().line(&[
        "program refused",
        "CompileTimeout",
        &format!("client={} ", client.session()),
    ]);
    eventually("the compiler that hung is gone", || {
        !compilers.iter().any(|compiler| compiler.is_alive())
    });
    // The same module is not tried again, others are compiled.
    let begun = Instant::now();
    let error = client
        .program(&module("affine"))
        .specialize(0, 4711)
        .register()
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::CompileTimeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    affine(&client, 77, 7);
    witness.goes_on();
}
