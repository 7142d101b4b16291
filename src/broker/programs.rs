//! Programs of all clients, interned by content: compiled once, however many sessions register them.

use crate::compile_queue::CompileQueue;
use std::collections::{BTreeMap, HashMap, VecDeque};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::ToEngine;
use vkmps_protocol::handle::{ProgramHash, SessionId};
use vkmps_protocol::limits::MAX_INTERNED_PROGRAMS;
use vkmps_protocol::program::{Interface, Specialization};

/// All programs known, and the modules that nobody may compile again.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    entries: HashMap<ProgramHash, Program>,
    /// Compiled programs of no session, oldest first.
    idle: BTreeMap<u64, ProgramHash>,
    idle_bytes: u64,
    next_idle: u64,
    quarantine: VecDeque<Quarantined>,
    /// Modules that one compilation was too long for.
    late: VecDeque<ProgramHash>,
    pub(crate) queue: CompileQueue,
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) source: Source,
    pub(crate) interface: Interface,
    pub(crate) stage: Stage,
    /// Handles of all sessions that name it.
    references: usize,
    idle_key: Option<u64>,
    /// Engines that died while they worked on it.
    strikes: u32,
    /// Compilers that died before they took it.
    unread: u32,
}

/// What decides a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Entry point.
    pub entry: String,
    /// Length of the module, bytes.
    pub module_bytes: u64,
    /// Constants to specialize.
    pub specialization: Vec<Specialization>,
}

/// How far a program is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// A compiler has it or will get it.
    Compiling { waiters: Vec<SessionId> },
    /// The engine was asked for a pipeline.
    AtEngine { waiters: Vec<SessionId> },
    /// Dispatchable.
    Ready,
    /// Compiled, and no engine runs.
    Dormant,
}

#[derive(Debug)]
struct Quarantined {
    hash: ProgramHash,
    code: ErrorCode,
    text: String,
}

impl Programs {
    pub(crate) fn get(&self, hash: ProgramHash) -> Option<&Program> {
        self.entries.get(&hash)
    }

    pub(crate) fn get_mut(&mut self, hash: ProgramHash) -> Option<&mut Program> {
        self.entries.get_mut(&hash)
    }

    /// Takes a new program in, to be compiled.
    pub(crate) fn insert(&mut self, hash: ProgramHash, source: Source, waiter: SessionId) {
        let stage = Stage::Compiling {
            waiters: vec![waiter],
        };
        let program = Program {
            source,
            interface: Interface::default(),
            stage,
            references: 0,
            idle_key: None,
            strikes: 0,
            unread: 0,
        };
        self.entries.insert(hash, program);
    }

    pub(crate) fn remove(&mut self, hash: ProgramHash) -> Option<Program> {
        self.unidle(hash);
        self.entries.remove(&hash)
    }

    /// One more handle names the program.
    pub(crate) fn refer(&mut self, hash: ProgramHash) {
        if let Some(program) = self.entries.get_mut(&hash) {
            program.references += 1;
        }
        self.settle(hash);
    }

    /// One handle less; the last one leaves the program idle.
    pub(crate) fn unrefer(&mut self, hash: ProgramHash) {
        if let Some(program) = self.entries.get_mut(&hash) {
            program.references -= 1;
        }
        self.settle(hash);
    }

    /// Counts a compiled program that nobody names or waits for as idle, and any other as not.
    pub(crate) fn settle(&mut self, hash: ProgramHash) {
        let Some(program) = self.entries.get_mut(&hash) else {
            return;
        };
        let at_rest = matches!(program.stage, Stage::Ready | Stage::Dormant);
        if !at_rest || program.references > 0 {
            self.unidle(hash);
        } else if program.idle_key.is_none() {
            program.idle_key = Some(self.next_idle);
            self.idle.insert(self.next_idle, hash);
            self.idle_bytes += program.source.module_bytes;
            self.next_idle += 1;
        }
    }

    /// The idle program to give up next, while there are more than the daemon keeps.
    pub(crate) fn superfluous(&self) -> Option<ProgramHash> {
        let too_many = self.idle.len() > MAX_INTERNED_PROGRAMS || self.idle_bytes > MAX_IDLE_BYTES;
        too_many
            .then(|| self.idle.values().next().copied())
            .flatten()
    }

    /// A session waits no more. The hash comes back when its compilation is thereby pointless and has not begun.
    pub(crate) fn stop_waiting(
        &mut self,
        hash: ProgramHash,
        session: SessionId,
    ) -> Option<ProgramHash> {
        match &mut self.entries.get_mut(&hash)?.stage {
            Stage::Compiling { waiters } => {
                waiters.retain(|waiter| *waiter != session);
                (waiters.is_empty() && self.queue.cancel(hash)).then_some(hash)
            }
            Stage::AtEngine { waiters } => {
                waiters.retain(|waiter| *waiter != session);
                None
            }
            Stage::Ready | Stage::Dormant => None,
        }
    }

