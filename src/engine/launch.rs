//! From the scheduler to the device and back: recording, submitting, reaping, publishing.

use crate::builder::code;
use crate::engine::{Engine, Failure, Flight, Purpose};
use std::time::Duration;
use vkmps_gpu::{Batch, Error, Timing};
use vkmps_protocol::ErrorCode;
use vkmps_protocol::engine::FromEngine;
use vkmps_protocol::recorder::Event;
use vkmps_scheduler::{Action, ClientKey, Input, JobKey, Level};

impl Engine {
    /// Gives the device what the scheduler wants it to have. True if anything was launched.
    pub(crate) fn launch(&mut self) -> Result<bool, Failure> {
        self.scheduler.launch(self.now, &mut self.actions);
        self.act()
    }

    /// Does what the scheduler asked for.
    pub(crate) fn act(&mut self) -> Result<bool, Failure> {
        let mut launched = false;
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Launch { queue, levels } => {
                    launched = true;
                    self.submit_levels(queue, levels)?;
                }
                Action::Retired { job, device_time } => self.retire(job, Some(device_time)),
                Action::Dropped(job) => self.retire(job, None),
                Action::Demoted(client) => self.tell_demoted(client, true),
                Action::Restored(client) => self.tell_demoted(client, false),
            }
        }
        self.actions = actions;
        Ok(launched)
    }

    /// A REALTIME client has used up its budget, or has a new one.
    fn tell_demoted(&mut self, client: ClientKey, demoted: bool) {
        let sessions = self.sessions.iter().flatten();
        let Some(session) = sessions
            .into_iter()
            .find(|session| session.client == client)
        else {
            return;
        };
        let session = session.id;
        let event = match demoted {
            true => Event::Demoted,
            false => Event::Restored,
        };
        self.recorder.mark(session, event, self.now);
        self.tell(FromEngine::Demoted { session, demoted });
    }

    fn submit_levels(&mut self, queue: usize, levels: Vec<Level>) -> Result<(), Failure> {
        let first = self.queues[queue].flights.len();
        for level in levels {
            self.note_level(queue, &level);
            let mut guarded = Vec::new();
            let state = &mut self.queues[queue];
            let timing = if self.timestamps && state.flights.is_empty() && state.pace.measures() {
                Timing::On
            } else {
                Timing::Off
            };
            let batch = match self.record_level(queue, &level, timing, &mut guarded) {
                Ok(batch) => Some(batch),
                // Clients may take all memory there is: this level's jobs fail, in their turn, and nobody else's.
                Err(error @ (Error::OutOfDeviceMemory | Error::OutOfHostMemory)) => {
                    for piece in &level.pieces {
                        let job = self.jobs.get_mut(piece.job);
                        job.recorded();
                        job.failure = Some(code(&error));
                    }
                    None
                }
                Err(error) => return Err(error.into()),
            };
            self.scheduler.recycle(level);
            self.queues[queue].flights.push_back(Flight {
                value: 0,
                batch,
                purpose: Purpose::Level,
                guarded,
            });
        }
        self.submit_flights(queue, first)
    }

    pub(crate) fn spare_batch(&mut self, queue: usize, timing: Timing) -> Result<Batch, Error> {
        let mut batch = match self.queues[queue].spare.pop() {
            Some(batch) => batch,
            None => Batch::for_queue(&self.queues[queue].queue, Timing::On)?,
        };
        batch.set_timing(timing);
        Ok(batch)
    }

    /// Submits the flights from `first` on, together.
    pub(crate) fn submit_flights(&mut self, queue: usize, first: usize) -> Result<(), Failure> {
        // Not when the turn began: recording takes its time.
        let now = self.clock.elapsed();
        self.note_submitted(queue, self.queues[queue].flights.len() - first, now);
        let state = &mut self.queues[queue];
        if first == 0 {
            state.pace.begun(now);
        }
        let mut batches: Vec<&mut Batch> = state
            .flights
            .iter_mut()
            .skip(first)
            .filter_map(|flight| flight.batch.as_mut())
            .collect();
        if batches.is_empty() {
            return Ok(());
        }
        let count = batches.len() as u64;
        let last = state.queue.submit(&mut batches)?;
        let flights = state.flights.iter_mut().skip(first);
        let submitted = flights.filter(|flight| flight.batch.is_some());
        for (value, flight) in (last + 1 - count..).zip(submitted) {
            flight.value = value;
        }
        Ok(())
    }

    /// Looks for completed levels. True if there were any.
    pub(crate) fn reap(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        for queue in 0..self.queues.len() {
            if self.queues[queue].flights.is_empty() {
                continue;
            }
            let reached = self.queues[queue].queue.completed()?;
            while self.queues[queue]
                .flights
                .front()
                .is_some_and(|flight| flight.value <= reached)
            {
                let Some(mut flight) = self.queues[queue].flights.pop_front() else {
                    break;
                };
                any = true;
                let state = &mut self.queues[queue];
                let on_device = flight.batch.as_mut().and_then(Batch::device_ns);
                let on_device = on_device.map(Duration::from_nanos);
                let took = state.pace.completed(self.now, on_device);
                self.recorder.completed(queue, self.now, took);
                let ran = flight.batch.is_some();
                if let Some(mut batch) = flight.batch {
                    for (key, word) in flight.guarded {
                        if batch.is_used_up(word)? {
                            let job = self.jobs.get_mut(key);
                            job.failure.get_or_insert(ErrorCode::LoopBudget);
                        }
                    }
                    batch.release()?;
                    state.spare.push(batch);
                }
                match flight.purpose {
                    Purpose::Level => {
                        let took = if ran { took } else { Duration::ZERO };
                        let input = Input::LevelCompleted { queue, took };
                        self.scheduler.handle(input, self.now, &mut self.actions);
                    }
                    Purpose::Scrub(cleaned) => self.scrubbed(cleaned),
                }
            }
        }
        if any {
            self.act()?;
            self.publish();
        }
        Ok(any)
    }

    /// A job is over, after so much of the device's time, or will never run.
    fn retire(&mut self, key: JobKey, device_time: Option<Duration>) {
        let job = self.jobs.get(key);
        let (index, number, failure) = (job.session, job.stream, job.failure);
        let (payload_bytes, dispatches) = (job.payload_bytes, job.dispatches);
        self.jobs.give_back(key);
        let Some(session) = self.sessions[index].as_mut() else {
            return;
        };
        session.jobs -= 1;
        session.queued_bytes -= payload_bytes;
        session.counters.queued -= 1;
        let dropped = device_time.is_none();
        if let Some(time) = device_time {
            let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            session
                .counters
                .charge(time_ns, self.recorder.at_ns(self.now));
        }
        if !dropped && failure.is_none() {
            session.counters.dispatches += u64::from(dispatches);
        }
        session.active = self.now;
        if session.closing {
            if session.is_over() {
                self.gone.push(index);
            }
            return;
        }
        if let Some(stream) = session.streams[number].as_mut().filter(|_| !dropped) {
            stream.finished(failure);
            self.touch(index, number);
        }
    }

    /// Remembers a stream for [`Self::publish`].
    pub(crate) fn touch(&mut self, index: usize, number: usize) {
        let stream = self.sessions[index]
            .as_mut()
            .and_then(|session| session.streams[number].as_mut());
        if let Some(stream) = stream.filter(|stream| !stream.touched) {
            stream.touched = true;
            self.touched.push((index, number));
        }
    }

    /// Tells clients what is over: first the stores, which those who poll see, then the wake-ups, which cost time.
    pub(crate) fn publish(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.retain(|(index, number)| {
            let Some(session) = self.sessions[*index].as_mut() else {
                return false;
            };
            let Some(stream) = session.streams[*number].as_mut() else {
                return false;
            };
            stream.touched = false;
            let (ledger, slot) = (&self.ledger, session.slot);
            // Who hears of a completion finds it counted.
            ledger.count(slot, &session.counters);
            stream.publish(|progress, consumed| {
                ledger.retired(
                    slot,
                    *number,
                    progress.completed,
                    consumed,
                    progress.failure,
                );
            })
        });
        for (index, number) in touched.drain(..) {
            let Some(session) = self.sessions[index].as_ref() else {
                continue;
            };
            if let Some(stream) = session.streams[number].as_ref()
                && stream.consumer.announce()
            {
                self.wakes.push(stream.completion.clone());
            }
            session.region.announce();
        }
        self.waker.wake(&mut self.wakes);
        self.touched = touched;
        self.remove_gone();
    }

    /// Sessions of which nothing is left.
    fn remove_gone(&mut self) {
        while let Some(index) = self.gone.pop() {
            if let Some(session) = self.sessions[index].take() {
                self.ledger.count(session.slot, &session.counters);
                self.ledger.leave(session.slot);
                self.names.remove(&session.id);
                self.free_sessions.push(index);
                self.tell(FromEngine::SessionRemoved {
                    session: session.id,
                });
            }
        }
    }
}
