//! The demo.

use crate::bench;
use std::fs;
use std::path::Path;
use vkmps_tests::binaries::output_of;
use vkmps_tests::folder::Folder;

#[test]
fn the_demo_leaves_right_pictures_a_table_and_a_timeline() {
    let folder = Folder::new();
    let size = ["--size", "96", "--iterations", "64"];
    let text = output_of(
        bench(&["demo", "--clients", "3"])
            .args(size)
            .args(["-o"])
            .arg(&*folder),
    );
    for measured in [
        "shared",
        "separate",
        "time to first result",
        "total time",
        "dispatches per second",
        "memory of the processes",
        "3 processes",
        "LP_NUM_THREADS",
    ] {
        assert!(text.contains(measured), "{measured} is not in:\n{text}");
    }
    for name in ["mandelbrot", "blur", "edges"] {
        // What it was compared with is the CPU reference; a wrong picture is a failure of the whole program.
        assert!(text.contains(&format!("{name}: ")), "{text}");
        assert!(is_png(&folder.join(name).with_extension("png")));
    }
    let timeline = fs::read_to_string(folder.join("timeline.svg")).unwrap();
    assert!(timeline.starts_with("<svg") && timeline.trim_end().ends_with("</svg>"));
    let dispatches = timeline.matches("fill-opacity").count();
    // Two ways of 2 x 2 tiles and twice 6 strips.
    assert_eq!(dispatches, 2 * (4 + 6 + 6));
}

#[test]
fn the_demo_takes_a_picture_of_the_users_instead() {
    let (first, second) = (Folder::new(), Folder::new());
    let short = ["demo", "--clients", "2", "--device", "0"];
    let size = ["--size", "64", "--iterations", "16"];
    output_of(bench(&short).args(size).arg("-o").arg(&*first));
    let picture = first.join("mandelbrot.png");
    output_of(bench(&short).arg(&picture).arg("-o").arg(&*second));
    // The same stages on the same picture.
    for name in ["blur.png", "edges.png"] {
        let of = |folder: &Folder| fs::read(folder.join(name)).unwrap();
        assert!(of(&first) == of(&second), "{name} differs");
    }
    assert!(!second.join("mandelbrot.png").exists());
}

#[test]
fn what_is_no_picture_is_named() {
    let folder = Folder::new();
    let text = folder.join("text.png");
    fs::write(&text, "no picture").unwrap();
    for path in [text, folder.join("missing.png")] {
        let output = bench(&["demo"])
            .arg(&path)
            .arg("-o")
            .arg(folder.join("out"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&*path.to_string_lossy()), "{said}");
    }
}

fn is_png(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG\r\n"))
}
