//! A trace as a picture: one row per hardware queue, filled as the device was, coloured by client.

use super::Clients;
use super::timeline::Timeline;
use crate::text::escape;
use crate::units::count;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// The picture as SVG.
pub(super) fn draw(timeline: &Timeline, clients: &Clients, title: &str, lost: u64) -> String {
    let shares = timeline.shares_ns();
    let colours = Colours::of(&shares);
    let queues = timeline.queues();
    let rows_end = HEAD + queues.len() * (ROW + GAP);
    let lines = colours.ranked.len().div_ceil(LEGEND_COLUMNS) + 1;
    let height = rows_end + AXIS + lines * LINE + FOOT;
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" viewBox=\"0 0 {0} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>",
        LEFT + COLUMNS + RIGHT
    );
    text(
        &mut svg,
        LEFT,
        24,
        "font-size=\"17\" font-weight=\"bold\"",
        title,
    );
    text(
        &mut svg,
        LEFT,
        44,
        "fill=\"#555\"",
        &summary(timeline, &shares, lost),
    );
    let scale = Scale::of(timeline);
    axis(&mut svg, &scale, rows_end);
    for (place, queue) in queues.iter().enumerate() {
        let top = HEAD + place * (ROW + GAP);
        row(&mut svg, &scale, timeline, &colours, *queue, top);
    }
    for at_ns in &timeline.starts_ns {
        let x = scale.x(*at_ns);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{HEAD}\" x2=\"{x:.1}\" y2=\"{rows_end}\" stroke=\"#d00\" \
             stroke-dasharray=\"4 3\"><title>engine started</title></line>"
        );
    }
    legend(&mut svg, timeline, clients, &colours, rows_end + AXIS);
    svg.push_str("</svg>\n");
    svg
}

fn summary(timeline: &Timeline, shares: &BTreeMap<u64, u64>, lost: u64) -> String {
    let lost = match lost {
        0 => String::new(),
        lost => format!("; {lost} records lost"),
    };
    format!(
        "Batches: {}, pieces: {}, {} on {}{lost}. Height of colour: part of the time.",
        timeline.batches.len(),
        timeline.pieces.len(),
        count(shares.len() as u64, "client"),
        count(timeline.queues().len() as u64, "queue")
    )
}

/// Where times are.
struct Scale {
    begin_ns: u64,
    span_ns: u64,
}

impl Scale {
    fn of(timeline: &Timeline) -> Self {
        Self {
            begin_ns: timeline.begin_ns,
            span_ns: (timeline.end_ns - timeline.begin_ns).max(1),
        }
    }

    /// In columns from the left end of a row.
    #[expect(
        clippy::cast_precision_loss,
        reason = "columns are a thousandth of the span"
    )]
    fn column(&self, at_ns: u64) -> f64 {
        let since = at_ns.saturating_sub(self.begin_ns) as f64;
        (since / self.span_ns as f64 * COLUMNS as f64).min(COLUMNS as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    fn x(&self, at_ns: u64) -> f64 {
        LEFT as f64 + self.column(at_ns)
    }

    /// Between two lines of the axis: 1, 2 or 5 of a power of ten, for about ten of them.
    fn step_ns(&self) -> u64 {
        let least = (self.span_ns / 12).max(1);
        let power = 10_u64.pow(least.ilog10());
        let steps = [1, 2, 5].map(|digit| power.saturating_mul(digit));
        let found = steps.into_iter().find(|step| *step >= least);
        found.unwrap_or_else(|| power.saturating_mul(10))
    }
}

fn axis(svg: &mut String, scale: &Scale, bottom: usize) {
    let (unit, unit_ns) = match scale.step_ns() {
        0..1_000 => ("ns", 1),
        1_000..1_000_000 => ("us", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let step_ns = scale.step_ns();
    let top = HEAD - 6;
    let mut line = Some(0);
    while let Some(since_ns) = line.filter(|since_ns| *since_ns <= scale.span_ns) {
        let x = scale.x(scale.begin_ns.saturating_add(since_ns));
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            bottom + 4,
            bottom + 20,
            since_ns / unit_ns
        );
        line = since_ns.checked_add(step_ns);
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#555\">time, {unit}</text>",
        LEFT - 12,
        bottom + 20
    );
}

/// A queue: in each column as much of a colour as the client had of the column's time.
fn row(
    svg: &mut String,
    scale: &Scale,
    timeline: &Timeline,
    colours: &Colours,
    queue: u8,
    top: usize,
) {
    let middle = top + ROW / 2 + 5;
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">queue {queue}</text>\
         <rect x=\"{LEFT}\" y=\"{top}\" width=\"{COLUMNS}\" height=\"{ROW}\" fill=\"#f1f1f1\" fill-opacity=\"0.7\"/>",
        LEFT - 12
    );
    let columns = fill(scale, timeline, colours, queue);
    let mut from = 0;
    while from < COLUMNS {
        let heights = heights(&columns[from]);
        let same = columns[from..]
            .iter()
            .take_while(|column| self::heights(column) == heights);
        let to = from + same.count();
        let mut bottom = f64::from(u32::try_from(top + ROW).unwrap_or(u32::MAX));
        for (colour, steps) in heights.iter().enumerate().filter(|(_, steps)| **steps > 0) {
            let height = f64::from(*steps) / f64::from(STEPS_PER_PIXEL);
            bottom -= height;
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{bottom}\" width=\"{}\" height=\"{height}\" fill=\"{}\"/>",
                LEFT + from,
                to - from,
                PALETTE[colour]
            );
        }
        from = to;
    }
}

