//! One session with the daemon: what every object of a client hangs on.

use crate::allocation::Allocation;
use crate::control::Control;
use crate::error::Error;
use crate::handshake::Opened;
use crate::lane::Lane;
use crate::lock::lock;
use crate::reactor::Reactor;
use crate::release::Deferred;
use crate::streams::StreamTable;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};
use vkmps_ipc::ring::SessionRegion;
use vkmps_ipc::socket::Seqpacket;
use vkmps_protocol::ErrorCode;
use vkmps_protocol::command::Encoder;
use vkmps_protocol::message::{DeviceDescription, Priority};

/// A session. The daemon releases everything of it when the socket closes.
pub(crate) struct Connection {
    socket: Seqpacket,
    region: SessionRegion,
    doorbell: OwnedFd,
    session: u64,
    priority: Priority,
    device: DeviceDescription,
    /// Why the session is over, once this side knows.
    over: OnceLock<Error>,
    /// Pairs requests with answers, so it is held while the daemon works on one (a compilation: seconds); a mutex since
    /// there is one socket. Nothing of the hot path takes it, and no wait for the device happens under it.
    control: Mutex<Control>,
    /// Staging memory that nobody uses at the moment. Held to take one out or put it back.
    pub(crate) staging: Mutex<Vec<Allocation>>,
    pub(crate) streams: StreamTable,
    pub(crate) deferred: Deferred,
    pub(crate) reactor: Reactor,
}

impl Connection {
    pub(crate) fn new(opened: Opened) -> Self {
        Self {
            reactor: Reactor::new(opened.region.clone()),
            socket: opened.socket,
            region: opened.region,
            doorbell: opened.doorbell,
            session: opened.session,
            priority: opened.priority,
            device: opened.device,
            over: OnceLock::new(),
            control: Mutex::new(Control::new()),
            staging: Mutex::new(Vec::new()),
            streams: StreamTable::new(opened.quota.streams),
            deferred: Deferred::default(),
        }
    }

    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// Now, and whether its work runs one lane lower.
    pub(crate) fn lane_of_work(&self) -> (Priority, bool) {
        self.region.lane().unwrap_or((self.priority, false))
    }

    pub(crate) fn device(&self) -> &DeviceDescription {
        &self.device
    }

    pub(crate) fn socket(&self) -> &Seqpacket {
        &self.socket
    }

