//! Random operations, answers in random order, random failures.

use super::world::{DEVICE_BYTES, World, config, hash_of, register};
use crate::*;
use proptest::prelude::*;
use vkmps_protocol::DecodeError;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::handle::{BufferId, ProgramId};

#[derive(Debug, Clone, Copy)]
enum Op {
    Connect(u32),
    Hello(usize),
    Allocate(usize, u64, MemoryClass),
    Free(usize, usize),
    Register(usize, u8),
    Release(usize, usize),
    Garbage(usize),
    Close(usize),
    Stall(usize),
    Work(usize),
    Fail(usize),
    StartEngine,
    EngineCannotStart,
    KillEngine(u8),
    Fault(usize),
    Wait(u64),
    SetPriority(usize, Priority),
    Terminate(usize),
    SetAdmission(Admission),
    Configure(Priority, usize, usize),
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    let class = prop_oneof![Just(MemoryClass::Shared), Just(MemoryClass::Device)];
    let bytes = prop_oneof![
        6 => 0..100_000u64,
        3 => 0..64u64 << 20,
        1 => prop_oneof![Just(u64::MAX), Just(u64::MAX - 300), Just(1 << 60), Just(DEVICE_BYTES)],
    ];
    let client = 0..12usize;
    let priority = prop_oneof![
        Just(Priority::Low),
        Just(Priority::Medium),
        Just(Priority::High),
        Just(Priority::Realtime),
    ];
    let limits = (priority.clone(), 0..16usize, 0..16usize);
    prop_oneof![
        4 => (1000..1003u32).prop_map(Op::Connect),
        6 => client.clone().prop_map(Op::Hello),
        8 => (client.clone(), bytes, class).prop_map(|(c, b, m)| Op::Allocate(c, b, m)),
        5 => (client.clone(), 0..8usize).prop_map(|(c, b)| Op::Free(c, b)),
        6 => (client.clone(), 0..6u8).prop_map(|(c, p)| Op::Register(c, p)),
        3 => (client.clone(), 0..4usize).prop_map(|(c, p)| Op::Release(c, p)),
        1 => client.clone().prop_map(Op::Garbage),
        2 => client.clone().prop_map(Op::Close),
        1 => client.clone().prop_map(Op::Stall),
        24 => (0..20usize).prop_map(Op::Work),
        2 => (0..20usize).prop_map(Op::Fail),
        3 => Just(Op::StartEngine),
        1 => Just(Op::EngineCannotStart),
        1 => (0..6u8).prop_map(Op::KillEngine),
        1 => client.clone().prop_map(Op::Fault),
        1 => (1..11u64).prop_map(Op::Wait),
        3 => (client.clone(), priority).prop_map(|(c, p)| Op::SetPriority(c, p)),
        1 => client.prop_map(Op::Terminate),
        1 => prop_oneof![1 => Just(Admission::Closed), 3 => Just(Admission::Open)].prop_map(Op::SetAdmission),
        1 => limits.prop_map(|(p, all, uid)| Op::Configure(p, all, uid)),
        1 => prop_oneof![99 => Just(Op::StartEngine), 1 => Just(Op::Stop)],
    ]
}