/// Part of each column's time by colour.
fn fill(
    scale: &Scale,
    timeline: &Timeline,
    colours: &Colours,
    queue: u8,
) -> Vec<[f64; PALETTE.len()]> {
    let mut columns = vec![[0.0; PALETTE.len()]; COLUMNS];
    let batches = timeline.batches.iter();
    for batch in batches.filter(|batch| batch.level.queue == queue) {
        let pieces = &timeline.pieces[batch.pieces.clone()];
        let mut parts = [0.0; PALETTE.len()];
        for piece in pieces {
            parts[colours.of_session(piece.session.0)] += 1.0 / pieces.len().max(1) as f64;
        }
        if pieces.is_empty() {
            parts[NOBODY] = 1.0;
        }
        let (begin, end) = (scale.column(batch.begin_ns), scale.column(batch.end_ns));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a column is from 0 to COLUMNS"
        )]
        let (first, last) = (begin as usize, end.ceil() as usize);
        let touched = columns.iter_mut().enumerate().take(last).skip(first);
        for (index, column) in touched {
            let (left, right) = (index as f64, index as f64 + 1.0);
            let covered = (end.min(right) - begin.max(left)).max(0.0);
            for (part, sum) in parts.iter().zip(column) {
                *sum += part * covered;
            }
        }
    }
    columns
}

/// In steps of a fraction of a pixel, so that what looks the same is drawn as one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounded by the height of a row"
)]
fn heights(column: &[f64; PALETTE.len()]) -> [u32; PALETTE.len()] {
    let full = f64::from(STEPS_PER_PIXEL) * ROW as f64;
    column.map(|part| (part.min(1.0) * full).round() as u32)
}

/// Which client has which colour: those with the most time have their own.
struct Colours {
    /// Most time first.
    ranked: Vec<u64>,
    places: HashMap<u64, usize>,
}

impl Colours {
    fn of(shares: &BTreeMap<u64, u64>) -> Self {
        let mut ranked: Vec<u64> = shares.keys().copied().collect();
        ranked.sort_by_key(|session| std::cmp::Reverse(shares[session]));
        // One too many would share a colour with nobody.
        if ranked.len() > OTHERS {
            ranked.truncate(OTHERS);
        }
        let mut ordered = ranked.clone();
        // A client keeps its colour however little its share changes.
        ordered.sort_unstable();
        let places = ordered
            .iter()
            .enumerate()
            .map(|(place, session)| (*session, place));
        Self {
            places: places.collect(),
            ranked,
        }
    }

    fn of_session(&self, session: u64) -> usize {
        self.places.get(&session).copied().unwrap_or(OTHERS)
    }
}

fn legend(svg: &mut String, timeline: &Timeline, clients: &Clients, colours: &Colours, top: usize) {
    let shares = timeline.shares_ns();
    let span_ns = (timeline.end_ns - timeline.begin_ns).max(1);
    let percent = |time_ns: u64| time_ns as f64 / span_ns as f64 * 100.0;
    let named = colours.ranked.iter().map(|session| {
        let label = clients.label(*session);
        let share = percent(shares[session]);
        (colours.of_session(*session), shortened(&label), Some(share))
    });
    let others = shares
        .iter()
        .filter(|(session, _)| !colours.places.contains_key(session));
    let (number, time_ns) = others.fold((0, 0_u64), |(number, sum), (_, time)| {
        (number + 1, sum.saturating_add(*time))
    });
    let others = (number > 0).then(|| {
        let share = percent(time_ns);
        (OTHERS, format!("{number} others"), Some(share))
    });
    let nobody = timeline.batches.iter().any(|batch| batch.pieces.is_empty());
    let nobody = nobody.then(|| (NOBODY, "clearing memory, or unknown".to_owned(), None));
    for (place, (colour, label, share)) in named.chain(others).chain(nobody).enumerate() {
        let x = LEFT + place % LEGEND_COLUMNS * (COLUMNS / LEGEND_COLUMNS);
        let y = top + place / LEGEND_COLUMNS * LINE;
        let share = share.map_or(String::new(), |share| format!("  {share:.1} %"));
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"13\" height=\"13\" fill=\"{}\"/>",
            PALETTE[colour]
        );
        text(svg, x + 19, y + 11, "", &format!("{label}{share}"));
    }
}

/// What fits beside the next one of the legend.
fn shortened(label: &str) -> String {
    match label.char_indices().nth(LABEL_CHARACTERS) {
        Some((end, _)) => format!("{}...", &label[..end]),
        None => label.to_owned(),
    }
}

