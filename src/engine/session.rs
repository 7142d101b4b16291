//! A session in the engine: everything that its handles can resolve to.

use crate::job::Program;
use crate::ledger::Slot;
use crate::news::News;
use crate::scrub::Lease;
use crate::stream::Stream;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use vkmps_gpu::Memory;
use vkmps_ipc::ring::SessionRegion;
use vkmps_protocol::handle::{ChunkId, SessionId, Table};
use vkmps_protocol::limits::MAX_STREAMS;
use vkmps_protocol::sharing::Grant;
use vkmps_protocol::window::Window;
use vkmps_scheduler::ClientKey;

/// A range of a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Buffer {
    pub(crate) memory: Arc<Memory>,
    /// Names the memory in hazards.
    pub(crate) chunk: ChunkId,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// What the session may do with it.
    pub(crate) grant: Grant,
    /// Of a piece of a block; its memory holds it, too.
    pub(crate) _lease: Option<Arc<Lease>>,
}

/// What a session's handles stand for.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) chunks: HashMap<ChunkId, Arc<Memory>>,
    pub(crate) buffers: Table<Buffer>,
    pub(crate) programs: Table<Arc<Program>>,
}

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) slot: Slot,
    pub(crate) region: SessionRegion,
    pub(crate) doorbell: OwnedFd,
    /// Its place in the scheduler.
    pub(crate) client: ClientKey,
    pub(crate) objects: Objects,
    pub(crate) streams: Vec<Option<Box<Stream>>>,
    /// Jobs that are queued or in flight.
    pub(crate) jobs: usize,
    /// Chunks that the engine was asked for and that are not gone.
    pub(crate) chunks: usize,
    /// Bytes of submits that are not complete, over all streams.
    pub(crate) partial_bytes: usize,
    /// Bytes of the payloads of its jobs.
    pub(crate) queued_bytes: usize,
    pub(crate) counters: Counters,
    /// Whether the engine polls its ring; else it rings.
    pub(crate) hot: bool,
    /// Its streams with new records, as far as the engine has looked.
    pub(crate) news: News,
    /// Whether it stands in the engine's list of sessions with such streams.
    pub(crate) arrived: bool,
    /// Whether its client may poll for completions.
    pub(crate) may_poll: bool,
    /// When something last came or went.
    pub(crate) active: Duration,
    /// No more work is taken from it; it goes when nothing of it is left.
    pub(crate) closing: bool,
    pub(crate) refusals: Refusals,
    /// Streams with an index from here on take nothing.
    pub(crate) max_streams: u32,
    /// Jobs at one time.
    pub(crate) max_submits: u32,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        slot: Slot,
        region: SessionRegion,
        doorbell: OwnedFd,
        client: ClientKey,
    ) -> Self {
        Self {
            id,
            slot,
            region,
            doorbell,
            client,
            objects: Objects::default(),
            streams: (0..MAX_STREAMS).map(|_| None).collect(),
            jobs: 0,
            chunks: 0,
            partial_bytes: 0,
            queued_bytes: 0,
            counters: Counters::default(),
            hot: false,
            news: News::default(),
            arrived: false,
            may_poll: false,
            active: Duration::ZERO,
            closing: false,
            refusals: Refusals::default(),
            max_streams: u32::MAX,
            max_submits: u32::MAX,
        }
    }

    /// Whether it is closing and nothing of it is left: no job, and no memory.
    pub(crate) fn is_over(&self) -> bool {
        self.closing && self.jobs == 0 && self.chunks == 0
    }
}

/// What administrators see of a session's work; the ledger has it, where its meaning stands too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) dispatches: u64,
    pub(crate) device_time_ns: u64,
    /// Jobs, in other words.
    pub(crate) queued: u32,
    pub(crate) submits: u64,
    pub(crate) wait_ns: u64,
    pub(crate) slices: u64,
    pub(crate) preemptions: u64,
    pub(crate) recent: Window,
}

impl Counters {
    /// A job goes to the device after so long.
    pub(crate) fn waited(&mut self, wait: Duration) {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        self.submits += 1;
        self.wait_ns = self.wait_ns.saturating_add(wait_ns);
    }

    /// So much of the device's time was spent on its work by `now_ns`.
    pub(crate) fn charge(&mut self, time_ns: u64, now_ns: u64) {
        self.device_time_ns = self.device_time_ns.saturating_add(time_ns);
        self.recent.add(now_ns, time_ns);
    }
}

/// Limits how often refused submits are reported: a client must not flood the log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: Option<Duration>,
    suppressed: u32,
}

impl Refusals {
    /// How many went unreported, when this one may be reported.
    pub(crate) fn admit(&mut self, now: Duration) -> Option<u32> {
        if self
            .last
            .is_some_and(|last| now.saturating_sub(last) < REFUSAL_INTERVAL)
        {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);