    /// What to give the next compiler when one died with the program unread, unless too many have.
    pub(crate) fn compile_again(&mut self, hash: ProgramHash) -> Option<Source> {
        let program = self.entries.get_mut(&hash)?;
        if !self.queue.is_running(hash) || program.unread >= MAX_UNREAD {
            return None;
        }
        program.unread += 1;
        Some(program.source.clone())
    }

    /// The engine is gone, and no session is left. Programs that two engines died on are returned and must go.
    pub(crate) fn engine_gone(&mut self, suspects: &[ProgramHash]) -> Vec<ProgramHash> {
        let mut condemned = Vec::new();
        let mut settled = Vec::new();
        for (hash, program) in &mut self.entries {
            if let Stage::Ready | Stage::AtEngine { .. } = program.stage {
                program.stage = Stage::Dormant;
                settled.push(*hash);
            }
            if suspects.contains(hash) {
                program.strikes += 1;
                if program.strikes >= MAX_STRIKES {
                    condemned.push(*hash);
                }
            }
        }
        for hash in settled {
            self.settle(hash);
        }
        condemned
    }

    /// Programs that a new engine must be told of.
    pub(crate) fn dormant(&self) -> Vec<ProgramHash> {
        let dormant = |(hash, program): (&ProgramHash, &Program)| {
            matches!(program.stage, Stage::Dormant).then_some(*hash)
        };
        self.entries.iter().filter_map(dormant).collect()
    }

    /// The request for the program's pipeline.
    pub(crate) fn pipeline_request(&self, hash: ProgramHash) -> Option<ToEngine> {
        let program = self.entries.get(&hash)?;
        Some(ToEngine::AddPipeline {
            hash,
            entry: program.source.entry.clone(),
            interface: program.interface.clone(),
        })
    }

    /// Never compile it again, as far as memory serves.
    pub(crate) fn quarantine(&mut self, hash: ProgramHash, code: ErrorCode, text: &str) {
        if self.quarantine.len() == MAX_QUARANTINED {
            self.quarantine.pop_front();
        }
        self.quarantine.push_back(Quarantined {
            hash,
            code,
            text: text.to_owned(),
        });
    }

    /// A compilation took too long. The machine may have been busy, so that only the second time is the module's
    /// fault, and the reason not to try it again for anybody.
    pub(crate) fn timed_out_again(&mut self, hash: ProgramHash) -> bool {
        if let Some(index) = self.late.iter().position(|late| *late == hash) {
            self.late.remove(index);
            return true;
        }
        if self.late.len() == MAX_QUARANTINED {
            self.late.pop_front();
        }
        self.late.push_back(hash);
        false
    }

    /// Why the program is quarantined, if it is.
    pub(crate) fn quarantined(&self, hash: ProgramHash) -> Option<(ErrorCode, String)> {
        let found = self.quarantine.iter().find(|entry| entry.hash == hash)?;
        Some((found.code, found.text.clone()))
    }

    /// # Panics
    /// If the bookkeeping contradicts itself; `references` counts the handles of all sessions.
    pub(crate) fn verify_invariants(&self, references: &HashMap<ProgramHash, usize>) {
        let mut idle_bytes = 0;
        for (hash, program) in &self.entries {
            assert_eq!(
                program.references,
                references.get(hash).copied().unwrap_or(0)
            );
            assert!(program.references == 0 || matches!(program.stage, Stage::Ready));
            let at_rest = matches!(program.stage, Stage::Ready | Stage::Dormant);
            assert_eq!(
                program.idle_key.is_some(),
                at_rest && program.references == 0
            );
            if let Some(key) = program.idle_key {
                assert_eq!(self.idle.get(&key), Some(hash));
                idle_bytes += program.source.module_bytes;
            }
            let compiling = matches!(program.stage, Stage::Compiling { .. });
            assert_eq!(compiling, self.queue.contains(*hash));
        }
        assert_eq!(self.idle_bytes, idle_bytes);
        assert!(
            references
                .keys()
                .all(|hash| self.entries.contains_key(hash))
        );
        assert!(
            self.idle
                .values()
                .all(|hash| self.entries.contains_key(hash))
        );
        self.queue.verify_invariants();
    }

    /// Sessions that wait for the program.
    pub(crate) fn waiters(&self, hash: ProgramHash) -> &[SessionId] {
        match self.entries.get(&hash).map(|program| &program.stage) {
            Some(Stage::Compiling { waiters } | Stage::AtEngine { waiters }) => waiters,
            _ => &[],
        }
    }

    fn unidle(&mut self, hash: ProgramHash) {
        let Some(program) = self.entries.get_mut(&hash) else {
            return;
        };
        if let Some(key) = program.idle_key.take() {
            self.idle.remove(&key);
            self.idle_bytes -= program.source.module_bytes;
        }
    }
}

/// Modules of programs that no session uses, bytes: they stand as memfds in the daemon.
const MAX_IDLE_BYTES: u64 = 256 << 20;
/// Modules remembered as deadly, and as many as slow.
const MAX_QUARANTINED: usize = 256;
/// Somebody may kill compilers at the wrong moment, or none works at all.
const MAX_UNREAD: u32 = 3;
/// An engine may die for other reasons while it makes a pipeline; twice is no accident.
const MAX_STRIKES: u32 = 2;
