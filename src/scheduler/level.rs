//! Filling one level.

use crate::cost::{Costs, KindKey, alike};
use crate::stream::{Pending, Stream};
use crate::{Hazard, Order, Piece, StreamKey};

/// A level under construction.
#[derive(Debug)]
pub(crate) struct Builder {
    pieces: Vec<Piece>,
    launched: Vec<Launched>,
    room: Room,
    cost_ns: u64,
    /// Whether its jobs have one stage; decided by the first.
    plain: bool,
    /// Length of the jobs it takes, decided by the first.
    length_ns: u64,
    /// Its only job is to show how long it is.
    solo: bool,
    /// It was left empty because the next job is to be measured, and other queues are at work.
    wants_quiet: bool,
    /// Ranges of the stream that is being taken from.
    taken: Vec<Hazard>,
}

/// What a level may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) jobs: usize,
    /// Device time of it; half a job more at most.
    pub(crate) cost_ns: u64,
    pub(crate) measure: Measure,
}

/// Whether a job whose length is not known may have a level for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Not now.
    No,
    /// If it never was measured.
    Unknown,
    /// Also if it was, but long ago.
    Stale,
    /// The same, but only once nothing else runs.
    WhenQuiet,
}

/// A piece in flight and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launched {
    pub(crate) piece: Piece,
    pub(crate) stream: StreamKey,
    pub(crate) kind: KindKey,
    /// Units of the whole job.
    pub(crate) whole: u64,
    pub(crate) length_ns: u64,
    pub(crate) charged_ns: u64,
}

/// Whose work is being taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit<'a> {
    pub(crate) costs: &'a Costs,
    /// No more after so much of it.
    pub(crate) allowance_ns: u64,
    /// Longer jobs are cut; None: never.
    pub(crate) slice_ns: Option<u64>,
    /// Tells cut jobs that went on at once from those that were preempted.
    pub(crate) turn: u64,
}

impl Builder {
    /// An empty one, of lists that are.
    pub(crate) fn new(
        room: Room,
        pieces: Vec<Piece>,
        launched: Vec<Launched>,
        taken: Vec<Hazard>,
    ) -> Self {
        Self {
            pieces,
            launched,
            room,
            cost_ns: 0,
            plain: true,
            length_ns: 0,
            solo: false,
            wants_quiet: false,
            taken,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.solo
            || self.wants_quiet
            || self.pieces.len() >= self.room.jobs
            || self
                .cost_ns
                .saturating_add(self.cost_ns / (2 * self.pieces.len().max(1) as u64))
                > self.room.cost_ns
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether its only job is being measured.
    pub(crate) fn measures(&self) -> bool {
        self.solo
    }

    /// What the device will be busy with it, as far as is known, nanoseconds.
    pub(crate) fn cost_ns(&self) -> u64 {
        self.cost_ns
    }

    pub(crate) fn wants_quiet(&self) -> bool {
        self.wants_quiet
    }

    /// Holds no more than so much from now on.
    pub(crate) fn limit_cost(&mut self, cost_ns: u64) {
        self.room.cost_ns = cost_ns;
    }

    /// Takes jobs from the head of a stream while they fit and do not conflict; `serve` is told what each takes, and says
    /// what that is charged. The charges together.
    pub(crate) fn take(
        &mut self,
        key: StreamKey,
        stream: &mut Stream,
        visit: Visit<'_>,
        mut serve: impl FnMut(u64, u64) -> u64,
    ) -> Taken {
        self.taken.clear();
        let mut taken = Taken::default();
        while !self.is_full()
            && taken.pieces < STREAM_JOBS
            && (taken.pieces == 0 || taken.charged_ns <= visit.allowance_ns)
        {
            let Some(head) = stream.head().copied() else {
                break;
            };
            let conflict = taken.pieces > 0
                && head.order == Order::Automatic
                && stream
                    .head_hazards()
                    .any(|hazard| self.taken.iter().any(|other| hazard.conflicts(other)));
            if conflict || self.refuses_unmeasured(&head, visit.costs) {
                break;
            }
            let units = cut(&head, visit);
            let left = head.work.units - head.done;
            let predicted = visit.costs.predict(head.kind, units.unwrap_or(left));
            if !self.pieces.is_empty()
                && (self.plain != (head.stages == 1) || !alike(self.length_ns, predicted.length_ns))
            {
                break;
            }
            if self.pieces.is_empty() {
                (self.plain, self.length_ns) = (head.stages == 1, predicted.length_ns);
            }
            let piece = Piece {
                job: head.job,
                from: head.done,
                to: head.done + units.unwrap_or(left),
                preempted: head.done > 0 && stream.turn != visit.turn,
                last: units.is_none(),
            };
            let charged_ns = serve(predicted.length_ns, predicted.cost_ns);
            self.pieces.push(piece);
            self.launched.push(Launched {
                piece,
                stream: key,
                kind: head.kind,
                whole: head.work.units,
                length_ns: predicted.length_ns,
                charged_ns,
            });
            self.cost_ns = self.cost_ns.saturating_add(predicted.cost_ns);
            taken.charged_ns = taken.charged_ns.saturating_add(charged_ns);
            taken.pieces += 1;
            if units.is_some() {
                stream.cut(piece.to);
                break;
            }
            // Only a further job of the same stream can look at these.
            self.taken.extend(stream.head_hazards());
            stream.pop();
            taken.jobs += 1;
        }
        taken
    }

    /// Whether a job has no place here because it is to be measured. One that has it is the level's only one.
    fn refuses_unmeasured(&mut self, head: &Pending, costs: &Costs) -> bool {
        if self.room.measure == Measure::No {
            return false;
        }
        let left = head.work.units - head.done;
        let stale = self.room.measure != Measure::Unknown && costs.is_stale(head.kind, left);
        if !stale && costs.is_measured(head.kind) {
            return false;
        }
        if !self.is_empty() {
            return true;
        }
        match self.room.measure {
            Measure::WhenQuiet => self.wants_quiet = true,
            _ => self.solo = true,
        }
        self.wants_quiet
    }

    /// What went into it, maybe nothing, and the scratch.
    pub(crate) fn finish(self) -> (Vec<Piece>, Vec<Launched>, Vec<Hazard>) {
        (self.pieces, self.launched, self.taken)
    }
}

/// What one stream gave.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) pieces: usize,
    /// Jobs of which nothing is left.
    pub(crate) jobs: usize,
    pub(crate) charged_ns: u64,
}

/// Units of a job's next piece; None for all that is left.
fn cut(head: &Pending, visit: Visit<'_>) -> Option<u64> {
    let left = head.work.units - head.done;
    let slice_ns = visit.slice_ns.filter(|_| head.work.divisible)?;
    visit.costs.cut(head.kind, left, head.work.units, slice_ns)
}

/// Jobs that one stream adds to one level at most: bounds the comparison of ranges.
const STREAM_JOBS: usize = 16;