    /// The right to talk to the daemon; gives back first what was waiting to be given back.
    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        let mut control = lock(&self.control);
        self.deferred.sweep(self, &mut control);
        control
    }

    /// As [`Self::control`], unless somebody is talking to the daemon.
    pub(crate) fn try_control(&self) -> Option<MutexGuard<'_, Control>> {
        self.control.try_lock().ok()
    }

    /// Gives back what is no longer in use, unless somebody is talking to the daemon.
    pub(crate) fn sweep(&self) {
        if !self.deferred.is_empty()
            && let Some(mut control) = self.try_control()
        {
            self.deferred.sweep(self, &mut control);
        }
    }

    /// The stream with this index, which its owner took from the table.
    pub(crate) fn lane(&self, index: usize) -> &Lane {
        self.streams.lane(index, &self.region)
    }

    /// Ok while the session lives, as far as is known without asking the kernel.
    #[inline]
    pub(crate) fn alive(&self) -> Result<(), Error> {
        if let Some(code) = self.region.ended() {
            return Err(code.into());
        }
        self.over.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Ok while the daemon has the other end of the socket.
    pub(crate) fn check_peer(&self) -> Result<(), Error> {
        self.alive()?;
        if self.socket.hung_up() {
            Err(self.lost())
        } else {
            Ok(())
        }
    }

    /// The daemon has gone: the reason it left in the region, or that it left none.
    pub(crate) fn lost(&self) -> Error {
        self.end(self.region.ended().unwrap_or(ErrorCode::DaemonLost).into())
    }

    /// The session is over for this reason, unless it was over before.
    pub(crate) fn end(&self, error: Error) -> Error {
        self.over.get_or_init(|| error).clone()
    }

    /// Submits what was encoded to a stream and returns its value there.
    pub(crate) fn submit(&self, index: usize, encoder: &Encoder) -> Result<u64, Error> {
        self.lane(index).submit_encoded(self, encoder)
    }

    /// Tells the engine of new records in a stream.
    #[inline]
    pub(crate) fn notify(&self, index: usize) {
        if self.region.mark_dirty(index) {
            vkmps_ipc::wake::ring(&self.doorbell);
        }
    }

    /// Waits until a submit is over and returns how it ended, acknowledging a failure.
    pub(crate) fn wait(
        &self,
        index: usize,
        value: u64,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let lane = self.lane(index);
        self.wait_until(lane, deadline, || lane.outcome(value))?
    }

    /// As [`Self::wait`], but a failure that was acknowledged already is none.
    pub(crate) fn wait_for_news(&self, index: usize, value: u64) -> Result<(), Error> {
        let lane = self.lane(index);
        self.wait_until(lane, None, || lane.news(value))?
    }

    /// Waits until a submit is over, however it ended.
    pub(crate) fn settle(&self, index: usize, value: u64) -> Result<(), Error> {
        let lane = self.lane(index);
        self.wait_until(lane, None, || lane.is_settled(value).then_some(()))
    }

    /// How a submit ended, if it is over: what happened counts even after the end of the session.
    pub(crate) fn poll(&self, index: usize, value: u64) -> Option<Result<(), Error>> {
        self.lane(index)
            .outcome(value)
            .or_else(|| self.alive().err().map(Err))
    }

    fn wait_until<T>(
        &self,
        lane: &Lane,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        if let Some(found) = look() {
            return Ok(found);
        }
        let begun = Instant::now();
        let early = self.nap(lane, deadline, &mut look);
        let found = match early.or_else(|| self.spin(deadline, &mut look)) {
            Some(found) => Ok(found),
            None => self.sleep_until(lane, deadline, look),
        };
        if found.is_ok() {
            lane.waited(begun.elapsed());
        }
        found
    }

    /// Sleeps through most of a wait that is expected to be longer than polling is allowed.
    fn nap<T>(
        &self,
        lane: &Lane,
        deadline: Option<Instant>,
        look: &mut impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let spin = self.region.spin();
        let rest = lane.expected_wait().saturating_sub(spin * 3 / 4);
        if spin.is_zero() || rest < spin / 4 || deadline.is_some() {
            return None;
        }
        let sequence = lane.sequence();
        if let Some(found) = look() {
            return Some(found);
        }
        lane.sleep(sequence, rest.min(WAIT_SLICE));
        look()
    }

    fn sleep_until<T>(
        &self,
        lane: &Lane,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        loop {
            let sequence = lane.sequence();
            if let Some(found) = look() {
                return Ok(found);
            }
            self.alive()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(ErrorCode::Timeout.into());
            }
            lane.sleep(sequence, left.unwrap_or(WAIT_SLICE).min(WAIT_SLICE));
            if lane.sequence() == sequence {
                self.check_peer()?;
            }
        }
    }

    /// Polls as long as the engine suggests: a sleeping thread costs both sides a system call and a wake-up.
    fn spin<T>(
        &self,
        deadline: Option<Instant>,
        look: &mut impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let spin = self.region.spin();
        if spin.is_zero() {
            return None;
        }
        let end = Instant::now() + spin;
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        while Instant::now() < end {
            for _ in 0..SPINS_PER_CLOCK {
                if let Some(found) = look() {
                    return Some(found);
                }
                std::hint::spin_loop();
            }
            // Somebody else may need this core more: another client, or the engine.
            std::thread::yield_now();
        }
        None
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("session", &self.session)
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reactor.close();
    }
}

/// A futex cannot wake for a daemon that was killed, so sleep ends this often to look at the socket.
pub(crate) const WAIT_SLICE: Duration = Duration::from_millis(50);
/// Looks between two readings of the clock, about as expensive as one.
const SPINS_PER_CLOCK: u32 = 64;
