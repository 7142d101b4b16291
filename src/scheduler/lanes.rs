//! Which hardware queues are whose: the lanes of the priorities.

use std::ops::Range;
use vkmps_protocol::message::Priority;

/// The queues of each priority, of which the first ones are ranked highest by the driver. Every priority has one at least;
/// with few queues priorities share them. A lane that is idle may lend its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    queues: usize,
}

impl Lanes {
    /// The lanes of this many queues, at least 1.
    pub fn over(queues: usize) -> Self {
        assert!(queues >= 1);
        Self { queues }
    }

    /// All of them.
    pub fn queues(self) -> usize {
        self.queues
    }

    /// The queues that work of this priority goes to first.
    pub fn of(self, priority: Priority) -> Range<usize> {
        match (priority, self.queues) {
            (_, 1) => 0..1,
            (Priority::Realtime, _) | (Priority::High, 2) => 0..1,
            (Priority::High, _) => 1..2,
            (Priority::Low | Priority::Medium, 2) => 1..2,
            (Priority::Low | Priority::Medium, queues) => 2..queues,
        }
    }

    /// The lowest priority whose queue it is.
    pub(crate) fn home(self, queue: usize) -> Priority {
        let all = Priority::ALL.into_iter();
        let mut owners = all.filter(|priority| self.of(*priority).contains(&queue));
        owners.next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Priority; 4] = [
        Priority::Realtime,
        Priority::High,
        Priority::Medium,
        Priority::Low,
    ];

    #[test]
    fn every_priority_has_a_queue_and_every_queue_a_priority() {
        for queues in 1..=16 {
            let lanes = Lanes::over(queues);
            for priority in ALL {
                assert!(!lanes.of(priority).is_empty(), "{queues} {priority:?}");
            }
            for queue in 0..queues {
                assert!(ALL.iter().any(|one| lanes.of(*one).contains(&queue)));
            }
        }
    }

    #[test]
    fn a_lower_priority_never_has_a_queue_before_those_of_a_higher_one() {
        for queues in 1..=16 {
            let lanes = Lanes::over(queues);
            let firsts = ALL.map(|priority| lanes.of(priority).start);
            assert!(firsts.is_sorted(), "{queues}: {firsts:?}");
        }
    }

    #[test]
    fn from_three_queues_on_the_two_highest_priorities_have_one_each() {
        let lanes = Lanes::over(8);
        assert_eq!(
            ALL.map(|priority| lanes.of(priority)),
            [0..1, 1..2, 2..8, 2..8]
        );
        let lanes = Lanes::over(2);
        assert_eq!(
            ALL.map(|priority| lanes.of(priority)),
            [0..1, 0..1, 1..2, 1..2]
        );
    }
}