impl World {
    fn apply(&mut self, op: Op) {
        let conn = match op {
            Op::Hello(n) | Op::Garbage(n) | Op::Close(n) | Op::Stall(n) | Op::Fault(n) => {
                self.nth(n)
            }
            Op::SetPriority(n, _) | Op::Terminate(n) => self.nth(n),
            Op::Allocate(n, ..) | Op::Free(n, _) | Op::Register(n, _) | Op::Release(n, _) => {
                self.nth(n)
            }
            _ => Some(ConnectionId(0)),
        };
        let Some(conn) = conn else { return };
        match op {
            Op::Connect(uid) => drop(self.connect(uid)),
            Op::Hello(_) => self.hello(conn),
            Op::Allocate(_, bytes, class) => {
                self.ask(conn, ClientMessage::AllocateBuffer { bytes, class });
            }
            Op::Free(_, which) => {
                let Some(link) = self.links.get(&conn).filter(|link| !link.awaiting) else {
                    return;
                };
                // Beyond the own ones: a handle that another session has, or nobody.
                let own = link.buffers.iter().nth(which).copied();
                let buffer = own.unwrap_or(BufferId(u64::MAX));
                let was_own = link.buffers.contains(&buffer);
                self.ask(conn, ClientMessage::FreeBuffer { buffer });
                if let Some(link) = self.links.get(&conn) {
                    assert_eq!(was_own, link.last == Some(DaemonMessage::Done));
                }
            }
            Op::Register(_, which) => self.ask(conn, register(which)),
            Op::Release(_, which) => {
                let Some(link) = self.links.get(&conn).filter(|link| !link.awaiting) else {
                    return;
                };
                let own = link.programs.iter().nth(which).copied();
                let program = own.unwrap_or(ProgramId(7 << 32));
                let was_own = link.programs.contains(&program);
                self.ask(conn, ClientMessage::ReleaseProgram { program });
                if let Some(link) = self.links.get(&conn) {
                    assert_eq!(was_own, link.last == Some(DaemonMessage::Done));
                }
            }
            Op::Garbage(_) => {
                self.input(Input::BadMessage {
                    conn,
                    error: DecodeError::Malformed(3),
                });
                assert!(!self.links.contains_key(&conn));
            }
            Op::Close(_) => self.close(conn),
            Op::Stall(_) => self.input(Input::ConnectionStalled { conn }),
            Op::Work(index) => self.work(index, true),
            Op::Fail(index) => self.work(index, false),
            Op::StartEngine => {
                if !self.exited {
                    self.start_engine();
                }
            }
            Op::EngineCannotStart => {
                if self.engine.is_none() {
                    let text = "no device".to_owned();
                    self.input(Input::Engine(FromEngine::StartFailed { text }));
                }
            }
            Op::KillEngine(which) => {
                let suspect = hash_of(&Source {
                    entry: format!("main{which}"),
                    module_bytes: 0,
                    specialization: Vec::new(),
                });
                self.kill_engine(&[suspect]);
            }
            Op::Fault(_) => {
                if let Some(session) = self.links[&conn].session
                    && self.engine.is_some()
                {
                    let text = "bad ring".to_owned();
                    self.input(Input::Engine(FromEngine::SessionFault { session, text }));
                    assert!(!self.links.contains_key(&conn));
                }
            }
            Op::Wait(seconds) => {
                self.now += Duration::from_secs(seconds);
                if self
                    .broker
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= self.now)
                {
                    self.input(Input::Tick);
                }
                assert!(
                    self.broker
                        .next_deadline()
                        .is_none_or(|deadline| deadline > self.now)
                );
            }
            Op::SetPriority(_, priority) => {
                // Who has no session yet, or none any more, is nobody to the broker.
                let session = self.links[&conn].session.unwrap_or(SessionId(1));
                self.input(Input::SetPriority { session, priority });
                let seen = self.broker.session(session).map(|view| view.priority);
                assert!(seen.is_none_or(|seen| seen == priority));
            }
            Op::Terminate(_) => {
                let session = self.links[&conn].session.unwrap_or(SessionId(1));
                self.input(Input::Terminate { session });
                assert!(self.broker.session(session).is_none());
            }
            Op::SetAdmission(admission) => {
                self.input(Input::SetAdmission(admission));
                assert_eq!(self.broker.admission(), admission);
            }
            Op::Configure(max_priority, max_sessions, max_sessions_per_uid) => {
                let lowers = max_priority < self.broker.config.max_priority;
                self.input(Input::Configure(Config {
                    max_priority,
                    max_sessions,
                    max_sessions_per_uid,
                    ..config()
                }));
                let within = |view: SessionView<'_>| view.priority <= max_priority;
                assert!(!lowers || self.broker.sessions().all(within));
            }
            Op::Stop => {
                self.input(Input::Stop);
                assert!(self.broker.leaving != Leaving::No);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_balance_and_nothing_is_left(ops in prop::collection::vec(op(), 0..250)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        while let Some(conn) = world.nth(0) {
            world.close(conn);
        }
        world.work_off();
        prop_assert!(world.broker.sessions.is_empty() && world.broker.connections.is_empty());
        prop_assert_eq!(world.broker.budget.device.used_bytes, 0);
        prop_assert_eq!(world.broker.budget.shared.used_bytes, 0);
        prop_assert_eq!(world.broker.budget.chunks.used, 0);
        prop_assert_eq!(world.broker.free_slots.len(), MAX_SESSIONS);
        for hash in &world.kept {
            let program = world.broker.programs.get(*hash);
            prop_assert!(program.is_some(), "the daemon keeps a program that the broker forgot");
        }
    }
}
