//! The report of [`crate::prepare`] as Markdown and as a page that opens offline: what was kept, what was dropped and why.

use std::fmt::Write;

use pupil_report::page::{self, escape};
use pupil_report::{number, size};

use crate::clean::Reason;
use crate::prepare::{FileReport, Report, Tally};

/// All reasons, in the order in which a report tells them.
const REASONS: [Reason; 18] = [
    Reason::Broken,
    Reason::Empty,
    Reason::Short,
    Reason::Long,
    Reason::Repetition,
    Reason::Letters,
    Reason::Script,
    Reason::Duplicate,
    Reason::NearDuplicate,
    Reason::Advertising,
    Reason::Footer,
    Reason::SearchWords,
    Reason::SiteName,
    Reason::LostLines,
    Reason::Stamp,
    Reason::Control,
    Reason::Replaced,
    Reason::Normalised,
];

impl Report {
    fn told(&self) -> impl Iterator<Item = (Reason, &Tally)> {
        REASONS.iter().filter_map(|r| self.reasons.get(r.text()).map(|t| (*r, t)))
    }

    /// The encodings with the number of files in each.
    fn encodings(&self) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> = Vec::new();
        for name in self.files.iter().filter_map(|f| f.encoding.as_ref()) {
            match all.iter_mut().find(|e| e.0 == *name) {
                Some(e) => e.1 += 1,
                None => all.push((name.clone(), 1)),
            }
        }
        all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        all
    }

    /// A few lines for the terminal.
    pub fn summary(&self) -> String {
        let mut s = String::new();
        for (kind, k) in &self.kept {
            let _ = writeln!(
                s,
                "  kept {} {kind}, {}, {} of them held out",
                number(k.records),
                size(k.bytes),
                number(k.validation)
            );
        }
        for (reason, t) in self.told() {
            let what = if reason.drops_record() { "dropped" } else { "cleaned" };
            let _ = writeln!(s, "  {what} {}: {}", number(t.count), reason.text());
        }
        for f in self.files.iter().filter(|f| f.problem.is_some()).take(8) {
            let _ = writeln!(s, "  not read: {} {}", f.name, f.problem.as_deref().unwrap_or_default());
        }
        let sample = |name: &str| {
            let of = self.files.iter().find(|f| f.encoding.as_deref() == Some(name) && f.sample.is_some());
            of.and_then(|f| f.sample.as_ref()).map_or(String::new(), |s| format!(" (“{s}”)"))
        };
        let others: Vec<String> = self
            .encodings()
            .into_iter()
            .filter(|e| e.0 != "UTF-8")
            .map(|(name, n)| format!("{n} in {name}{}", sample(&name)))
            .collect();
        if !others.is_empty() {
            let _ = writeln!(s, "  encodings other than UTF-8: {}", others.join(", "));
        }
        s
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut s = String::from("# What became of the data\n\n");
        let _ = writeln!(
            s,
            "{} files, {} as stored, {} records with {} of text.\n\n## Kept\n\n| kind | records | text | held out |\n|---|---:|---:|---:|",
            number(self.files.len() as u64),
            size(self.stored),
            number(self.records),
            size(self.bytes)
        );
        for (kind, k) in &self.kept {
            let _ = writeln!(
                s,
                "| {kind} | {} | {} | {} |",
                number(k.records),
                size(k.bytes),
                number(k.validation)
            );
        }
        s += "\n## Dropped and changed\n\n| reason | how often | text |\n|---|---:|---:|\n";
        for (reason, t) in self.told() {
            let _ = writeln!(s, "| {} | {} | {} |", reason.text(), number(t.count), size(t.bytes));
        }
        if !self.near {
            s += "\nNear duplicates were not looked for.\n";
        }
        for (reason, t) in self.told().filter(|(_, t)| !t.examples.is_empty()) {
            let _ = writeln!(s, "\n### {}\n", reason.text());
            for (place, what) in &t.examples {
                let _ = writeln!(s, "- `{}` {}", place.replace('`', "'"), what.replace('|', "\\|"));
            }
        }
        s += "\n## Files\n\n| file | format | encoding | records | kept | |\n|---|---|---|---:|---:|---|\n";
        for f in &self.files {
            let _ = writeln!(
                s,
                "| {} | {} | {} | {} | {} | {} |",
                f.name.replace('|', "\\|"),
                f.format,
                f.told_encoding().replace('|', "\\|"),
                number(f.records),
                number(f.kept),
                f.problem.as_deref().unwrap_or_default().replace('|', "\\|")
            );
        }
        if !self.passed.is_empty() {
            s += "\n## Passed over\n\n";
            self.passed.iter().for_each(|p| s += &format!("- {p}\n"));
        }
        s
    }

    /// The report as a page.
    pub fn html(&self) -> String {
        let mut s = String::new();
        let kept: u64 = self.kept.values().map(|k| k.records).sum();
        let held: u64 = self.kept.values().map(|k| k.validation).sum();
        let text: u64 = self.kept.values().map(|k| k.bytes).sum();
        let _ = write!(
            s,
            "<h1>What became of the data</h1><p>{} files, {} as stored: {} records with {} of text.</p>",
            number(self.files.len() as u64),
            size(self.stored),
            number(self.records),
            size(self.bytes)
        );
        let shown = [
            (number(kept), "records kept"),
            (size(text), "of text kept"),
            (number(self.records.saturating_sub(kept)), "records dropped"),
            (number(held), "held out for validation"),
        ];
        s += &page::cards(&shown.map(|(value, label)| (value, label.to_owned())));
        let kinds: Vec<(String, u64)> = self.kept.iter().map(|(k, v)| (k.clone(), v.records)).collect();
        let dropped = |drops: bool| -> Vec<(String, u64)> {
            self.told()
                .filter(|(r, _)| r.drops_record() == drops)
                .map(|(r, t)| (r.text().to_owned(), t.count))
                .collect()
        };
        let first = self.lengths.iter().position(|n| *n > 0).unwrap_or(0);
        let last = self.lengths.iter().rposition(|n| *n > 0).unwrap_or(0);
        let lengths: Vec<(String, u64)> =
            (first..=last).map(|i| (range(i), self.lengths.get(i).copied().unwrap_or(0))).collect();
        let mut scripts: Vec<(String, u64)> = self.scripts.iter().map(|(k, v)| (k.clone(), *v)).collect();
        scripts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        scripts.truncate(12);
        let encodings: Vec<(String, u64)> =
            self.encodings().into_iter().map(|(k, v)| (k, v as u64)).collect();
        for (title, bars, colour) in [
            ("Kept, by kind", &kinds, "#2b7a78"),
            ("Dropped records, by reason", &dropped(true), "#b23a48"),
            ("Cleaned within records", &dropped(false), "#c98a1b"),
            ("Characters of the kept records", &lengths, "#2b7a78"),
            ("Letters, by script", &scripts, "#3d5a98"),
            ("Files, by encoding", &encodings, "#3d5a98"),
        ] {
            if !bars.is_empty() {
                let _ = write!(s, "<h2>{title}</h2>{}", page::bars(bars, colour));
            }
        }
        if !self.near {
            s += "<p>Near duplicates were not looked for.</p>";
        }
        let unread: Vec<&FileReport> = self.files.iter().filter(|f| f.problem.is_some()).collect();
        if !unread.is_empty() {
            let _ =
                write!(s, "<h2>Files that could not be read: {}</h2><table>", number(unread.len() as u64));
            for f in unread.iter().take(MANY) {
                let why = escape(f.problem.as_deref().unwrap_or_default());
                let _ =
                    write!(s, "<tr><td class=place>{}</td><td class=bad>{why}</td></tr>", escape(&f.name));
            }
            s += "</table>";
        }
        s += "<h2>Examples</h2>";
        for (reason, t) in self.told().filter(|(_, t)| !t.examples.is_empty()) {
            let open = if t.examples.len() <= 4 { " open" } else { "" };
            let _ =
                write!(s, "<details{open}><summary>{}: {}</summary><table>", reason.text(), number(t.count));
            for (place, what) in &t.examples {
                let _ = write!(s, "<tr><td class=place>{}</td><td>{}</td></tr>", escape(place), escape(what));
            }
            s += "</table></details>";
        }
        let open = if self.files.len() <= MANY { " open" } else { "" };
        let count = number(self.files.len() as u64);
        let _ = write!(s, "<h2>Files</h2><details{open}><summary>all {count}</summary>");
        s += "<table class=files><tr><th>file<th>format<th>encoding<th>records<th>kept<th></tr>";
        for f in &self.files {
            let _ = write!(
                s,
                "<tr><td class=place>{}</td><td>{}</td><td>{}</td><td class=n>{} <small>read</small></td><td class=n>{} <small>kept</small></td><td class=bad>{}</td></tr>",
                escape(&f.name),
                f.format,
                escape(&f.told_encoding()),
                number(f.records),
                number(f.kept),
                escape(f.problem.as_deref().unwrap_or_default())
            );
        }
        s += "</table></details>";
        if !self.passed.is_empty() {
            s += "<h2>Passed over</h2><ul>";
            self.passed.iter().for_each(|p| s += &format!("<li>{}</li>", escape(p)));
            s += "</ul>";
        }
        page::Page { language: "en", title: "What became of the data", style: STYLE, script: "" }.around(&s)
    }
}

