//! The word of a session that says in which lane its work runs.

use crate::ring::SessionRegion;
use std::sync::atomic::Ordering;
use vkmps_protocol::message::Priority;
use vkmps_protocol::ring::session;

impl SessionRegion {
    /// Says in which lane the session's work runs (daemon).
    pub fn set_lane(&self, priority: Priority, demoted: bool) {
        let mark = if demoted { session::DEMOTED } else { 0 };
        self.0
            .u32(session::LANE)
            .store((1 + priority as u32) | mark, Ordering::Release);
    }

    /// The lane of the session's work and whether it runs one lower (client); `None` while nothing was said.
    pub fn lane(&self) -> Option<(Priority, bool)> {
        let word = self.0.u32(session::LANE).load(Ordering::Acquire);
        let index = (word & !session::DEMOTED).checked_sub(1)?;
        let priority = Priority::ALL.get(usize::try_from(index).ok()?)?;
        Some((*priority, word & session::DEMOTED != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::sealed_memfd;
    use vkmps_protocol::ring::REGION_BYTES;

    #[test]
    fn a_lane_is_read_as_it_was_written() {
        let region = sealed_memfd("rings", REGION_BYTES as u64).unwrap();
        let region = SessionRegion::map(&region).unwrap();
        assert_eq!(region.lane(), None);
        for priority in Priority::ALL {
            for demoted in [false, true] {
                region.set_lane(priority, demoted);
                assert_eq!(region.lane(), Some((priority, demoted)));
            }
        }
        region.0.u32(session::LANE).store(99, Ordering::Relaxed);
        assert_eq!(region.lane(), None);
    }
}
