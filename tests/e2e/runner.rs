//! Runs checks and says how they went, in the form of Rust's own test harness.

use crate::arguments::Plan;
use crate::boot::{BootError, Layer, Machine, World};
use crate::checks::{self, Check};
use crate::guest::{SERVICE, SOCKET, User, text, told};
use std::cell::RefCell;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use vkmps_tests::binaries::{build_folder, workspace};

/// Runs what the plan says.
pub(crate) fn run(plan: &Plan) -> ExitCode {
    let selected: Vec<Check> = checks::all()
        .filter(|check| wanted(plan, check.name))
        .collect();
    let world = match World::new() {
        Ok(world) => world,
        Err(BootError::Unable(why)) => {
            println!("SKIPPED: no machine can be booted here: {why}");
            // The line before counts as one test that its harness calls passed.
            println!("{}", result(1, 0, selected.len()));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("vkmps-e2e: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    clear_on_signals(&world);
    std::panic::set_hook(Box::new(|panic| {
        PANIC.with_borrow_mut(|text| *text = panic.to_string());
    }));
    let installed = caught(|| install(&world, &plan.packages));
    let base = match installed {
        Ok(base) => base,
        Err(failure) => {
            println!("test the_packages_install ... FAILED\n{failure}");
            println!("{}", result(0, 1, selected.len()));
            return ExitCode::FAILURE;
        }
    };
    println!("test the_packages_install ... ok");
    if plan.shell {
        return shell(&world, &base);
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(check) = selected.get(next.fetch_add(1, Ordering::Relaxed)) {
            match one(&world, &base, *check) {
                Ok(()) => println!("test {} ... ok", check.name),
                Err(failure) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("test {} ... FAILED\n{failure}", check.name);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.min(selected.len()) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner();
    println!("{}", result(selected.len() + 1 - failed, failed, 0));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

fn wanted(plan: &Plan, name: &str) -> bool {
    plan.filters.is_empty()
        || plan
            .filters
            .iter()
            .any(|filter| name.contains(filter.as_str()))
}

fn result(passed: usize, failed: usize, ignored: usize) -> String {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    format!(
        "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out"
    )
}

/// The machine that all others stand on: the packages and the users.
fn install(world: &World, packages: &Path) -> Layer {
    hand_in(world, packages).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let machine = Machine::boot(world, &[]).unwrap_or_else(|error| panic!("{}", chain(&error)));
    for package in ["vkmpsd", "libvkmps1", "libvkmps-dev"] {
        // Of this machine, should it have them.
        let _ = machine.run(&["dpkg", "--purge", "--force-depends", package]);
    }
    let command = format!("dpkg --install {}/packages/*.deb", crate::boot::STAGING);
    machine.ok(&["sh", "-c", &command]);
    for group in ["render", "gpu-admin"] {
        machine.ok(&["groupadd", "--force", "--system", group]);
    }
    for user in User::ORDINARY {
        let (uid, groups) = (user.uid().to_string(), user.groups().join(","));
        machine.ok(&[
            "useradd",
            "--uid",
            &uid,
            "--user-group",
            "--groups",
            &groups,
            user.name(),
        ]);
    }
    // Debian enables and starts what a package brings; an administrator of another system does it by this.
    machine.ok(&["systemctl", "enable", "--now", SOCKET]);
    let output = machine.run(&["systemctl", "is-enabled", SERVICE]);
    assert_ne!(
        text(&output.stdout).trim(),
        "enabled",
        "the socket starts it"
    );
    machine.into_layer()
}

fn hand_in(world: &World, packages: &Path) -> Result<(), BootError> {
    world.hand_in(
        &build_folder().join("vkmps-test-client"),
        "vkmps-test-client",
    )?;
    for shader in files(&workspace().join("shaders"), "spv")
        .into_iter()
        .chain(files(&workspace().join("tests/shaders"), "spv"))
    {
        world.hand_in(&shader, &format!("shaders/{}", name(&shader)))?;
    }
    let source = workspace().join("tests/c/simple_compute.c");
    world.hand_in(&source, "c/simple_compute.c")?;
    for package in files(packages, "deb") {
        world.hand_in(&package, &format!("packages/{}", name(&package)))?;
    }
    Ok(())
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Runs one check on a fresh machine.
fn one(world: &World, base: &Layer, check: Check) -> Result<(), String> {
    let machine = caught(|| {
        Machine::boot(world, std::slice::from_ref(base))
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    })?;
    caught(|| (check.run)(&machine))
        .map_err(|failure| format!("{failure}\n{}", diagnosis(&machine)))
}

/// What a panic said.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| PANIC.take())
}

thread_local! {
    /// What the last panic of this thread said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn diagnosis(machine: &Machine) -> String {
    let units = ["--no-pager", "--full", "status", SERVICE, SOCKET];
    let status = machine.run(&[&["systemctl"], &units[..]].concat());
    let journal = [
        "journalctl",
        "--boot",
        "--no-pager",
        "--no-hostname",
        "--lines=80",
    ];
    let journal = machine.run(&[&journal[..], &["--unit=vkmpsd", "--unit=vkmpsd.socket"]].concat());
    format!(
        "--- status: {}--- journal: {}---",
        told(&status),
        told(&journal)
    )
}

/// A shell for somebody who looks for a fault.
fn shell(world: &World, base: &Layer) -> ExitCode {
    let machine = match Machine::boot(world, std::slice::from_ref(base)) {
        Ok(machine) => machine,
        Err(error) => {
            eprintln!("vkmps-e2e: {}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let mut command = machine.command(&["bash", "-l"]);
    command.stdin(Stdio::inherit());
    if let Some(terminal) = std::env::var_os("TERM") {
        command.env("TERM", terminal);
    }
    let _ = command.status();
    ExitCode::SUCCESS
}

/// Ctrl-C and the like leave no machine behind. By handlers, not by a mask: what is started would inherit that.
fn clear_on_signals(world: &World) {
    let folder = world.folder().to_owned();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let signal = runtime.and_then(|runtime| runtime.block_on(a_signal()));
        match signal {
            Ok(()) => {
                World::clear(&folder);
                leave();
            }
            Err(error) => eprintln!("vkmps-e2e: signals are not handled, ignoring: {error}"),
        }
    });
}

async fn a_signal() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

#[expect(clippy::exit, reason = "other threads are in the middle of checks")]
fn leave() -> ! {
    std::process::exit(130)
}
