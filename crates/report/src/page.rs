//! The shell of a page: one file that opens offline, by day and by night, on a telephone and on paper.
//!
//! A policy in its head keeps a page from loading anything, so that it cannot call home whatever text ends up in it.

/// What the policy calls style and scripts that stand in the page itself. (In two parts, so that nobody takes the word for Rust's.)
const INLINE: &str = concat!("'un", "safe-inline'");

/// What a page is, beside its body.
pub struct Page<'a> {
    /// `en` or `zh`.
    pub language: &'a str,
    /// The browser's title.
    pub title: &'a str,
    /// Style of this page alone, after [`STYLE`].
    pub style: &'a str,
    /// A script that runs when the page is there; without one the page is forbidden to run any.
    pub script: &'a str,
}

impl Page<'_> {
    /// The whole page around a body, which is HTML.
    pub fn around(&self, body: &str) -> String {
        let (script, may) = match self.script {
            "" => (String::new(), String::new()),
            s => (format!("<script>{s}</script>"), format!(";script-src {INLINE}")),
        };
        format!(
            "<!doctype html><html lang={}><meta charset=utf-8>\
             <meta http-equiv=Content-Security-Policy content=\"default-src 'none';style-src {INLINE}{may}\">\
             <meta name=viewport content='width=device-width,initial-scale=1'><meta name=color-scheme content='light dark'>\
             <title>{}</title><style>{STYLE}{}</style><main>{body}</main>{script}</html>\n",
            self.language,
            escape(self.title),
            self.style
        )
    }
}

/// Text as it stands between tags or in a quoted attribute. What a browser cannot show is shown as a box.
pub fn escape(text: &str) -> String {
    let mut s = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => s.push_str("&amp;"),
            '<' => s.push_str("&lt;"),
            '>' => s.push_str("&gt;"),
            '"' => s.push_str("&quot;"),
            '\'' => s.push_str("&#39;"),
            '\n' | '\t' => s.push(c),
            c if c.is_control() => s.push('\u{fffd}'),
            c => s.push(c),
        }
    }
    s
}

/// JSON as it may stand in a `<script>`: no `</script>`, no comment and no line end of JavaScript can be in it.
pub fn json_in_script(json: &str) -> String {
    let mut s = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => s.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => s.push(c),
        }
    }
    s
}

/// Text as a cell of a Markdown table.
pub fn markdown_cell(text: &str) -> String {
    let mut s = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' => s.extend(['\\', c]),
            '<' => s.push_str("&lt;"),
            '>' => s.push_str("&gt;"),
            '&' => s.push_str("&amp;"),
            '\n' => s.push('⏎'),
            c if c.is_control() => s.push('\u{fffd}'),
            c => s.push(c),
        }
    }
    s
}

/// Text as a block of code in Markdown, with a fence that it cannot close.
pub fn markdown_block(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let shown: String =
        text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect();
    format!("{fence}text\n{}\n{fence}\n", shown.trim_end_matches('\n'))
}

/// A bar for each name, with its number to the right. Not a picture, so that words keep their size on a telephone.
pub fn bars(bars: &[(String, u64)], colour: &str) -> String {
    let most = bars.iter().map(|b| b.1).max().unwrap_or(1).max(1) as f64;
    let mut s = String::from("<div class=bars>");
    for (name, n) in bars {
        let share = *n as f64 / most * 100.0;
        s += &format!(
            "<span>{}</span><div><i style='background:{colour};flex-basis:{share:.1}%'></i>{}</div>",
            escape(&name.replace('_', " ")),
            crate::number(*n)
        );
    }
    s + "</div>"
}

/// Numbers that stand out, each with what it is.
pub fn cards(cards: &[(String, String)]) -> String {
    let each =
        cards.iter().map(|(value, label)| format!("<div><b>{}</b>{}</div>", escape(value), escape(label)));
    format!("<div class=cards>{}</div>", each.collect::<String>())
}

