//! Medians and quantiles.

use serde::{Deserialize, Serialize};

/// The median; `None` of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, 500)
}

/// A distribution as evenly spaced quantiles: small enough for a line of JSON, and mergeable.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles(Vec<f64>);

impl Quantiles {
    /// Of any number of values.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        if values.len() > 1000 {
            let at = |permille| quantile_of_sorted(&values, permille);
            values = (0..=1000).filter_map(at).collect();
        }
        Self(values)
    }

    /// All of them together, each counting the same.
    pub(crate) fn merge<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all: Vec<f64> = parts
            .into_iter()
            .flat_map(|part| part.0.iter().copied())
            .collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }

    pub(crate) fn p50(&self) -> Option<f64> {
        quantile_of_sorted(&self.0, 500)
    }

    pub(crate) fn p99(&self) -> Option<f64> {
        quantile_of_sorted(&self.0, 990)
    }
}

/// Nearest rank.
fn quantile_of_sorted(sorted: &[f64], permille: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * permille + 500) / 1000).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_ramp_are_its_values() {
        let ramp = Quantiles::of((0..100_001).map(f64::from).collect());
        assert_eq!(ramp.p50(), Some(50_000.0));
        assert_eq!(ramp.p99(), Some(99_000.0));
    }

    #[test]
    fn the_median_of_few_is_one_of_them() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
