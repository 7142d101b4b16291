//! Random modules: nothing that a client sends may panic, and what passes is valid. `PROPTEST_CASES` sets how many.

use crate::samples::{
    BLUR, EDGES, FMA_LOOP, MANDELBROT, NOOP, RICH, VECTOR_ADD, bytes_of, check_renumbered,
    plain_target,
};
use crate::specialise::SpecConstant;
use crate::target::{Features, Target};
use crate::{Refusal, prepare};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_never_panic(
        shader in prop::sample::select(SHADERS.to_vec()),
        flips in vec((any::<Index>(), 0u32..8), 1..6),
    ) {
        let mut module = shader.to_vec();
        for (at, bit) in flips {
            let at = at.index(module.len());
            module[at] ^= 1 << bit;
        }
        try_all(&module);
    }

    #[test]
    fn replaced_words_never_panic(
        shader in prop::sample::select(SHADERS.to_vec()),
        replacements in vec((any::<Index>(), 0u32..600), 1..4),
    ) {
        // Small numbers are ids, opcodes and enumerators: more of these mutants get past the parser.
        let mut words: Vec<u32> = shader.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        for (at, word) in replacements {
            let at = at.index(words.len());
            words[at] = word;
        }
        try_all(&bytes_of(&words));
    }

    #[test]
    fn cut_modules_never_panic(
        shader in prop::sample::select(SHADERS.to_vec()),
        length in any::<Index>(),
    ) {
        try_all(&shader[..length.index(shader.len())]);
    }

    #[test]
    fn noise_behind_a_header_never_panics(noise in vec(any::<u32>(), 0..64)) {
        let mut words = vec![0x0723_0203, 0x0001_0500, 0, 64, 0];
        words.extend(noise);
        try_all(&bytes_of(&words));
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..256)) {
        try_all(&noise);
    }
}

/// Prepares for two devices; a refusal is fine, and an acceptance must hold for its own output.
fn try_all(module: &[u8]) {
    let generous = Target {
        vulkan_minor: 3,
        features: Features {
            int8: true,
            int16: true,
            int64: true,
            float16: true,
            subgroup_basic: true,
            subgroup_arithmetic: true,
            ..Features::default()
        },
        scalar_block_layout: true,
        ..plain_target()
    };
    for target in [plain_target(), generous] {
        let constants = [SpecConstant { id: 0, value: 1 }];
        match prepare(module, "main", &constants, &target) {
            Ok(_) => drop(check_renumbered(module, &constants, &target)),
            Err(refusal) => assert!(!matches!(refusal, Refusal::Rewrite { .. }), "{refusal}"),
        }
    }
}

const SHADERS: [&[u8]; 7] = [NOOP, FMA_LOOP, VECTOR_ADD, MANDELBROT, BLUR, EDGES, RICH];
