//! Byte ranges and when they conflict.

/// A range of memory that a job touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hazard {
    /// Which memory; equal for ranges that can overlap.
    pub memory: u64,
    /// First byte.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// Whether it is written.
    pub write: bool,
}

impl Hazard {
    /// Conflicts with every range.
    pub const EVERYTHING: Hazard = Hazard {
        memory: u64::MAX,
        start: 0,
        end: u64::MAX,
        write: true,
    };

    /// Whether order between the two matters.
    pub fn conflicts(&self, other: &Hazard) -> bool {
        if *self == Self::EVERYTHING || *other == Self::EVERYTHING {
            return true;
        }
        let overlap = self.start < other.end && other.start < self.end;
        self.memory == other.memory && (self.write || other.write) && overlap
    }
}