impl FileReport {
    /// The encoding, what was replaced, and of a guess what it made of a line.
    fn told_encoding(&self) -> String {
        let mut s = self.encoding.clone().unwrap_or_else(|| "–".to_owned());
        if self.replaced > 0 {
            let _ = write!(s, ", {} replaced", number(self.replaced));
        }
        if let Some(sample) = &self.sample {
            let _ = write!(s, ", a guess: “{sample}”");
        }
        s
    }
}

/// Files that a page shows without being asked.
const MANY: usize = 40;

/// What this page has beside the common style.
const STYLE: &str = "main{max-width:60rem}th{white-space:nowrap}td,th{overflow-wrap:anywhere}\
.place{width:28%;font:12.5px ui-monospace,monospace;color:var(--soft)}.bad{color:var(--bad)}summary{cursor:pointer;padding:.3rem 0;font-weight:600}\
small{display:none}@media(max-width:36rem){small{display:inline}td.place{display:block;width:auto;border:0;padding-bottom:0}td.place+td{display:block}\
.files tr{display:block;border-bottom:1px solid var(--line)}.files th{display:none}.files td{display:inline-block;border:0}.files td.place,.files td.bad{display:block}}";

/// The characters of bin `i`: those whose number has `i` binary digits.
fn range(i: usize) -> String {
    match i {
        0 => "0".to_owned(),
        1 => "1".to_owned(),
        _ => format!("{} – {}", number(1 << (i - 1)), number((1 << i) - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut report = Report { records: 1, lengths: vec![0, 1], ..Report::default() };
        let examples = vec![("a<b>.txt:1".to_owned(), "<script>alert(1)</script>".to_owned())];
        report.reasons.insert(Reason::Broken.text().into(), Tally { count: 1, bytes: 0, examples });
        let page = report.html();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert!(report.markdown().contains("records that could not be read | 1"));
        assert!(report.summary().contains("dropped 1"));
    }
}
