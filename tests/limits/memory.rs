//! Memory and counts: exact, and nothing changes when they refuse.

use super::{configure, daemon, rule, shared};
use vkmps::{Buffer, Client, Error, ErrorCode, Limit, Memory, Scope};
use vkmps_tests::kernels::{Adder, LONG, busy, program};

const MIB: u64 = 1 << 20;

/// As many buffers as a client gets, and what it was told then.
fn all(client: &Client, bytes: u64) -> (Vec<Buffer>, Error) {
    let mut buffers = Vec::new();
    loop {
        match client.alloc(bytes, Memory::Shared) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => return (buffers, error),
        }
    }
}

#[test]
fn a_client_gets_all_of_its_limit_and_not_a_byte_more() {
    let daemon = daemon("[limits]\nmemory = \"10M\"\n");
    let client = daemon.connect();
    let (mut buffers, error) = all(&client, MIB);
    assert_eq!(buffers.len(), 10);
    assert_eq!(error.code(), ErrorCode::LimitReached);
    let excess = error.excess().expect("numbers");
    assert_eq!((excess.limit, excess.scope), (Limit::Memory, Scope::Client));
    assert_eq!(
        (excess.asked, excess.used, excess.most),
        (MIB, 10 * MIB, 10 * MIB)
    );
    assert_eq!(shared(&client), (10 * MIB, 10 * MIB));
    let refused = client.alloc(1, Memory::Shared).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    drop(buffers.pop());
    buffers.push(client.alloc(MIB, Memory::Shared).expect("what was freed"));
    daemon
        .log()
        .line(&["allocation refused", "10485760 of 10485760 bytes"]);
    // Another client has a limit of its own, and works.
    let other = daemon.connect();
    Adder::new(&other, 1000).unwrap().round(&other, 1).unwrap();
}

#[test]
fn a_user_s_limit_holds_exactly_for_clients_that_allocate_at_once() {
    let daemon = daemon(&rule("user-memory = \"8M\""));
    let clients: Vec<Client> = (0..8).map(|_| daemon.connect()).collect();
    let taken: Vec<Vec<Buffer>> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|client| scope.spawn(|| all(client, MIB / 16)))
            .collect();
        let ended = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        ended
            .map(|(buffers, error)| {
                let excess = error.excess().expect("numbers");
                assert_eq!((excess.scope, excess.used), (Scope::User, 8 * MIB));
                buffers
            })
            .collect()
    });
    assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 128);
    let used: u64 = clients.iter().map(|client| shared(client).0).sum();
    assert_eq!(used, 8 * MIB);
    drop(taken);
    drop(clients);
    let client = daemon.connect();
    let (buffers, _) = all(&client, MIB);
    assert_eq!(buffers.len(), 8, "what the dead had is there again");
}

#[test]
fn a_limit_below_what_is_in_use_takes_nothing_away_and_gives_nothing_more() {
    let daemon = daemon("");
    let client = daemon.connect();
    let mut buffers: Vec<Buffer> = (0..8)
        .map(|_| client.alloc(MIB, Memory::Shared).expect("no limit yet"))
        .collect();
    configure(&daemon, "[limits]\nmemory = \"4M\"\n");
    daemon
        .log()
        .line(&["limits changed to less than is in use", "memory"]);
    assert_eq!(shared(&client), (8 * MIB, 4 * MIB));
    let refused = client.alloc(1, Memory::Shared).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::LimitReached);
    buffers[7].write(0, &[7; 64]).expect("it is still there");
    buffers.truncate(3);
    buffers.push(
        client
            .alloc(MIB, Memory::Shared)
            .expect("there is room again"),
    );
    configure(&daemon, "");
    buffers.push(
        client
            .alloc(MIB, Memory::Shared)
            .expect("no limit any more"),
    );
}

#[test]
fn buffers_programs_and_streams_are_counted() {
    let daemon = daemon("[limits]\nbuffers = 3\nprograms = 1\nstreams = 2\n");
    let client = daemon.connect();
    let (buffers, error) = all(&client, 64);
    let excess = error.excess().expect("numbers");
    assert_eq!(
        (buffers.len(), excess.limit, excess.most),
        (3, Limit::Buffers, 3)
    );
    let _one = program(&client, "fma_loop");
    let module = vkmps_tests::kernels::module("affine");
    let error = client.program(&module).register().unwrap_err();
    assert_eq!(error.excess().expect("numbers").limit, Limit::Programs);
    let _stream = client.stream().expect("the default one and another");
    assert_eq!(client.stream().unwrap_err().code(), ErrorCode::LimitReached);
    let quota = client.quota().expect("a session");
    assert_eq!(
        (quota.buffers, quota.programs, quota.streams),
        ((3, 3), (1, 1), 2)
    );
}

#[test]
fn a_submit_beyond_the_limit_fails_and_the_others_are_done() {
    let daemon = daemon("[limits]\nsubmits = 2\n");
    let client = daemon.connect();
    let slow = program(&client, "fma_loop");
    let buffer = client.alloc(LONG, Memory::Shared).unwrap();
    let submissions: Vec<_> = (0..3)
        .map(|_| {
            client
                .submit(busy(&slow, &buffer))
                .expect("the ring has room")
        })
        .collect();
    let ends: Vec<_> = submissions
        .into_iter()
        .map(|it| it.wait().map_err(|e| e.code()))
        .collect();
    assert_eq!(ends[2], Err(ErrorCode::LimitReached));
    daemon.log().line(&["submit refused", "LimitReached"]);
    let small = client.alloc(64, Memory::Shared).unwrap();
    client
        .submit(busy(&slow, &small))
        .unwrap()
        .wait()
        .expect("there is room again");
}
