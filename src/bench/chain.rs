//! The CPU reference of the fma kernel: what a number becomes after so many dispatches.
//!
//! GLSL's `fma` without `precise` may be one rounding or two; each driver does one of them always, so the result must
//! equal one of the two chains bit for bit, the same one for all values of a run.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// A number that went through the kernel: all elements of a buffer that started as [`START`] have this value now.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) dispatches: u64,
    pub(crate) bits: u32,
}

/// What every element is before the first dispatch.
pub(crate) const START: f32 = 0.0;

/// Checks all numbers at once, since the chain is the same for all.
pub(crate) fn check(links: &[Link], iterations: u32) -> Result<(), Error> {
    let mut links = links.to_vec();
    links.sort_by_key(|link| link.dispatches);
    let fused = |x: f32| x.mul_add(FACTOR, ADDEND);
    let unfused = |x: f32| x * FACTOR + ADDEND;
    let Some((link, expected)) = first_wrong(&links, iterations, fused) else {
        return Ok(());
    };
    if first_wrong(&links, iterations, unfused).is_none() {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "after {} dispatches of {iterations} iterations a number is {:?}, should be {expected:?}",
        link.dispatches,
        f32::from_bits(link.bits)
    )))
}

/// One number after one dispatch, with one and with two roundings per step.
pub(crate) fn once(x: f32, iterations: u32) -> [f32; 2] {
    let chain = |step: fn(f32) -> f32| (0..iterations).fold(x, |x, _| step(x));
    [
        chain(|x| x.mul_add(FACTOR, ADDEND)),
        chain(|x| x * FACTOR + ADDEND),
    ]
}

fn first_wrong(links: &[Link], iterations: u32, step: impl Fn(f32) -> f32) -> Option<(Link, f32)> {
    let (mut x, mut done) = (START, 0);
    for link in links {
        // Infinity, and any other fixed point, stays.
        while done < link.dispatches && step(x) != x {
            x = (0..iterations).fold(x, |x, _| step(x));
            done += 1;
        }
        done = link.dispatches;
        if x.to_bits() != link.bits {
            return Some((*link, x));
        }
    }
    None
}

const FACTOR: f32 = 1.000_000_1;
const ADDEND: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn link(dispatches: u64, value: f32) -> Link {
        Link {
            dispatches,
            bits: value.to_bits(),
        }
    }

    #[test]
    fn both_roundings_are_right_but_not_a_mixture() {
        let [fused, unfused] = once(START, 20_000);
        assert_ne!(fused, unfused);
        assert!(check(&[link(1, fused), link(0, START)], 20_000).is_ok());
        assert!(check(&[link(1, unfused)], 20_000).is_ok());
        assert!(check(&[link(1, fused), link(1, unfused)], 20_000).is_err());
    }

    #[test]
    fn a_lost_dispatch_is_seen() {
        let [fused, _] = once(START, 100);
        assert!(check(&[link(2, fused)], 100).is_err());
    }
}