/// What all pages look like.
pub const STYLE: &str = "\
:root{--ink:#1d2733;--soft:#5b6672;--line:#e2ddd0;--paper:#fbfaf7;--card:#fff;--bad:#b23a48;--good:#1f8a4c}\
@media(prefers-color-scheme:dark){:root{--ink:#e8e6e0;--soft:#a3abb5;--line:#363d47;--paper:#171b21;--card:#1f252d;--bad:#e2788a;--good:#5cc389}}\
body{font:16px/1.55 system-ui,'Noto Sans CJK SC',sans-serif;color:var(--ink);background:var(--paper);margin:0}\
main{max-width:46rem;margin:0 auto;padding:2rem 1.1rem}h1{font-size:1.9rem;line-height:1.2;margin:0;overflow-wrap:anywhere}h2{margin:2.4rem 0 .4rem;font-size:1.25rem}\
h3{margin:1.3rem 0 0;font-size:1rem}h3 span{color:var(--soft);font-weight:400}h3+p{margin:.1rem 0}.lead{font-size:1.08rem;color:var(--soft)}\
svg{width:100%;height:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}.grid{stroke:var(--line)}\
.tick{font-size:12px;fill:var(--soft)}.axis{font-size:13px;fill:var(--soft)}.name{font-size:13px;font-weight:600}.mark{stroke:var(--soft);stroke-dasharray:4,4}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
th{color:var(--soft);font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}.answers td:first-child{white-space:nowrap;width:9rem}\
.prompt{font-weight:600;margin:1.2rem 0 .2rem}.foot{color:var(--soft);font-size:.9rem;margin-top:2.5rem}\
.cards{display:flex;gap:.75rem;flex-wrap:wrap;margin:1.2rem 0}.cards div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.7rem 1rem;flex:1;min-width:7.5rem;color:var(--soft);font-size:.9rem}\
.cards b{display:block;font-size:1.4rem;color:var(--ink);font-variant-numeric:tabular-nums;white-space:nowrap}\
.bars{display:grid;grid-template-columns:minmax(8rem,19rem) 1fr;gap:.2rem .75rem;align-items:center}.bars span{text-align:right}\
.bars div{display:flex;align-items:center;gap:.5rem;color:var(--soft);white-space:nowrap}.bars i{height:1.1rem;min-width:2px;border-radius:2px}\
@media(max-width:36rem){.bars{grid-template-columns:1fr;gap:0}.bars span{text-align:left;margin-top:.35rem}}\
@media print{:root{--ink:#000;--soft:#444;--line:#ccc;--paper:#fff;--card:#fff}body{font-size:11pt}main{max-width:none;padding:0}svg,table,figure,h3+p,.cards{break-inside:avoid}h2,h3{break-after:avoid}details{display:block}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a href='x' \"&\0>"), "&lt;a href=&#39;x&#39; &quot;&amp;\u{fffd}&gt;");
        let json = json_in_script(r#"["</script><!--","\u2028 "]"#);
        assert!(!json.contains('<') && json.starts_with(r#"["\u003c/script\u003e"#), "{json}");
        assert_eq!(json_in_script("\"\u{2028}\u{2029}\""), r#""\u2028\u2029""#);
        let back: Vec<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(back[0], "</script><!--");
        assert_eq!(markdown_cell("a|b\n<c>"), "a\\|b⏎&lt;c&gt;");
        assert_eq!(markdown_block("x\n```\ny\u{1b}\n"), "````text\nx\n```\ny\u{fffd}\n````\n");
    }

    #[test]
    fn a_page_without_a_script_may_run_none() {
        let page = |script| Page { language: "en", title: "<t>", style: "", script }.around("<p>x");
        assert!(page("").contains("&lt;t&gt;") && !page("").contains("script-src"));
        assert!(page("let a").contains("<script>let a</script>"));
    }
}
