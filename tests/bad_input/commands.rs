//! Commands that break a rule of the device or of handles.

use vkmps::ErrorCode;
use vkmps_protocol::command::{Binding, Encoder, binding};
use vkmps_protocol::handle::{BufferId, ProgramId};
use vkmps_protocol::program::Access;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::Session;
use vkmps_tests::kernels::module;
use vkmps_tests::witness::Witness;
use zerocopy::IntoBytes;

#[test]
fn commands_that_break_a_rule_fail_alone_and_poison_their_stream_until_acknowledged() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "rules");
    let buffers: Vec<BufferId> = (0..3).map(|_| session.buffer(1024)).collect();
    let (add, _) = session.register(&module("vector_add"), "main").unwrap();
    let mut lane = session.lane(3);
    for (case, (broken, expected)) in broken_rules(add, [buffers[0], buffers[1], buffers[2]])
        .into_iter()
        .enumerate()
    {
        let (first, second) = (
            lane.submit(&broken),
            lane.submit(&commands(Encoder::barrier)),
        );
        assert_eq!(lane.outcome(first), Err(expected), "case {case}");
        assert!(
            lane.outcome(second).is_err(),
            "case {case}: what came behind it ran"
        );
        lane.acknowledge();
        lane.run(&vector_add(add, &buffers)).unwrap();
    }
    let nothing = commands(|encoder| {
        encoder.copy(buffers[0], 1024, buffers[1], 0, 0);
        encoder.fill(buffers[0], 8, 0, 1);
        encoder
            .dispatch(add, [0, 1, 1], [0; 3], &[0; 4], &bindings(&buffers))
            .expect("it is short");
    });
    lane.run(&nothing).unwrap();
    lane.run(&commands(|_| {})).unwrap();
    daemon
        .log()
        .line(&["submit refused", &format!("client={} ", session.id)]);
    witness.goes_on();
}

/// A dispatch of `vector_add` over buffers of 1024 bytes.
fn vector_add(add: ProgramId, buffers: &[BufferId]) -> Encoder {
    commands(|encoder| {
        encoder
            .dispatch(
                add,
                [4, 1, 1],
                [0; 3],
                &256_u32.to_le_bytes(),
                &bindings(buffers),
            )
            .expect("it is short")
    })
}

fn bindings(buffers: &[BufferId]) -> [Binding; 3] {
    [
        binding(0, buffers[0], 0, 1024, Access::Read),
        binding(1, buffers[1], 0, 1024, Access::Read),
        binding(2, buffers[2], 0, 1024, Access::Write),
    ]
}

