//! Buffers that their owner offers.

use nix::sys::signal::Signal;
use std::fs::Permissions;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use vkmps::{Client, Dispatch, ErrorCode, Grant, Memory, Ticket};
use vkmps_ipc::memory::Region;
use vkmps_protocol::command::{Encoder, binding};
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::program::Access;
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::Session;
use vkmps_tests::kernels::{affine, affine_over, module, program, read_words};
use vkmps_tests::patience::eventually;

#[test]
fn two_clients_work_on_the_same_bytes() {
    let daemon = Daemon::start();
    let (owner, user) = (daemon.connect(), daemon.connect());
    let own = owner.alloc_shareable(4096).unwrap();
    write_words(&own, &[1; 1024]);
    let ticket = own.offer_once(Grant::ReadWrite).unwrap();
    let attached = user.attach(&ticket.to_string().parse().unwrap()).unwrap();
    assert_eq!((attached.len(), attached.is_writable()), (4096, true));
    let twice = affine(&user, 2, 5);
    user.submit(affine_over(&twice, &attached))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(read_words(&own), [7; 1024]);
    // The other way round, by the host.
    write_words(&own, &[9; 1024]);
    assert_eq!(read_words(&attached), [9; 1024]);
    // It is one piece of memory, not two: freeing a handle takes nothing from the owner.
    drop(attached);
    assert_eq!(read_words(&own), [9; 1024]);
    assert_eq!(code(user.attach(&ticket)), ErrorCode::PermissionDenied);
}

#[test]
fn a_reader_computes_with_what_it_cannot_write() {
    let daemon = Daemon::start();
    let (owner, reader) = (daemon.connect(), daemon.connect());
    let (own, attached) = read_only(&owner, &reader, 1024);
    let zeros = reader.alloc(1024, Memory::Shared).unwrap();
    let sum = reader.alloc(1024, Memory::Shared).unwrap();
    let add = program(&reader, "vector_add");
    let dispatch = Dispatch::new(&add, [4, 1, 1])
        .push(&256_u32.to_le_bytes())
        .read(&attached)
        .read(&zeros)
        .write(&sum);
    reader.submit(dispatch).unwrap().wait().unwrap();
    assert_eq!(read_words(&sum), read_words(&own));
    let denied = ErrorCode::PermissionDenied;
    assert_eq!(code(attached.write(0, &[1])), denied);
    let mapping = attached.map().unwrap();
    assert_eq!(code(mapping.write(0, &[1])), denied);
    assert!(mapping.u32s().is_empty());
    let twice = affine(&reader, 2, 5);
    assert_eq!(code(reader.submit(affine_over(&twice, &attached))), denied);
    // A declaration that does not cover what the module does is found out before that.
    let lie = Dispatch::new(&twice, [4, 1, 1])
        .push(&256_u32.to_le_bytes())
        .read(&attached);
    assert_eq!(code(reader.submit(lie)), ErrorCode::BindingMismatch);
}

#[test]
fn a_reader_that_obeys_nothing_changes_no_byte() {
    let daemon = Daemon::start();
    let owner = daemon.connect();
    let own = owner.alloc_shareable(1024).unwrap();
    write_words(&own, &[3; 256]);
    let ticket = own.offer_once(Grant::ReadOnly).unwrap();
    let session = Session::open(&daemon, "reader");
    let (shared, file) = session.attach(&ticket);
    assert!(Region::map(&file, 0, 1024).is_err());
    assert!(nix::unistd::write(&file, &[1]).is_err());
    assert!(nix::unistd::ftruncate(&file, 0).is_err());
    let punch = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
        | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    assert!(nix::fcntl::fallocate(file.as_fd(), punch, 0, 1024).is_err());
    let private = session.buffer(1024);
    let (scale, _) = session.register(&module("affine"), "main").unwrap();
    let mut lane = session.lane(0);
    for (case, commands) in writes(scale, shared, private).into_iter().enumerate() {
        let outcome = lane.run(&commands);
        assert_eq!(outcome, Err(ErrorCode::PermissionDenied), "case {case}");
        lane.acknowledge();
    }
    let read = commands(|encoder| encoder.copy(shared, 0, private, 0, 1024));
    lane.run(&read).unwrap();
    assert_eq!(read_words(&own), [3; 256]);
}