/// Text of strangers, too.
fn text(svg: &mut String, x: usize, y: usize, style: &str, text: &str) {
    let harmless = escape(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{harmless}</text>");
}

/// Colours that most people can tell apart; the last two are for all others and for nobody.
const PALETTE: [&str; 14] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800", "#7b4fa3",
    "#8c5a2b", "#1b7837", "#e7298a", "#35978f", "#777777", "#bbbbbb",
];
const OTHERS: usize = PALETTE.len() - 2;
const NOBODY: usize = PALETTE.len() - 1;
/// All in pixels of the picture; a column of a row is one.
const COLUMNS: usize = 1200;
const LEFT: usize = 90;
const RIGHT: usize = 30;
const HEAD: usize = 66;
const ROW: usize = 30;
const GAP: usize = 8;
const AXIS: usize = 38;
const LINE: usize = 22;
const FOOT: usize = 6;
const STEPS_PER_PIXEL: u32 = 2;
const LEGEND_COLUMNS: usize = 3;
const LABEL_CHARACTERS: usize = 40;

#[cfg(test)]
mod tests {
    use super::super::tests::clients;
    use super::super::timeline::tests::{completed, level, piece, submitted, timeline};
    use super::*;

    /// x, width and colour of the bars in a row that begins at `top`.
    fn bars(svg: &str, top: usize) -> Vec<(usize, usize, f64, &str)> {
        let attribute = |line: &'_ str, name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let rects = svg
            .lines()
            .filter(|line| line.starts_with("<rect") && !line.contains("100%"));
        rects
            .filter_map(|line| {
                let y: f64 = attribute(line, "y").parse().unwrap();
                let within = (top as f64..(top + ROW) as f64).contains(&y);
                let colour = PALETTE.iter().find(|colour| line.contains(**colour))?;
                let number = |name| attribute(line, name).parse::<f64>().unwrap();
                within.then(|| {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "small"
                    )]
                    let (x, width) = (number("x") as usize, number("width") as usize);
                    (x - LEFT, width, number("height"), *colour)
                })
            })
            .collect()
    }

    #[test]
    fn a_queue_is_filled_by_those_who_had_it_and_as_much_as_they_had_it() {
        let (whole, half) = (level(0, 1), level(1, 1));
        let timeline = timeline(
            vec![
                piece(whole, 1, 1),
                submitted(whole, 100, 1),
                piece(half, 1, 2),
                piece(half, 2, 1),
                submitted(half, 100, 2),
                completed(whole, 700, 600),
                completed(half, 1300, 600),
            ],
            1300,
        );
        let svg = draw(&timeline, &clients(), "a title", 0);
        let full = ROW as f64;
        assert_eq!(bars(&svg, HEAD), [(0, 600, full, PALETTE[0])]);
        assert_eq!(
            bars(&svg, HEAD + ROW + GAP),
            [
                (600, 600, full / 2.0, PALETTE[0]),
                (600, 600, full / 2.0, PALETTE[1])
            ]
        );
        assert!(svg.contains("75.0 %") && svg.contains("25.0 %"), "{svg}");
    }

    #[test]
    fn names_of_strangers_are_text() {
        let timeline = timeline(
            vec![
                piece(level(0, 1), 3, 1),
                submitted(level(0, 1), 100, 1),
                completed(level(0, 1), 200, 50),
            ],
            200,
        );
        let svg = draw(&timeline, &clients(), "<b>&\u{1}", 0);
        assert!(svg.contains("&lt;b&gt;&amp;\\u{1}"), "{svg}");
        assert!(
            svg.contains("&lt;script&gt;") && !svg.contains("<script"),
            "{svg}"
        );
    }

    #[test]
    fn the_axis_has_round_steps_in_a_unit_that_fits() {
        for (span_ns, step_ns) in [
            (1, 1),
            (120, 10),
            (1_300_000, 200_000),
            (5_000_000_000, 500_000_000),
            (3_600_000_000_000, 500_000_000_000),
        ] {
            let scale = Scale {
                begin_ns: 0,
                span_ns,
            };
            assert_eq!(scale.step_ns(), step_ns, "{span_ns}");
        }
        let svg = draw(&timeline(Vec::new(), 5_000_000_100), &clients(), "t", 7);
        assert!(
            svg.contains(">time, ms</text>") && svg.contains(">5000</text>"),
            "{svg}"
        );
        assert!(svg.contains("7 records lost"));
    }

    #[test]
    fn many_clients_and_batches_make_no_large_picture() {
        let mut entries = Vec::new();
        for number in 0..200_000 {
            let at_ns = 1_000 + u64::from(number) * 100;
            let at = level(0, number);
            entries.push(piece(at, u64::from(number) % 100, 1));
            entries.push(submitted(at, at_ns, 1));
            entries.push(completed(at, at_ns + 90, 90));
        }
        let svg = draw(&timeline(entries, 21_000_000), &clients(), "t", 0);
        assert!(svg.len() < 2 << 20, "{}", svg.len());
        assert!(svg.contains("88 others"));
    }
}
