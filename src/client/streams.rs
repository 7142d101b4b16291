//! Which streams of a session are in use.

use crate::error::Error;
use crate::lane::Lane;
use crate::lock::lock;
use std::sync::{Mutex, OnceLock};
use vkmps_ipc::ring::SessionRegion;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::limits::MAX_STREAMS;

/// The default stream.
pub(crate) const DEFAULT: usize = 0;

/// The streams of a session. A stream that was used once keeps its ring, so that its values go on counting.
pub(crate) struct StreamTable {
    lanes: Box<[OnceLock<Lane>]>,
    /// How many the session may use.
    most: usize,
    /// Guards the choice of an index only.
    owned: Mutex<Owned>,
    transfers: OnceLock<usize>,
}

struct Owned {
    /// Streams from here on were never used.
    fresh: usize,
    /// Streams whose owner has gone; some may still run.
    returned: Vec<usize>,
}

impl StreamTable {
    pub(crate) fn new(most: u32) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self {
            most: most.clamp(1, MAX_STREAMS),
            lanes: (0..MAX_STREAMS).map(|_| OnceLock::new()).collect(),
            owned: Mutex::new(Owned {
                fresh: DEFAULT + 1,
                returned: Vec::new(),
            }),
            transfers: OnceLock::new(),
        }
    }

    /// Touches the stream's pages only when it is first used.
    #[inline]
    pub(crate) fn lane(&self, index: usize, region: &SessionRegion) -> &Lane {
        self.lanes[index].get_or_init(|| Lane::new(region, index))
    }

    /// An index for a new owner.
    pub(crate) fn take(&self) -> Result<usize, Error> {
        let mut owned = lock(&self.owned);
        let idle = |index: &usize| self.lanes[*index].get().is_none_or(Lane::is_idle);
        if let Some(at) = owned.returned.iter().position(idle) {
            let index = owned.returned.swap_remove(at);
            if let Some(lane) = self.lanes[index].get() {
                lane.heal();
            }
            return Ok(index);
        }
        if owned.fresh >= self.most {
            return Err(Error::new(
                ErrorCode::LimitReached,
                format!("all {} streams are in use", self.most),
            ));
        }
        owned.fresh += 1;
        Ok(owned.fresh - 1)
    }

    /// Gives an index back; its next owner gets it when everything submitted to it is over.
    pub(crate) fn give_back(&self, index: usize) {
        lock(&self.owned).returned.push(index);
    }

    /// The client's own stream for copies to and from device memory; where the program took all, its default stream.
    pub(crate) fn transfers(&self) -> usize {
        *self
            .transfers
            .get_or_init(|| self.take().unwrap_or(DEFAULT))
    }
}
