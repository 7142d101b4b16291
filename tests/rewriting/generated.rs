//! Random structured kernels: rewritten, they compute what they did, whole and cut; and they end at every budget.
//!
//! `VKMPS_GENERATED` sets how many, `VKMPS_SEED` which one comes first.

use crate::corpus::numbers;
use crate::rig::{Rig, Work};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use vkmps_gpu::MAX_BUDGET;
use vkmps_tests::folder::Folder;

#[test]
fn generated_kernels_compute_what_they_did() {
    let Some(mut rig) = Rig::open() else { return };
    if Command::new("glslangValidator")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("SKIPPED, no glslangValidator (package glslang-tools)");
        return;
    }
    let number = |name, default| {
        let given = std::env::var(name).ok();
        given.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first: u32 = number("VKMPS_SEED", 1);
    let folder = Folder::new();
    for seed in first..first + number("VKMPS_GENERATED", 8) {
        let source = Source::new(seed).kernel();
        for module in compile(&folder, &source) {
            let work = Work {
                grid: [3, 1, 1],
                buffers: vec![vec![0; 96], numbers(64)],
            };
            let untouched = rig.untouched(&module, &work);
            let expected = rig.run_whole(&untouched, &work, MAX_BUDGET);
            let rewritten = rig.rewritten(&module);
            let found = rig.run_whole(&rewritten, &work, MAX_BUDGET);
            assert_eq!(found, expected, "seed {seed}\n{source}");
            let cut = [([2, 0, 0], [1, 1, 1]), ([0, 0, 0], [2, 1, 1])];
            let found = rig.run(&rewritten, &work, &cut, MAX_BUDGET);
            assert_eq!(found, expected, "seed {seed}, cut\n{source}");
            for budget in [1, 7, 60] {
                rig.run_whole(&rewritten, &work, budget);
            }
        }
    }
}

/// Without and, where there is an optimiser, with optimisation.
fn compile(folder: &Path, source: &str) -> Vec<Vec<u8>> {
    let [text, plain, optimised] =
        ["kernel.comp", "plain.spv", "optimised.spv"].map(|name| folder.join(name));
    fs::write(&text, source).expect("the folder is ours");
    let output = Command::new("glslangValidator")
        .args(["-V", "--target-env", "vulkan1.2", "-o"])
        .args([&plain, &text])
        .output()
        .expect("it is there");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{source}");
    let mut modules = vec![fs::read(&plain).expect("it was written")];
    let optimiser = Command::new("spirv-opt")
        .arg("-O")
        .arg(&plain)
        .arg("-o")
        .arg(&optimised)
        .status();
    if optimiser.is_ok_and(|status| status.success()) {
        modules.push(fs::read(&optimised).expect("it was written"));
    }
    modules
}

/// A kernel being written. Everything in it is defined: indices are masked, shifts and divisors small and not 0.
struct Source {
    state: u32,
    text: String,
    /// Names of loop variables so far.
    loops: u32,
}

impl Source {
    fn new(seed: u32) -> Self {
        Source {
            state: seed.wrapping_mul(2_654_435_761) | 1,
            text: String::new(),
            loops: 0,
        }
    }

