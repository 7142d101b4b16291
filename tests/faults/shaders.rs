//! Shaders that do what no shader should.

use std::fs;
use vkmps::{Dispatch, ErrorCode, Memory};
use vkmps_tests::binaries::workspace;
use vkmps_tests::daemon::{CONFIG, Daemon};
use vkmps_tests::folder::Folder;
use vkmps_tests::kernels::{Adder, read_words};
use vkmps_tests::witness::Witness;

#[test]
fn a_loop_without_end_is_an_error_for_its_owner_and_nothing_to_others() {
    // Well below the 65 535 iterations after which lavapipe leaves a loop by itself.
    let daemon = daemon_with_budget(5000);
    let witness = Witness::of(&daemon);
    let engine = daemon.engine();
    let owner = daemon.connect();
    for name in [
        "endless.plain",
        "endless.optimised",
        "endless_barrier.plain",
        "endless_barrier.optimised",
    ] {
        let path = workspace().join(format!("tests/rewriting/kernels/{name}.spv"));
        let module = fs::read(path).expect("a kernel of these tests");
        let endless = owner.program(&module).register().expect("it is valid");
        let buffer = owner.alloc(64 * 64 * 4, Memory::Shared).expect("memory");
        let run = owner.submit(Dispatch::new(&endless, [64, 1, 1]).read_write(&buffer));
        let over = run.expect("it can be submitted").wait();
        let error = over.expect_err("it has no end");
        assert_eq!(error.code(), ErrorCode::LoopBudget, "{name}");
        witness.goes_on();
        // Its owner's stream has failed and can be used again.
        let adder = Adder::new(&owner, 1000).expect("memory for vectors");
        adder.round(&owner, 1).expect("a right result");
    }
    assert_eq!(daemon.engines(), [engine], "the engine lived through it");
}

#[test]
fn a_budget_is_per_submit_and_those_of_others_are_untouched() {
    let daemon = daemon_with_budget(300);
    let client = daemon.connect();
    let program = client
        .program(&vkmps_tests::kernels::module("fma_loop"))
        .register()
        .expect("a good module");
    let buffer = client.alloc(4096, Memory::Shared).expect("memory");
    let run = |iterations: u32| {
        Dispatch::new(&program, [4, 1, 1])
            .push(&iterations.to_le_bytes())
            .read_write(&buffer)
    };
    let streams = [(); 2].map(|()| client.stream().expect("a stream"));
    for _ in 0..20 {
        let submitted = [
            streams[0].submit(run(300)),
            streams[1].submit(run(301)),
            streams[0].submit(run(10)),
        ];
        let over = submitted.map(|run| run.expect("it can be submitted").wait());
        assert!(over[0].is_ok() && over[2].is_ok(), "{over:?}");
        let error = over[1].as_ref().expect_err("one iteration too many");
        assert_eq!(error.code(), ErrorCode::LoopBudget);
    }
    assert_eq!(read_words(&buffer).len(), 1024);
}

fn daemon_with_budget(iterations: u32) -> Daemon {
    let folder = Folder::new();
    let config = format!("[device]\nloop-budget = {iterations}\n");
    fs::write(folder.join(CONFIG), config).expect("the folder is ours");
    let mut daemon = Daemon::launch(folder, |_| ());
    daemon.await_service();
    daemon
}
