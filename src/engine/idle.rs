//! What the engine does when nothing moves: poll a little, wait in the driver, park.
//!
//! Waking an idle core costs 5 to 40 us, a lost time slice far more. So the engine polls while a completion or the next
//! submit is near *and* cores are free; on small machines and on devices that compute on the host's cores it never
//! polls, but first waits for the oldest level right in the driver, which costs one hand-over less than the waiter.

use crate::engine::{Engine, Failure};
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use std::time::Duration;
use vkmps_ipc::wake;

/// Epoll names of what is not a session's doorbell.
pub(crate) const CONTROL: u64 = u64::MAX;
pub(crate) const BUILDER: u64 = u64::MAX - 1;
pub(crate) const WAITER: u64 = u64::MAX - 2;
pub(crate) const ALARM: u64 = u64::MAX - 3;

impl Engine {
    /// Nothing moved in this turn: find out whether to poll again, or sleep until something does.
    pub(crate) fn idle(&mut self) -> Result<(), Failure> {
        if self.scheduler.gathering() {
            // Work waits for company, or the device for a client, microseconds; nothing would wake us when that is over.
            if self.polls {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
            return Ok(());
        }
        let quiet = self.now.saturating_sub(self.progressed);
        let in_flight = self.queues.iter().any(|queue| !queue.flights.is_empty());
        if self.polls {
            let patience = if in_flight { POLL_IN_FLIGHT } else { POLL_IDLE };
            if quiet < patience {
                std::hint::spin_loop();
                return Ok(());
            }
        } else if in_flight {
            if self.wait_in_driver()? {
                return Ok(());
            }
        } else if quiet < YIELD_IDLE {
            // The client that was just woken wants this core, and comes back with its next submit.
            std::thread::yield_now();
            return Ok(());
        }
        self.park()
    }

    /// Waits a moment for the oldest flight of the only busy queue. True when it is over.
    fn wait_in_driver(&mut self) -> Result<bool, Failure> {
        let mut busy = self.queues.iter().filter(|queue| !queue.flights.is_empty());
        let (Some(queue), None) = (busy.next(), busy.next()) else {
            return Ok(false);
        };
        let Some(flight) = queue.flights.front() else {
            return Ok(false);
        };
        Ok(queue.queue.wait(flight.value, DRIVER_WAIT)?)
    }

    /// Sleeps until a doorbell, a message, a finished object or a completion.
    fn park(&mut self) -> Result<(), Failure> {
        if self.cool_all() {
            return Ok(());
        }
        let points: Vec<_> = self
            .queues
            .iter()
            .filter_map(|queue| Some((queue.queue.timeline(), queue.flights.front()?.value)))
            .collect();
        self.set_alarm()?;
        let covered = self.waiter.watch(points);
        let flushed = self.flush()?;
        // A waiter that still watches for something older must be asked again; a full control socket too.
        let timeout = if covered && flushed {
            EpollTimeout::NONE
        } else {
            EpollTimeout::from(1_u8)
        };
        self.poll_events(timeout)?;
        // The clock stood while we slept; polling starts over.
        self.now = self.clock.elapsed();
        self.progressed = self.now;
        Ok(())
    }

    /// Looks at doorbells and sockets without sleeping; called now and then while the engine is busy.
    pub(crate) fn glance(&mut self) -> Result<(), Failure> {
        self.glanced = self.now;
        self.cool_quiet();
        self.grant_polling();
        self.flush()?;
        self.poll_events(EpollTimeout::ZERO)
    }

    fn poll_events(&mut self, timeout: EpollTimeout) -> Result<(), Failure> {
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(errno) => {
                return Err(vkmps_ipc::SystemError {
                    call: "epoll_wait",
                    errno,
                }
                .into());
            }
        };
        for event in &events[..count] {
            match event.data() {
                CONTROL => self.read_control()?,
                BUILDER => self.take_built()?,
                WAITER => wake::silence(self.waiter.event()),
                ALARM => wake::silence(&self.alarm),
                index => self.warm(usize::try_from(index).unwrap_or(usize::MAX)),
            }
        }
        Ok(())
    }

