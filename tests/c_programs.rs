//! C programs against the committed header and the built library, run against a daemon.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use vkmps_tests::binaries::{built, output_of, tool, workspace};
use vkmps_tests::client_process::ClientProcess;
use vkmps_tests::daemon::Daemon;
use vkmps_tests::folder::Folder;
use vkmps_tests::patience::skipped;
use vkmps_tests::witness::Witness;

#[test]
fn simple_compute_is_right_with_and_without_waiting() {
    let daemon = Daemon::start();
    let installed = Installed::new();
    let program = installed.compile(&sources().join("simple_compute.c"));
    let output = installed.run(&program, &daemon, &[&shader("vector_add")]);
    assert!(output.contains("are right"), "{output}");
    // By its second argument instead of VKMPS_SOCKET.
    let mut by_path = Command::new(&program);
    by_path
        .arg(shader("vector_add"))
        .arg(daemon.socket())
        .env("LD_LIBRARY_PATH", installed.library_path());
    assert!(by_path.output().unwrap().status.success());
}

#[test]
fn multi_process_is_right_in_every_process() {
    let daemon = Daemon::start();
    let witness = Witness::of(&daemon);
    let installed = Installed::new();
    let program = installed.compile(&sources().join("multi_process.c"));
    for processes in ["1", "8"] {
        installed.run(
            &program,
            &daemon,
            &[&shader("vector_add"), Path::new(processes)],
        );
        witness.goes_on();
    }
    assert_eq!(daemon.engines().len(), 1);
    let mut beside = ClientProcess::start(&daemon, &["add", "5"]);
    assert!(beside.await_exit().success());
}

#[test]
fn without_a_daemon_the_c_programs_say_so() {
    let installed = Installed::new();
    for name in ["simple_compute", "multi_process"] {
        let program = installed.compile(&sources().join(name).with_extension("c"));
        let output = Command::new(program)
            .arg(shader("vector_add"))
            .env("VKMPS_SOCKET", installed.folder.join("nobody.sock"))
            .env("LD_LIBRARY_PATH", installed.library_path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("no vkmpsd listens on the socket"),
            "{name}: {text}"
        );
    }
}

#[test]
fn every_promised_name_is_there_and_does_what_it_says() {
    let daemon = Daemon::start();
    let installed = Installed::new();
    let program = installed.compile(&sources().join("every_name.c"));
    let output = installed.run(
        &program,
        &daemon,
        &[&shader("vector_add"), &shader("fma_loop")],
    );
    assert!(output.contains("every name is there"), "{output}");
}

#[test]
fn the_header_is_c99_and_cxx() {
    let header = include_folder().join("vkmps/client.h");
    for (compiler, arguments) in [
        ("cc", &["-std=c99", "-x", "c"]),
        ("c++", &["-std=c++11", "-x", "c++"]),
    ] {
        let Some(compiler) = tool(compiler) else {
            skipped(&format!("no {compiler} to read the header with"));
            continue;
        };
        let mut command = Command::new(compiler);
        command
            .args(arguments)
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
            .arg(&header);
        output_of(&mut command);
    }
}

#[test]
fn pkg_config_says_how_to_build() {
    let Some(pkg_config) = tool("pkg-config") else {
        return skipped("pkg-config is not installed");
    };
    let installed = Installed::new();
    let mut command = Command::new(pkg_config);
    command
        .args(["--cflags", "--libs", "vkmps"])
        .env("PKG_CONFIG_PATH", installed.folder.join("lib/pkgconfig"));
    let flags = output_of(&mut command);
    let program = installed.folder.join("by_pkg_config");
    let mut compiler = Command::new(tool("cc").expect("a C compiler"));
    compiler
        .arg(sources().join("simple_compute.c"))
        .arg("-o")
        .arg(&program)
        .args(flags.split_whitespace());
    output_of(&mut compiler);
    let daemon = Daemon::start();
    installed.run(&program, &daemon, &[&shader("vector_add")]);
}

/// Header, library and pkg-config file as a package would put them.
struct Installed {
    folder: Folder,
}

impl Installed {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir_all(folder.join("lib/pkgconfig")).expect("a folder");
        let library = folder.join("lib/libvkmps.so.1");
        symlink(built("libvkmps_c.so"), &library).expect("a link");
        symlink("libvkmps.so.1", folder.join("lib/libvkmps.so")).expect("a link");
        symlink(include_folder(), folder.join("include")).expect("a link");
        let template = fs::read_to_string(workspace().join("src/capi/vkmps.pc.in"))
            .expect("the template of vkmps.pc");
        let prefix = folder.to_str().expect("a path in UTF-8");
        let text = template
            .replace("@prefix@", prefix)
            .replace("@libdir@", "${prefix}/lib")
            .replace("@version@", env!("CARGO_PKG_VERSION"));
        assert!(
            !text.contains('@'),
            "a placeholder is left in vkmps.pc:\n{text}"
        );
        fs::write(folder.join("lib/pkgconfig/vkmps.pc"), text).expect("a file");
        Self { folder }
    }

    fn library_path(&self) -> PathBuf {
        self.folder.join("lib")
    }

    fn compile(&self, source: &Path) -> PathBuf {
        let program = self.folder.join(source.file_stem().expect("a C file"));
        let mut compiler =
            Command::new(tool("cc").expect("the C programs need a C compiler: apt install gcc"));
        compiler.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-g",
        ]);
        compiler
            .arg("-I")
            .arg(self.folder.join("include"))
            .arg(source)
            .arg("-o")
            .arg(&program);
        compiler.arg("-L").arg(self.library_path()).arg("-lvkmps");
        output_of(&mut compiler);
        program
    }

    fn run(&self, program: &Path, daemon: &Daemon, arguments: &[&Path]) -> String {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("VKMPS_SOCKET", daemon.socket())
            .env("LD_LIBRARY_PATH", self.library_path());
        output_of(&mut command)
    }
}

fn sources() -> PathBuf {
    workspace().join("tests/c")
}

fn include_folder() -> PathBuf {
    workspace().join("src/capi/include")
}

fn shader(name: &str) -> PathBuf {
    workspace().join("shaders").join(name).with_extension("spv")
}
