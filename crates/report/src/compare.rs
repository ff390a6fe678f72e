//! Several runs side by side: their curves in one picture, their settings where they differ.

use std::fmt::Write;

use crate::curves::{self, Figure, Series};
use crate::history::History;
use crate::page::{Page, escape};

/// A run to compare.
pub struct Compared {
    /// Its name.
    pub name: String,
    /// What it went through.
    pub history: History,
}

/// A page about runs and the table about them, whose first row holds the heads.
pub fn html(runs: &[Compared], table: &[Vec<String>], differences: &[Vec<String>]) -> String {
    let names: Vec<&str> = runs.iter().map(|r| r.name.as_str()).collect();
    let mut s =
        format!("<h1>{} runs side by side</h1><p class=lead>{}</p>", runs.len(), escape(&names.join(", ")));
    let figure = |title: &str, x: &str, dots: bool, points: &dyn Fn(&History) -> Vec<(f64, f64)>| {
        let series = runs.iter().enumerate().map(|(colour, r)| {
            let points = points(&r.history);
            Series { name: r.name.clone(), colour, points, dots }
        });
        let (title, x) = (title.to_owned(), x.to_owned());
        Figure { title, x, log: false, zero: false, half: false, series: series.collect(), marks: vec![] }
            .html()
    };
    s += &figure("Loss on held-out text, over tokens read", "tokens", true, &|h| {
        h.evaluations.iter().map(|e| (tokens_at(h, e.step), e.loss)).collect()
    });
    s += &figure("Loss on the text being learned, over tokens read", "tokens", false, &|h| {
        h.steps.iter().map(|p| (p.tokens as f64, p.loss)).collect()
    });
    s += &figure("The same over time", "seconds", false, &|h| {
        h.steps.iter().map(|p| (p.seconds, p.loss)).collect()
    });
    for (title, rows) in [("The numbers", table), ("Settings in which they differ", differences)] {
        let Some((heads, rows)) = rows.split_first().filter(|(_, rows)| !rows.is_empty()) else { continue };
        let _ = write!(s, "<h2>{title}</h2><div class=wide><table><tr>");
        heads.iter().for_each(|h| s += &format!("<th>{}", escape(h)));
        for row in rows {
            s += "</tr><tr>";
            row.iter().for_each(|c| s += &format!("<td>{}", escape(c)));
        }
        s += "</tr></table></div>";
    }
    Page { language: "en", title: "Runs side by side", style: curves::STYLE, script: curves::SCRIPT }
        .around(&s)
}

fn tokens_at(history: &History, step: u64) -> f64 {
    let before = history.steps.iter().rev().find(|s| s.step <= step);
    before.map_or(0.0, |s| s.tokens as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_share_a_picture_and_names_are_no_markup() {
        let metrics = |loss: f64| {
            let step =
                |i: u64| format!("{{\"step\":{i},\"tokens\":{},\"loss\":{loss},\"seconds\":{i}}}\n", i * 10);
            (1..5).map(step).collect::<String>() + "{\"step\":4,\"validation_loss\":2.0}\n"
        };
        let run =
            |name: &str, loss| Compared { name: name.into(), history: History::read(&metrics(loss), "", "") };
        let cells = |row: [&str; 2]| row.map(str::to_owned).to_vec();
        let page = html(
            &[run("<a>", 3.0), run("b", 2.0)],
            &[cells(["run", "x"]), cells(["<a>", "1"])],
            &[cells(["run", "y"])],
        );
        assert_eq!(page.matches("<polyline").count(), 2 * 3 * 2);
        assert!(page.contains("&lt;a&gt;") && !page.contains("<a>") && !page.contains("differ</h2>"));
    }
}
