//! A picture of which process had work on the device when.

use super::arm::{Run, Span};
use super::plan::Stage;
use std::fmt::Write;

/// All runs below each other on one scale of time, as SVG.
pub(crate) fn draw(runs: &[&Run]) -> String {
    let longest_ms = runs.iter().map(|run| run.total_ms()).fold(1.0, f64::max);
    let heights: usize = runs.iter().map(|run| height(run)).sum();
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _written = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + LEFT,
        heights + FOOT
    );
    let mut top = 0;
    for run in runs {
        panel(&mut svg, run, top, longest_ms);
        top += height(run);
    }
    legend(&mut svg, top);
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, run: &Run, top: usize, longest_ms: f64) {
    let _written = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}: {:.0} ms</text>",
        top + HEAD - 10,
        run.name,
        run.total_ms()
    );
    for worker in 0..run.workers() {
        let y = top + HEAD + worker * ROW;
        let _written = writeln!(
            svg,
            "<text x=\"4\" y=\"{}\">{worker}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{}\" fill=\"#f2f2f2\"/>",
            y + ROW - 5,
            ROW - 2
        );
    }
    for span in &run.spans {
        bar(svg, run, span, top, longest_ms);
    }
}

fn bar(svg: &mut String, run: &Run, span: &Span, top: usize, longest_ms: f64) {
    let x = |at_ns: u64| {
        (at_ns.saturating_sub(run.start_ns()) as f64 / 1e6 / longest_ms) * WIDTH as f64
    };
    let (from, to) = (x(span.submit_ns), x(span.complete_ns));
    let _written = writeln!(
        svg,
        "<rect x=\"{:.2}\" y=\"{}\" width=\"{:.2}\" height=\"{}\" fill=\"{}\" fill-opacity=\"0.5\"/>",
        LEFT as f64 + from,
        top + HEAD + span.worker * ROW,
        (to - from).max(0.5),
        ROW - 2,
        colour(span.stage)
    );
}

fn legend(svg: &mut String, top: usize) {
    for (place, stage) in [Stage::Mandelbrot, Stage::Blur, Stage::Edges]
        .into_iter()
        .enumerate()
    {
        let x = LEFT + place * 130;
        let _written = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            top + 12,
            colour(stage),
            x + 18,
            top + 22,
            stage.name()
        );
    }
    let _written = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\">one row per process; a bar is a dispatch from submit to completion</text>",
        LEFT + 400,
        top + 22
    );
}

fn height(run: &Run) -> usize {
    HEAD + run.workers() * ROW
}

fn colour(stage: Stage) -> &'static str {
    match stage {
        Stage::Mandelbrot => "#1f5fa8",
        Stage::Blur => "#2e8b57",
        Stage::Edges => "#c0562b",
    }
}

/// All in SVG pixels.
const LEFT: usize = 28;
const WIDTH: usize = 1000;
const HEAD: usize = 36;
const ROW: usize = 18;
const FOOT: usize = 40;
