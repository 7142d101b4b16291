//! Bytes without meaning.

/// Bytes without meaning, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| random(seed << 32 | at).to_le_bytes()[0])
        .collect()
}

/// `SplitMix64`.
pub(crate) fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
