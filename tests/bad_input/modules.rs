//! SPIR-V that is none.

use crate::noise::{noise, random};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vkmps::ErrorCode;
use vkmps_ipc::memory::memfd_with;
use vkmps_protocol::limits::MAX_MODULE_BYTES;
use vkmps_protocol::message::{ClientMessage, DaemonMessage};
use vkmps_tests::daemon::Daemon;
use vkmps_tests::hostile::{Session, registration, specialized_registration};
use vkmps_tests::kernels::module;
use vkmps_tests::witness::Witness;

#[test]
fn modules_that_are_none_are_refused_with_the_reason() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "modules");
    let good = module("vector_add");
    let words = good.len() / 4;
    let mut bad: Vec<Vec<u8>> = [1_usize, 5, 64, 1000]
        .map(|count| noise(count as u64, count * 4))
        .into();
    // With a proper header in front.
    bad.extend(
        [64_usize, 400].map(|count| [&good[..20], &noise(count as u64, count * 4)[..]].concat()),
    );
    bad.extend([1, 4, 5, 6, 20, words / 2, words - 1].map(|length| good[..length * 4].to_vec()));
    bad.push(
        good.chunks(4)
            .flat_map(|word| word.iter().rev().copied().collect::<Vec<u8>>())
            .collect(),
    );
    bad.push(vec![0; 4096]);
    bad.push(vec![0xff; 4096]);
    bad.push([&good[..], &[0; 4]].concat());
    // An id bound of 4 billion, a version of the future.
    bad.push(with_word(&good, 3, u32::MAX));
    bad.push(with_word(&good, 1, 0x00ff_0000));
    for (case, module) in bad.iter().enumerate() {
        let refusal = session.register(module, "main").map(|_| ()).unwrap_err();
        assert_eq!(
            refusal,
            ErrorCode::InvalidModule,
            "case {case}, {} bytes",
            module.len()
        );
    }
    for entry in ["", "Main", "mai", "main\0", "görl", &"m".repeat(128)] {
        let refusal = session.register(&good, entry).map(|_| ()).unwrap_err();
        assert_eq!(refusal, ErrorCode::InvalidModule, "entry point {entry:?}");
    }
    assert_eq!(
        session
            .register(&good, &"m".repeat(129))
            .map(|_| ())
            .unwrap_err(),
        ErrorCode::LimitReached
    );
    daemon.log().line(&[
        "program refused",
        &format!("client={} ", session.id),
        "InvalidModule",
    ]);
    session.register(&good, "main").unwrap();
    witness.goes_on();
}

#[test]
fn a_valid_module_with_any_word_changed_is_compiled_or_refused() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "mutations");
    let good = module("affine");
    let mut refused = 0;
    for seed in 0..60_u64 {
        let at = 5 + usize::try_from(random(seed) % (good.len() as u64 / 4 - 5)).unwrap();
        let value = if seed % 2 == 0 {
            word(&good, at) ^ (1 << (seed % 32))
        } else {
            u32::try_from(random(seed) >> 32).unwrap()
        };
        match session.register(&with_word(&good, at, value), "main") {
            Ok(_) => {}
            Err(ErrorCode::InvalidModule | ErrorCode::CompileFailed) => refused += 1,
            Err(other) => panic!("word {at} as {value:#x}: {other:?}"),
        }
    }
    assert!(
        refused > 20,
        "only {refused} of 60 broken modules were refused"
    );
    witness.goes_on();
}

#[test]
fn module_lengths_that_are_absurd_or_untrue_are_refused_at_once() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "lengths");
    let good = module("noop");
    let file = memfd_with("module", &good).unwrap();
    let cases = [
        (0, ErrorCode::InvalidModule),
        (3, ErrorCode::InvalidModule),
        (281, ErrorCode::InvalidModule),
        (284, ErrorCode::InvalidModule),
        (MAX_MODULE_BYTES, ErrorCode::InvalidModule),
        (MAX_MODULE_BYTES + 4, ErrorCode::LimitReached),
        (1 << 40, ErrorCode::LimitReached),
        (u64::MAX - 3, ErrorCode::LimitReached),
    ];
    for (bytes, expected) in cases {
        let begun = Instant::now();
        assert_eq!(
            session.refused(&registration(bytes, "main"), &[file.as_fd()]),
            expected,
            "{bytes} bytes"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{bytes} bytes took {:?}",
            begun.elapsed()
        );
    }
    // Longer than announced: what was announced counts.
    let longer = memfd_with("module", &[&good[..], &[7; 64]].concat()).unwrap();
    let answer = session.ask(&registration(good.len() as u64, "main"), &[longer.as_fd()]);
    assert!(
        matches!(answer, DaemonMessage::ProgramReady { .. }),
        "{answer:?}"
    );
    let constants = (0..65)
        .map(|id| vkmps_protocol::program::Specialization { id, value: 0 })
        .collect();
    let message = ClientMessage::RegisterProgram {
        entry: "main".into(),
        module_bytes: 280,
        specialization: constants,
    };
    assert_eq!(
        session.refused(&message, &[file.as_fd()]),
        ErrorCode::LimitReached
    );
    witness.goes_on();
}

#[test]
fn a_module_that_changes_or_shrinks_while_it_is_read_is_whole_or_refused() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let session = Session::open(&daemon, "shifty");
    let good = module("affine");
    let file = memfd_create(c"shifty", MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let length = i64::try_from(good.len()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                match round % 3 {
                    0 => nix::unistd::ftruncate(&file, 0).unwrap(),
                    1 => nix::unistd::ftruncate(&file, length).unwrap(),
                    _ => {}
                }
                let noise = noise(round, 64);
                let at = i64::try_from(random(round) % good.len() as u64).unwrap();
                let _ = nix::sys::uio::pwrite(&file, &noise, at);
                let _ = nix::sys::uio::pwrite(&file, &good, 0);
            }
        });
        for value in 0..60 {
            // Another constant each time, so that no answer comes from what is known already.
            match session.ask(
                &specialized_registration(good.len() as u64, "main", 0, value),
                &[file.as_fd()],
            ) {
                DaemonMessage::ProgramReady { .. } => {}
                DaemonMessage::Failed {
                    code: ErrorCode::InvalidModule | ErrorCode::CompileFailed,
                    ..
                } => {}
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    session.register(&good, "main").unwrap();
    witness.goes_on();
}

fn word(module: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(module[at * 4..at * 4 + 4].try_into().expect("four bytes"))
}

fn with_word(module: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut changed = module.to_vec();
    changed[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
    changed
}
