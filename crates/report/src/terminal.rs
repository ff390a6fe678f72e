//! What a terminal shows: tables whose columns stand under each other in any script, lines of blocks, text without commands.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The side of a column that its cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: a head for each column, and rows of as many cells.
pub struct Table {
    heads: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(heads: &[(&str, Side)]) -> Table {
        Table { heads: heads.iter().map(|(h, s)| ((*h).to_owned(), *s)).collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells are shown without commands to the terminal.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|c| line(&c)).collect());
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines, each cut to `columns` if that is known.
    pub fn text(&self, columns: Option<usize>) -> String {
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(i));
            cells.map(|c| c.width()).chain([self.heads[i].0.width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let heads: Vec<String> = self.heads.iter().map(|h| h.0.clone()).collect();
        let mut s = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut text = String::new();
            for (i, (cell, (_, side))) in row.iter().zip(&self.heads).enumerate() {
                let room = " ".repeat(widths[i].saturating_sub(cell.width()));
                let gap = if i == 0 { "" } else { "  " };
                match side {
                    Side::Left => text += &format!("{gap}{cell}{room}"),
                    Side::Right => text += &format!("{gap}{room}{cell}"),
                }
            }
            s += fit(text.trim_end(), columns.unwrap_or(usize::MAX)).as_str();
            s.push('\n');
        }
        s
    }
}

/// Text without commands to the terminal: a control character, but for line ends, is shown as a box. Marks that turn the direction of writing are left out.
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().filter(|c| !turns(*c)).map(shown).collect()
}

/// [`plain`] text in one line.
pub fn line(text: &str) -> String {
    plain(text).replace('\n', "⏎")
}

/// The beginning of a line that fits into so many columns, with `…` where it was cut.
pub fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (mut s, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > columns {
            break;
        }
        s.push(c);
    }
    if columns > 0 {
        s.push('…');
    }
    s
}

/// Heights as blocks, at most `columns` of them: `▇▅▃▂▁`. Values that are no numbers are left out.
pub fn spark(values: &[f64], columns: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let columns = columns.min(values.len());
    let means: Vec<f64> = (0..columns)
        .map(|i| {
            let part = &values[i * values.len() / columns..(i + 1) * values.len() / columns];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let place = |v: f64| if high > low { (v - low) / (high - low) } else { 0.0 };
    means.iter().map(|&v| BLOCKS[(place(v) * 7.0).round() as usize]).collect()
}

/// A bar of so many columns of which a share is full: `━━━━────`.
pub fn bar(share: f64, columns: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * columns as f64).round() as usize;
    "━".repeat(full) + &"─".repeat(columns - full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_in_any_script_and_at_any_width() {
        let mut t = Table::new(&[("run", Side::Left), ("loss", Side::Right)]);
        t.row(["运行".to_owned(), "3.2".to_owned()]);
        t.row(["a\x1b[31m\nb".to_owned(), "12.25".to_owned()]);
        assert_eq!(t.text(None), "run        loss\n运行        3.2\na\u{fffd}[31m⏎b  12.25\n");
        for columns in [0, 1, 2, 5, 10_000] {
            assert!(t.text(Some(columns)).lines().all(|l| l.width() <= columns));
        }
        assert_eq!(fit("运行中", 5), "运行…");
        assert_eq!(fit("运行中", 4), "运…");
    }

    #[test]
    fn a_line_of_blocks_follows_the_values() {
        assert_eq!(spark(&[3.0, 2.0, f64::NAN, 1.0], 10), "█▅▁");
        assert_eq!(spark(&[1.0, 1.0], 1), "▁");
        assert_eq!(spark(&[], 5), "");
        assert_eq!(bar(0.5, 4) + &bar(7.0, 2) + &bar(f64::NAN, 1), "━━──━━─");
    }

    #[test]
    fn text_gives_no_command() {
        assert_eq!(plain("a\u{202e}b\x1b]0;x\x07\tc\nd"), "ab\u{fffd}]0;x\u{fffd} c\nd");
    }
}
