//! Whether a process's main loop turns: it is asked from time to time, and only that loop answers.

use std::time::Duration;
use tokio::time::Instant;

/// What one process was asked and has answered.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// The longest it may take to answer.
    timeout: Duration,
    nonce: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It has answered; the next question is due then.
    Answered { ask_at: Instant },
    /// It was asked, and should have answered by then.
    Asked { answer_by: Instant },
    /// It did not.
    Silent,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Nothing yet.
    Steady,
    /// Ask it, with this number; then say [`Liveness::asked`] or [`Liveness::busy`].
    Ask(u64),
    /// It does not answer. Said once.
    Lost,
}

impl Liveness {
    /// Of a process that has just shown a sign of life.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        Self {
            timeout,
            nonce: 0,
            state: State::Answered {
                ask_at: now + timeout / QUESTIONS,
            },
        }
    }

    /// The question that was due is on its way.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.nonce += 1;
        self.state = State::Asked {
            answer_by: now + self.timeout,
        };
    }

    /// There was no room for the question: a process that has other things to read is asked later. That it reads at all
    /// is watched by who has things to tell it.
    pub(crate) fn busy(&mut self, now: Instant) {
        self.state = State::Answered {
            ask_at: now + BUSY_PAUSE,
        };
    }

    /// An answer came; only that to the last question counts.
    pub(crate) fn answered(&mut self, nonce: u64, now: Instant) {
        if nonce == self.nonce && matches!(self.state, State::Asked { .. }) {
            self.state = State::Answered {
                ask_at: now + self.timeout / QUESTIONS,
            };
        }
    }

    /// From the next question on.
    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// What the time says.
    pub(crate) fn feel(&mut self, now: Instant) -> Pulse {
        match self.state {
            State::Answered { ask_at } if ask_at <= now => Pulse::Ask(self.nonce + 1),
            State::Asked { answer_by } if answer_by <= now => {
                self.state = State::Silent;
                Pulse::Lost
            }
            _ => Pulse::Steady,
        }
    }

    /// Whether it answers as far as is known.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Silent)
    }

    /// When [`Self::feel`] has something new to say.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Answered { ask_at } => Some(ask_at),
            State::Asked { answer_by } => Some(answer_by),
            State::Silent => None,
        }
    }
}

/// Questions in the time that one may take to be answered: a hang shows after at most 1.5 times that.
const QUESTIONS: u32 = 2;
/// A full socket has room again when its reader had some time.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn who_answers_is_asked_again_and_who_does_not_is_lost_once() {
        let start = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, start);
        assert_eq!(liveness.feel(start), Pulse::Steady);
        let first = liveness.deadline().unwrap();
        assert_eq!(liveness.feel(first), Pulse::Ask(1));
        liveness.asked(first);
        liveness.answered(1, first);
        let second = liveness.deadline().unwrap();
        assert!(second > first);
        assert_eq!(liveness.feel(second), Pulse::Ask(2));
        liveness.asked(second);
        assert_eq!(liveness.feel(second), Pulse::Steady);
        assert_eq!(liveness.feel(second + TIMEOUT), Pulse::Lost);
        assert!(!liveness.is_alive() && liveness.deadline().is_none());
        assert_eq!(liveness.feel(second + 2 * TIMEOUT), Pulse::Steady);
    }

    #[test]
    fn a_process_that_could_not_be_asked_is_asked_again_and_not_lost() {
        let start = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, start);
        let mut now = liveness.deadline().unwrap();
        while now < start + 10 * TIMEOUT {
            assert_eq!(liveness.feel(now), Pulse::Ask(1));
            liveness.busy(now);
            now = liveness.deadline().unwrap();
        }
        assert_eq!(liveness.feel(now), Pulse::Ask(1));
        liveness.asked(now);
        liveness.answered(1, now + TIMEOUT / 2);
        assert!(liveness.deadline().unwrap() > now + TIMEOUT / 2);
    }

    #[test]
    fn an_answer_to_another_question_does_not_count() {
        let start = Instant::now();
        let mut liveness = Liveness::new(TIMEOUT, start);
        liveness.answered(0, start);
        let asked = start + TIMEOUT;
        assert_eq!(liveness.feel(asked), Pulse::Ask(1));
        liveness.asked(asked);
        liveness.answered(0, asked);
        liveness.answered(2, asked);
        assert_eq!(liveness.feel(asked + TIMEOUT), Pulse::Lost);
    }
}