    fn kernel(mut self) -> String {
        self.text.push_str(
            "#version 450\nlayout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
shared uint s[32];
uint arr[8];\n",
        );
        for helper in 0..2 {
            let _ = writeln!(
                self.text,
                "uint helper{helper}(uint a, uint b) {{\nuint c = 1u; bool t = a < b;"
            );
            for _ in 0..3 {
                self.statement(2, Around::Function);
            }
            self.text.push_str("return a ^ b * c;\n}\n");
        }
        self.text.push_str(
            "void main() {
uint a = gl_GlobalInvocationID.x, b = p[a & 63u], c = gl_NumWorkGroups.x; bool t = false;
for (int i = 0; i < 8; i++) arr[i] = p[(a + uint(i)) & 63u];
s[gl_LocalInvocationIndex] = a; barrier();\n",
        );
        for _ in 0..4 {
            if self.below(3) == 0 {
                self.uniform_loop();
            }
            self.statement(3, Around::Nothing);
        }
        self.uniform_loop();
        self.statement(3, Around::Nothing);
        self.text.push_str(
            "for (uint i = 0u; i < 8u; i++) c = c * 31u + arr[i];
o[gl_GlobalInvocationID.x] = a ^ b ^ c ^ s[gl_LocalInvocationIndex] ^ (t ? 1u : 0u);\n}\n",
        );
        self.text
    }

    /// A loop with barriers, the same for all invocations.
    fn uniform_loop(&mut self) {
        let name = self.name();
        let bound = self.pick(&["3u", "p[1] % 5u", "gl_NumWorkGroups.x", "(p[2] & 3u) + 1u"]);
        let step = self.pick(&["++", " += 2u"]);
        let _ = writeln!(
            self.text,
            "for (uint {name} = 0u; {name} < {bound}; {name}{step}) {{\nuint next = s[(gl_LocalInvocationIndex + {name} + 1u) & 31u]; barrier();"
        );
        self.statement(2, Around::Nothing);
        let _ = writeln!(
            self.text,
            "s[gl_LocalInvocationIndex] = next ^ c; barrier();\nif (s[{name} & 31u] == 77u) break;\nbarrier();\n}}"
        );
    }

    fn statement(&mut self, depth: u32, around: Around) {
        let choice = if depth == 0 {
            self.below(5)
        } else {
            self.below(14)
        };
        match choice {
            0 | 1 => {
                let (to, value) = (self.pick(&["a", "b", "c"]), self.value(2));
                let _ = writeln!(self.text, "{to} = {value};");
            }
            2 => {
                let (at, value) = (self.value(1), self.value(2));
                let _ = writeln!(self.text, "arr[({at}) & 7u] ^= {value};");
            }
            3 => {
                let condition = self.condition();
                let _ = writeln!(self.text, "t = {condition};");
            }
            4 => {
                let condition = self.condition();
                let leave = match around {
                    Around::Loop { helper: true } => {
                        self.pick(&["break", "continue", "return a + c"])
                    }
                    Around::Loop { helper: false } => self.pick(&["break", "continue"]),
                    Around::Function => "return b",
                    Around::Nothing => "c++",
                };
                let _ = writeln!(self.text, "if ({condition}) {{ {leave}; }}");
            }
            5 | 6 => {
                let condition = self.condition();
                let _ = writeln!(self.text, "if ({condition}) {{");
                self.statement(depth - 1, around);
                self.text.push_str("} else {\n");
                self.statement(depth - 1, around);
                self.text.push_str("}\n");
            }
            7 => {
                let value = self.value(1);
                let _ = writeln!(self.text, "switch (({value}) % 4u) {{\ncase 0u:");
                self.statement(depth - 1, around);
                self.text.push_str("case 1u:\n");
                self.statement(depth - 1, around);
                self.text.push_str("break;\ndefault:\n");
                self.statement(depth - 1, around);
                self.text.push_str("break;\n}\n");
            }
            8 if !matches!(around, Around::Function | Around::Loop { helper: true }) => {
                let (one, other) = (self.value(1), self.value(1));
                let helper = self.below(2);
                let _ = writeln!(self.text, "c += helper{helper}({one}, {other});");
            }
            _ => self.loop_(depth, around),
        }
    }

    fn loop_(&mut self, depth: u32, around: Around) {
        let name = self.name();
        let bound = self.pick(&["4u", "(p[a & 63u] & 7u)", "(b % 6u)", "c % 5u", "9u"]);
        let head = match self.below(12) {
            0 => format!("for (uint {name} = 0u; {name} < {bound}; {name}++)"),
            1 => format!("for (uint {name} = {bound}; {name} > 0u; {name}--)"),
            2 => format!("for (int {name} = -3; {name} <= int({bound}); {name} += 2)"),
            3 => format!("for (uint {name} = p[3] & 3u; {name} != 9u; {name}++)"),
            4 => format!("for (uint {name} = 200u; {name} > 0u; {name} >>= 1)"),
            5 => format!("for (uint {name} = {bound}; {name}-- > 0u;)"),
            6 => format!(
                "for (uint {name} = 0u; {name} < {bound} && arr[{name} & 7u] != 3u; {name}++)"
            ),
            7 => format!("for (uint {name} = 0u; {name} < 20u; {name} += gl_NumWorkGroups.x)"),
            8 => format!("for (uint {name} = 0u; {name} * {name} <= {bound}; {name}++)"),
            9 => format!("for (int {name} = int({bound}); {name} >= 0; {name} -= 3)"),
            10 => format!("uint {name} = 0u; while ({name}++ < {bound})"),
            _ => {
                let _ = writeln!(self.text, "uint {name} = 0u; do {{ {name}++;");
                self.body(depth, around);
                let _ = writeln!(self.text, "}} while ({name} < {bound} + 1u);");
                return;
            }
        };
        let _ = writeln!(self.text, "{head} {{");
        self.body(depth, around);
        self.text.push_str("}\n");
    }

    fn body(&mut self, depth: u32, around: Around) {
        let helper = matches!(around, Around::Function | Around::Loop { helper: true });
        for _ in 0..=self.below(2) {
            self.statement(depth - 1, Around::Loop { helper });
        }
    }

    fn value(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.below(6) {
                0 => "a".into(),
                1 => "b".into(),
                2 => "c".into(),
                3 => format!("arr[(b + {}u) & 7u]", self.below(8)),
                4 => format!("p[(c + {}u) & 63u]", self.below(64)),
                _ => format!("{}u", self.below(100)),
            };
        }
        let (one, other) = (self.value(depth - 1), self.value(depth - 1));
        match self.below(7) {
            0 => format!("({one} + {other})"),
            1 => format!("({one} * {other})"),
            2 => format!("({one} ^ {other})"),
            3 => format!("({one} - {other})"),
            4 => format!("({one} >> ({other} & 7u))"),
            5 => format!("(t ? {one} : {other})"),
            _ => format!("({one} / (({other} & 7u) + 1u))"),
        }
    }

    fn condition(&mut self) -> String {
        let (one, other) = (self.value(1), self.value(1));
        match self.below(5) {
            0 => format!("({one} & 3u) == 0u"),
            1 => format!("{one} < {other}"),
            2 => "t".into(),
            3 => format!("{one} % 5u > 1u && {other} % 3u == 0u"),
            _ => format!("{one} % 7u == 1u || t"),
        }
    }

    fn name(&mut self) -> String {
        self.loops += 1;
        format!("i{}", self.loops)
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        let count = u32::try_from(from.len()).expect("few");
        from[self.below(count) as usize]
    }

    fn below(&mut self, end: u32) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        (self.state >> 7) % end
    }
}

/// What a statement may leave.
#[derive(Clone, Copy)]
enum Around {
    /// Nothing: barriers may follow.
    Nothing,
    /// A helper function.
    Function,
    Loop {
        helper: bool,
    },
}