#[test]
fn what_is_offered_to_a_user_is_for_that_user_only() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can be several users");
        return;
    }
    let daemon = Daemon::start();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(daemon.socket().parent().unwrap(), 0o711);
    open(daemon.socket(), 0o666);
    let as_user = |uid: u32, role: &[&str]| {
        ClientProcess::start_with(&daemon, role, |command| {
            std::os::unix::process::CommandExt::uid(command, uid);
        })
    };
    let owner = as_user(FRIEND + 2, &["owner", &FRIEND.to_string()]);
    let line = owner.log().line(&["ticket "]);
    let ticket = line.split_whitespace().last().unwrap();
    let mut friend = as_user(FRIEND, &["reader", ticket]);
    assert!(friend.await_exit().success());
    friend.log().line(&["read 1"]);
    friend.log().line(&["written Err(PermissionDenied)"]);
    friend.log().line(&["reopened Err(PermissionDenied)"]);
    for stranger in [FRIEND + 1, FRIEND + 2] {
        let mut stranger = as_user(stranger, &["reader", ticket]);
        assert!(stranger.await_exit().success());
        stranger.log().line(&["refused PermissionDenied"]);
    }
}

#[test]
fn it_is_revoked_when_its_owner_is_killed_and_nothing_of_it_is_left() {
    let daemon = Daemon::start();
    let user = daemon.connect();
    let scratch = user.alloc(1024, Memory::Shared).unwrap();
    let before = (
        daemon.process().descriptors().len(),
        daemon.engine().shared_mappings(),
    );
    let uid = nix::unistd::geteuid().as_raw();
    let owner = ClientProcess::start(&daemon, &["owner", &uid.to_string()]);
    let line = owner.log().line(&["ticket "]);
    let ticket: Ticket = line.split_whitespace().last().unwrap().parse().unwrap();
    let attached = user.attach(&ticket).unwrap();
    copy(&user, &attached, &scratch).unwrap();
    assert_eq!(read_words(&scratch), [0x0101_0101; 256]);
    owner.process().signal(Signal::SIGKILL);
    eventually("work with it is refused", || {
        copy(&user, &attached, &scratch).is_err()
    });
    let refused = copy(&user, &attached, &scratch);
    assert_eq!(code(refused), ErrorCode::InvalidHandle);
    eventually("its bytes are gone", || {
        let mut bytes = [1; 5000];
        attached.read(0, &mut bytes).unwrap();
        bytes.iter().all(|byte| *byte == 0)
    });
    assert_eq!(code(user.attach(&ticket)), ErrorCode::PermissionDenied);
    eventually("its descriptors and mappings are gone", || {
        let after = (
            daemon.process().descriptors().len(),
            daemon.engine().shared_mappings(),
        );
        after == before
    });
}

/// A shareable buffer of threes and a handle of another client that reads it.
fn read_only(owner: &Client, reader: &Client, bytes: u64) -> (vkmps::Buffer, vkmps::Buffer) {
    let own = owner.alloc_shareable(bytes).expect("memory");
    write_words(&own, &vec![3; usize::try_from(bytes / 4).expect("few")]);
    let ticket = own.offer_once(Grant::ReadOnly).expect("an offer");
    let attached = reader.attach(&ticket).expect("what was offered");
    assert!(!attached.is_writable());
    (own, attached)
}

/// Everything that writes.
fn writes(scale: ProgramId, shared: BufferId, private: BufferId) -> Vec<Encoder> {
    let run = |access| {
        commands(|encoder| {
            let data = [binding(0, shared, 0, 1024, access)];
            let words = 256_u32.to_le_bytes();
            let encoded = encoder.dispatch(scale, [4, 1, 1], [0; 3], &words, &data);
            encoded.expect("it is short");
        })
    };
    vec![
        run(Access::Write),
        run(Access::ReadWrite),
        commands(|encoder| encoder.fill(shared, 0, 1024, 7)),
        commands(|encoder| encoder.fill(shared, 0, 0, 7)),
        commands(|encoder| encoder.copy(private, 0, shared, 0, 4)),
        commands(|encoder| {
            encoder
                .update(shared, 0, &[1, 2, 3, 4])
                .expect("it is short")
        }),
    ]
}

fn commands(build: impl FnOnce(&mut Encoder)) -> Encoder {
    let mut encoder = Encoder::default();
    build(&mut encoder);
    encoder
}

fn copy(client: &Client, from: &vkmps::Buffer, to: &vkmps::Buffer) -> Result<(), vkmps::Error> {
    let stream = client.stream()?;
    let batch = stream.batch();
    let copied = batch.copy(from.slice(0, 1024), to.slice(0, 1024));
    copied.submit()?.wait()
}

fn write_words(buffer: &vkmps::Buffer, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    buffer.write(0, &bytes).expect("an own buffer");
}

fn code<T>(result: Result<T, vkmps::Error>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.code(),
    }
}

/// Nobody on this machine.
const FRIEND: u32 = 64_321;
