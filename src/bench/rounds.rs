//! Arms in turn: A, B, C, A, B, C; what drifts in the machine meets all of them.

use crate::error::Error;
use crate::progress;
use crate::report::Sample;

/// A way to do the work, measured once per round.
pub(crate) struct Arm<'a> {
    pub(crate) name: String,
    pub(crate) measure: Box<dyn FnMut() -> Result<Sample, Error> + 'a>,
}

impl<'a> Arm<'a> {
    pub(crate) fn new(
        name: impl Into<String>,
        measure: impl FnMut() -> Result<Sample, Error> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            measure: Box::new(measure),
        }
    }
}

/// Measures every arm once per round; the samples are in the order of the arms.
pub(crate) fn interleave(arms: &mut [Arm<'_>], rounds: usize) -> Result<Vec<Vec<Sample>>, Error> {
    let mut samples = vec![Vec::new(); arms.len()];
    for round in 1..=rounds.max(1) {
        for (arm, samples) in arms.iter_mut().zip(&mut samples) {
            progress::show(&format!("round {round} of {rounds}: {}", arm.name));
            samples.push((arm.measure)()?);
        }
    }
    progress::clear();
    Ok(samples)
}