    /// A session rang: poll it from now on.
    pub(crate) fn warm(&mut self, index: usize) {
        let session = self.sessions.get_mut(index).and_then(Option::as_mut);
        let Some(session) = session.filter(|session| !session.closing) else {
            return;
        };
        session.region.awake();
        session.active = self.now;
        if !std::mem::replace(&mut session.hot, true) {
            self.hot.push(index);
        }
    }

    /// Polls all sessions: some may have rung, and nobody has heard it.
    pub(crate) fn warm_all(&mut self) {
        (0..self.sessions.len()).for_each(|index| self.warm(index));
    }

    /// Lets clients poll for their completions while there are cores for all of them. Letting only some poll was worse
    /// for all: who polls keeps those who were woken waiting for a core.
    fn grant_polling(&mut self) {
        let granted = self.hot.len() <= self.pollers;
        for index in &self.hot {
            if let Some(session) = self.sessions[*index].as_mut()
                && session.may_poll != granted
            {
                session.may_poll = granted;
                let spin = if granted { CLIENT_SPIN } else { Duration::ZERO };
                session.region.set_spin(spin);
            }
        }
    }

    /// Wakes us before the first completion is due, if that is worth sleeping for.
    fn set_alarm(&mut self) -> Result<(), Failure> {
        let due = self
            .queues
            .iter()
            .filter(|queue| self.polls && !queue.flights.is_empty());
        let due = due
            .filter_map(|queue| queue.pace.due())
            .filter(|due| *due > self.now + ALARM_BEFORE)
            .map(|due| due - ALARM_BEFORE);
        // Somebody's cap allows more work then, though nothing else happens.
        let first = due.chain(self.scheduler.due()).min();
        let result = match first {
            Some(due) => {
                // Zero would disarm it.
                let rest = due.saturating_sub(self.now).max(Duration::from_nanos(1));
                self.alarm
                    .set(Expiration::OneShot(rest.into()), TimerSetTimeFlags::empty())
            }
            None => return Ok(()),
        };
        result.map_err(|errno| {
            vkmps_ipc::SystemError {
                call: "timerfd_settime",
                errno,
            }
            .into()
        })
    }

    /// Lets go of sessions that were silent for a while: idle sessions must cost nothing.
    fn cool_quiet(&mut self) {
        let now = self.now;
        let sessions = &mut self.sessions;
        self.hot.retain(|index| {
            let Some(session) = sessions[*index].as_mut() else {
                return false;
            };
            let quiet = session.jobs == 0 && now.saturating_sub(session.active) > COOL_AFTER;
            if quiet && !session.region.ask_for_doorbell() {
                session.hot = false;
            }
            session.hot
        });
    }

    /// Lets go of all sessions before sleeping. True when one has work after all.
    fn cool_all(&mut self) -> bool {
        let sessions = &mut self.sessions;
        self.hot.retain(|index| {
            let Some(session) = sessions[*index].as_mut() else {
                return false;
            };
            session.hot = session.region.ask_for_doorbell();
            session.hot
        });
        !self.hot.is_empty()
    }
}

/// Polling for a completion: longer than the levels that matter for latency.
const POLL_IN_FLIGHT: Duration = Duration::from_micros(400);
/// Polling for the next submit of a client that works in a loop.
const POLL_IDLE: Duration = Duration::from_micros(100);
/// Giving way to clients before parking, where the engine does not poll.
const YIELD_IDLE: Duration = Duration::from_micros(10);
/// What clients may poll before they sleep.
const CLIENT_SPIN: Duration = Duration::from_micros(200);
/// Polling starts so long before a completion is expected: waking an idle core takes its time.
const ALARM_BEFORE: Duration = Duration::from_micros(120);
/// A session without work is polled this long.
const COOL_AFTER: Duration = Duration::from_micros(500);
/// Blocking in the driver before the waiter takes over: doorbells are not heard meanwhile.
const DRIVER_WAIT: Duration = Duration::from_millis(1);
