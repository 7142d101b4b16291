//! The shaders of the product, and what this crate adds to an executable.

use crate::samples::{
    BLUR, EDGES, FMA_LOOP, MANDELBROT, NOOP, RICH, VECTOR_ADD, check_renumbered, plain_target,
    storage,
};
use crate::{Access, Binding, BindingKind, Features, Interface, SpecConstant, SpecEntry, Target};
use std::process::Command;

/// Module, uses of its bindings, bytes of push constants, workgroup.
type Expected = (&'static [u8], &'static [Access], u32, [u32; 3]);

#[test]
fn the_shaders_of_the_product_pass_with_their_interfaces() {
    use Access::{Read, ReadWrite, Write};
    let cases: [Expected; 6] = [
        (NOOP, &[], 0, [1, 1, 1]),
        (FMA_LOOP, &[ReadWrite], 4, [256, 1, 1]),
        (VECTOR_ADD, &[Read, Read, Write], 4, [64, 1, 1]),
        (MANDELBROT, &[Write], 40, [16, 16, 1]),
        (BLUR, &[Read, Write], 16, [16, 16, 1]),
        (EDGES, &[Read, Write], 16, [16, 16, 1]),
    ];
    for (module, accesses, push_constant_bytes, workgroup_size) in cases {
        let interface = check_renumbered(module, &[], &plain_target());
        let bindings = (0..)
            .zip(accesses)
            .map(|(at, &access)| storage(0, at, at, access))
            .collect();
        let expected = Interface {
            bindings,
            push_constant_bytes,
            workgroup_size,
            spec_constants: vec![],
        };
        assert_eq!(interface, expected);
    }
}

#[test]
fn a_module_of_many_constructs_passes() {
    let features = Features {
        int64: true,
        subgroup_basic: true,
        subgroup_arithmetic: true,
        ..Features::default()
    };
    let target = Target {
        features,
        ..plain_target()
    };
    let constants = [(0, 32), (2, 1)].map(|(id, value)| SpecConstant { id, value });
    let interface = check_renumbered(RICH, &constants, &target);
    let expected = Interface {
        bindings: vec![
            storage(0, 9, 0, Access::ReadWrite),
            Binding {
                count: 2,
                ..storage(1, 3, 1, Access::Read)
            },
            Binding {
                kind: BindingKind::Uniform,
                ..storage(2, 0, 2, Access::Read)
            },
        ],
        // Two columns of three as rows: three rows of 8 bytes; then a word.
        push_constant_bytes: 28,
        workgroup_size: [32, 2, 1],
        spec_constants: [0, 1, 2].map(|id| SpecEntry { id, size_bytes: 4 }).to_vec(),
    };
    assert_eq!(interface, expected);
}

#[test]
fn executables_need_no_cpp_library() {
    let executable = std::env::current_exe().expect("this test's file");
    let output = Command::new("readelf")
        .arg("-d")
        .arg(executable)
        .output()
        .expect("readelf, of binutils");
    let text = String::from_utf8_lossy(&output.stdout);
    let needed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .collect();
    assert!(!needed.is_empty(), "not a dynamic executable: {text}");
    for line in needed {
        let allowed = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];
        assert!(allowed.iter().any(|name| line.contains(name)), "{line}");
    }
}
