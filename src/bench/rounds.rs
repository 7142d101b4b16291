//! Arms in turn: A, B, C, A, B, C; what drifts in the machine meets all of them.

use crate::error::Error;
use crate::progress;
use crate::report::Sample;

/// A way to do the work, measured once per round.
pub(crate) struct Arm<'a, T = Sample> {
    pub(crate) name: String,
    pub(crate) measure: Box<dyn FnMut() -> Result<T, Error> + 'a>,
}

impl<'a, T> Arm<'a, T> {
    pub(crate) fn new(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<T, Error> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }
}

/// Measures every arm once per round; the samples are in the order of the arms.
pub(crate) fn interleave<T>(arms: &mut [Arm<'_, T>], rounds: usize) -> Result<Vec<Vec<T>>, Error> {
    let mut samples: Vec<Vec<T>> = arms.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds.max(1) {
        for (arm, samples) in arms.iter_mut().zip(&mut samples) {
            progress::show(&format!("round {round} of {rounds}: {}", arm.name));
            samples.push((arm.measure)()?);
        }
    }
    progress::clear();
    Ok(samples)
}
