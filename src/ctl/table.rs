//! Columns of text.

use crate::paint::Paint;

/// A table with a heading; the last column is not padded.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    heading: [(&'static str, Align); N],
    rows: Vec<[String; N]>,
}

/// To which side a column's cells go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(heading: [(&'static str, Align); N]) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The heading's line, then a line per row.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = self.rows.iter().map(|row| width(&row[column]));
            cells.fold(width(self.heading[column].0), usize::max)
        });
        let heading = self.heading.map(|(title, _)| title.to_owned());
        let mut lines = vec![paint.heading(&self.line(&heading, &widths))];
        lines.extend(self.rows.iter().map(|row| self.line(row, &widths)));
        lines
    }

    fn line(&self, cells: &[String; N], widths: &[usize; N]) -> String {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let padding = " ".repeat(widths[column].saturating_sub(width(cell)));
            match self.heading[column].1 {
                Align::Right => line.push_str(&padding),
                Align::Left => {}
            }
            line.push_str(cell);
            match self.heading[column].1 {
                Align::Left => line.push_str(&padding),
                Align::Right => {}
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// A value per line behind its label, labels aligned to the right.
pub(crate) fn fields(fields: &[(&str, String)]) -> String {
    let widest = fields.iter().map(|(label, _)| width(label)).max();
    let mut text = String::new();
    for (label, value) in fields {
        text.push_str(&" ".repeat(widest.unwrap_or(0) - width(label)));
        text.push_str(&format!("{label}: {value}\n"));
    }
    text
}

/// Columns that a text takes, if every character takes one.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([
            ("ID", Align::Right),
            ("USER", Align::Left),
            ("NAME", Align::Left),
        ]);
        table.row(["7".into(), "jörg".into(), "x".into()]);
        table.row(["1000".into(), "root".into(), String::new()]);
        let lines = table.lines(Paint::Never);
        assert_eq!(lines, ["  ID  USER  NAME", "   7  jörg  x", "1000  root"]);
    }

    #[test]
    fn labels_are_aligned_to_the_right() {
        let text = fields(&[("Id", "1".into()), ("Memory", "2".into())]);
        assert_eq!(text, "    Id: 1\nMemory: 2\n");
    }
}
