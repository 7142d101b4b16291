//! Finds the distribution's static `libSPIRV-Tools.a` and a static libstdc++ for it, so that the executables of
//! the workspace need no C++ run-time library.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CXX");
    println!("cargo:rerun-if-env-changed={DIRECTORY_VARIABLE}");

    // A folder that is named must be right: falling back would link another version than was asked for.
    let validator = match env::var_os(DIRECTORY_VARIABLE) {
        Some(folder) => Some(Path::new(&folder).join(VALIDATOR)).filter(|file| file.is_file()),
        None => ask_compiler(VALIDATOR),
    };
    let Some(validator) = validator else {
        eprintln!("error: {VALIDATOR} not found: install the Debian package `spirv-tools`,");
        eprintln!("       or name the folder that has it in {DIRECTORY_VARIABLE}");
        return ExitCode::FAILURE;
    };
    let Some(runtime) = ask_compiler(RUNTIME) else {
        eprintln!(
            "error: {RUNTIME} not found: install the Debian packages `g++` and `libstdc++-12-dev`"
        );
        eprintln!("       (or the libstdc++ development package of the installed compiler)");
        return ExitCode::FAILURE;
    };

    // The validator comes first: a linker resolves what it needs from the archives after it.
    for (archive, library) in [(validator, "SPIRV-Tools"), (runtime, "stdc++")] {
        if let Some(folder) = archive.parent() {
            println!("cargo:rustc-link-search=native={}", folder.display());
        }
        println!("cargo:rustc-link-lib=static={library}");
    }
    ExitCode::SUCCESS
}

/// Where the C++ compiler would find `file`; works for any architecture's library folder.
fn ask_compiler(file: &str) -> Option<PathBuf> {
    let chosen = env::var("CXX").ok();
    let compilers = chosen
        .iter()
        .map(String::as_str)
        .chain(["g++", "c++", "gcc"]);
    compilers
        .filter_map(|compiler| {
            let output = Command::new(compiler)
                .arg(format!("-print-file-name={file}"))
                .output()
                .ok()?;
            let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
            // A compiler that does not know the file echoes the bare name.
            (path.is_absolute() && path.is_file()).then_some(path)
        })
        .next()
}

const VALIDATOR: &str = "libSPIRV-Tools.a";
const RUNTIME: &str = "libstdc++.a";
const DIRECTORY_VARIABLE: &str = "SPIRV_TOOLS_LIB_DIR";