fn broken_rules(add: ProgramId, buffers: [BufferId; 3]) -> Vec<(Encoder, ErrorCode)> {
    let mut cases = Vec::new();
    let right = bindings(&buffers);
    let [one, two, _] = buffers;
    let mut dispatch = |program, groups, base, push: &[u8], bindings: &[Binding], expected| {
        let built = commands(|encoder| {
            encoder
                .dispatch(program, groups, base, push, bindings)
                .expect("it is short")
        });
        cases.push((built, expected));
    };
    let (n, once, none) = (256_u32.to_le_bytes(), [1; 3], [0; 3]);
    dispatch(
        ProgramId(0),
        once,
        none,
        &n,
        &right,
        ErrorCode::InvalidHandle,
    );
    dispatch(
        ProgramId(u64::MAX),
        once,
        none,
        &n,
        &right,
        ErrorCode::InvalidHandle,
    );
    for push in [&[][..], &n[..3], &[0; 8], &[0; 256]] {
        dispatch(
            add,
            once,
            none,
            push,
            &right,
            ErrorCode::PushConstantMismatch,
        );
    }
    for groups in [
        [u32::MAX, 1, 1],
        [1, u32::MAX, 1],
        [1, 1, u32::MAX],
        [u32::MAX; 3],
        [1, 1 << 31, 0],
    ] {
        dispatch(add, groups, none, &n, &right, ErrorCode::GroupCount);
    }
    for base in [[u32::MAX, 0, 0], [0, u32::MAX, 0], [0, 0, u32::MAX]] {
        dispatch(add, once, base, &n, &right, ErrorCode::GroupCount);
    }
    let twice = [right[0], right[0], right[2]];
    for wrong in [&right[..0], &right[..2], &[right[0]; 32], &twice] {
        dispatch(add, once, none, &n, wrong, ErrorCode::BindingMismatch);
    }
    let changes: [Change<'_>; 14] = [
        (&|binding| binding.set = 1, ErrorCode::BindingMismatch),
        (
            &|binding| binding.set = u16::MAX,
            ErrorCode::BindingMismatch,
        ),
        (&|binding| binding.binding = 3, ErrorCode::BindingMismatch),
        (&|binding| binding.element = 1, ErrorCode::BindingMismatch),
        (&|binding| binding.access = 0, ErrorCode::BindingMismatch),
        (&|binding| binding.access = 4, ErrorCode::BindingMismatch),
        (
            &|binding| binding.access = Access::Read.number(),
            ErrorCode::BindingMismatch,
        ),
        (&|binding| binding.buffer = 0, ErrorCode::InvalidHandle),
        (
            &|binding| binding.buffer = u64::MAX,
            ErrorCode::InvalidHandle,
        ),
        (
            &|binding| binding.offset = u64::MAX - 1023,
            ErrorCode::OutOfRange,
        ),
        (&|binding| binding.range = u64::MAX, ErrorCode::OutOfRange),
        (
            &|binding| (binding.offset, binding.range) = (512, 513),
            ErrorCode::OutOfRange,
        ),
        (&|binding| binding.range = 0, ErrorCode::OutOfRange),
        (
            &|binding| (binding.offset, binding.range) = (2, 512),
            ErrorCode::InvalidArgument,
        ),
    ];
    for (change, expected) in changes {
        let mut wrong = right;
        change(&mut wrong[2]);
        dispatch(add, once, none, &n, &wrong, expected);
    }
    let mut transfer =
        |write: &dyn Fn(&mut Encoder), expected| cases.push((commands(write), expected));
    for (from, to, bytes) in [
        (u64::MAX, 0, 2),
        (0, u64::MAX, 2),
        (0, 0, u64::MAX),
        (1000, 0, 25),
        (0, 1025, 0),
    ] {
        transfer(
            &|encoder| encoder.copy(one, from, two, to, bytes),
            ErrorCode::OutOfRange,
        );
    }
    transfer(
        &|encoder| encoder.copy(one, 0, one, 8, 16),
        ErrorCode::InvalidArgument,
    );
    transfer(
        &|encoder| encoder.copy(BufferId(0), 0, one, 0, 4),
        ErrorCode::InvalidHandle,
    );
    transfer(
        &|encoder| encoder.copy(one, 0, BufferId(0), 0, 4),
        ErrorCode::InvalidHandle,
    );
    for (offset, bytes) in [(u64::MAX - 3, 8), (0, u64::MAX - 3), (1024, 4), (512, 516)] {
        transfer(
            &|encoder| encoder.fill(one, offset, bytes, 0),
            ErrorCode::OutOfRange,
        );
    }
    for (offset, bytes) in [(2, 4), (0, 6), (1, 1)] {
        transfer(
            &|encoder| encoder.fill(one, offset, bytes, 0),
            ErrorCode::InvalidArgument,
        );
    }
    transfer(
        &|encoder| encoder.update(one, 1022, &[0; 4]).expect("it is short"),
        ErrorCode::OutOfRange,
    );
    transfer(
        &|encoder| encoder.update(one, 0, &[0; 3]).expect("it is short"),
        ErrorCode::InvalidArgument,
    );
    // What came before the broken command in its submit counts as little.
    transfer(
        &|encoder| {
            encoder.fill(one, 0, 4, 1);
            encoder.fill(one, 4096, 4, 1);
        },
        ErrorCode::OutOfRange,
    );
    cases
}

/// Commands as a list.
pub(crate) fn commands(write: impl FnOnce(&mut Encoder)) -> Encoder {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    assert_eq!(encoder.bytes().as_bytes().len() % 8, 0);
    encoder
}

/// What is done to a right binding, and what comes of it.
type Change<'a> = (&'a dyn Fn(&mut Binding), ErrorCode);
