//! Sentences with a tag for each word: columns (CoNLL, CoNLL-U) and `word/TAG` (the Brown corpus, the Penn Treebank's tagged files).
//!
//! Of CoNLL-U the universal part of speech is taken, of other columns the second (in the shared tasks of 2000 and 2003 the part of
//! speech, of two columns the tag). Of `word/TAG` what follows the last slash, without the marks of titles and headlines (`np-tl`).

/// A sentence: as many tags as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// The words.
    pub words: Vec<String>,
    /// A tag for each.
    pub tags: Vec<String>,
}

/// How tags are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A word a line, columns set apart by tabs or blanks.
    Columns,
    /// Ten columns set apart by tabs.
    ConllU,
    /// `word/TAG`.
    Slashes,
}

/// Lines that are looked at to tell the form.
const LOOKED_AT: usize = 400;
/// Lines that a form must have to be believed.
const BELIEVED: usize = 3;

/// How a text is tagged, if it is.
pub fn form(text: &str) -> Option<Form> {
    let lines = || text.lines().map(str::trim_end).filter(|l| !l.trim().is_empty()).take(LOOKED_AT);
    let words = lines().filter(|l| !l.starts_with('#') && !l.starts_with("-DOCSTART-"));
    let columns: Vec<usize> = words.clone().map(|l| l.split('\t').count()).collect();
    if columns.len() >= BELIEVED && columns.iter().all(|n| *n == 10) {
        return Some(Form::ConllU);
    }
    let columns: Vec<usize> = words.map(|l| l.split([' ', '\t']).count()).collect();
    let first = columns.first().copied().unwrap_or(0);
    // Sentences end at blank lines; without one, lines of as many words as each other may be anything.
    let ended = text.contains("\n\n") || text.contains("\n\r\n") || text.contains("\n\t\n");
    if columns.len() >= BELIEVED && (2..=12).contains(&first) && ended && columns.iter().all(|n| *n == first)
    {
        return Some(Form::Columns);
    }
    let (mut slashed, mut all) = (0, 0);
    for w in
        lines().flat_map(str::split_whitespace).filter(|w| !["[", "]"].contains(w) && !w.starts_with("=="))
    {
        all += 1;
        slashed += usize::from(split(w).is_some());
    }
    (slashed >= BELIEVED && slashed * 20 >= all * 19).then_some(Form::Slashes)
}

/// A word and its tag.
fn split(w: &str) -> Option<(&str, &str)> {
    let (word, tag) = w.rsplit_once('/')?;
    (!word.is_empty() && !tag.is_empty()).then_some((word, tag))
}

/// The sentences of a text with the line on which each begins, or what is wrong with one.
pub fn sentences(form: Form, text: &str) -> Vec<(u64, Result<Tagged, String>)> {
    match form {
        Form::Slashes => slashes(text),
        _ => columns(form, text),
    }
}

fn columns(form: Form, text: &str) -> Vec<(u64, Result<Tagged, String>)> {
    let (mut all, mut now, mut first, mut wrong) = (Vec::new(), Tagged::default(), 1, None);
    for (line, l) in (1..).zip(text.lines().chain([""])) {
        let l = l.trim_end_matches(['\r', '\n']);
        if l.trim().is_empty() {
            let sentence = std::mem::take(&mut now);
            match wrong.take() {
                Some(why) => all.push((first, Err(why))),
                None if !sentence.words.is_empty() => all.push((first, Ok(sentence))),
                None => {}
            }
            first = line + 1;
            continue;
        }
        if (form == Form::ConllU && l.starts_with('#')) || l.starts_with("-DOCSTART-") {
            continue;
        }
        let mut cells = l.split(if form == Form::ConllU { &['\t'][..] } else { &['\t', ' '][..] });
        let pair = if form == Form::ConllU {
            let id = cells.next().unwrap_or("");
            // `3-4` is a word that is split in the lines below it, `5.1` one that is not there.
            if id.contains(['-', '.']) {
                continue;
            }
            (cells.next(), cells.nth(1))
        } else {
            (cells.next(), cells.next())
        };
        match pair {
            (Some(word), Some(tag)) if !word.is_empty() && !tag.is_empty() => {
                now.words.push(word.to_owned());
                now.tags.push(tag.to_owned());
            }
            _ => wrong = wrong.or_else(|| Some(format!("line {line} has no word and tag: {l:?}"))),
        }
    }
    all
}

fn slashes(text: &str) -> Vec<(u64, Result<Tagged, String>)> {
    let (mut all, mut now, mut first) = (Vec::new(), Tagged::default(), 1);
    let mut close = |now: &mut Tagged, first: u64| {
        if !now.words.is_empty() {
            all.push((first, Ok(std::mem::take(now))));
        }
    };
    for (line, l) in (1..).zip(text.lines()) {
        let bare = l.trim();
        if bare.starts_with("==") {
            close(&mut now, first);
            continue;
        }
        for w in bare.split_whitespace() {
            let Some((word, tag)) = split(w) else { continue };
            if now.words.is_empty() {
                first = line;
            }
            now.words.push(word.to_owned());
            now.tags.push(plain(tag).to_owned());
            // Sentences of the Treebank go over several lines.
            if ["./.", "?/.", "!/."].contains(&w) {
                close(&mut now, first);
            }
        }
        if bare.is_empty() {
            close(&mut now, first);
        }
    }
    close(&mut now, first);
    all
}

/// A tag without what Brown adds to it, and the first of several.
fn plain(tag: &str) -> &str {
    let end = tag.char_indices().skip(1).find(|(_, c)| ['-', '+', '|', '*'].contains(c)).map(|(i, _)| i);
    match end {
        Some(i) if tag.starts_with(char::is_alphabetic) => &tag[..i],
        _ => tag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&[(&str, &str)]]) {
        let form = form(text).unwrap_or_else(|| panic!("no form: {text}"));
        let found: Vec<Tagged> = sentences(form, text).into_iter().map(|s| s.1.unwrap()).collect();
        let pairs = |t: &Tagged| -> Vec<(String, String)> {
            t.words.iter().cloned().zip(t.tags.iter().cloned()).collect()
        };
        let expect: Vec<Vec<(String, String)>> =
            expect.iter().map(|s| s.iter().map(|(w, t)| ((*w).into(), (*t).into())).collect()).collect();
        assert_eq!(found.iter().map(pairs).collect::<Vec<_>>(), expect);
    }

    #[test]
    fn every_form_gives_its_words_and_tags() {
        check(
            "Dogs NNS B-NP\nbark VBP B-VP\n\nYes UH O\n",
            &[&[("Dogs", "NNS"), ("bark", "VBP")], &[("Yes", "UH")]],
        );
        check(
            "EU\tB-ORG\r\nrejects\tO\r\n\r\nBonn\tB-LOC\r\n",
            &[&[("EU", "B-ORG"), ("rejects", "O")], &[("Bonn", "B-LOC")]],
        );
        let row = |id: &str, w: &str, t: &str| format!("{id}\t{w}\t_\t{t}\tX\t_\t0\t_\t_\t_\n");
        let u = [
            "# text = can't\n",
            &row("1-2", "can't", "_"),
            &row("1", "ca", "AUX"),
            &row("2", "n't", "PART"),
            "\n",
            &row("1", "Go", "VERB"),
        ];
        check(&u.concat(), &[&[("ca", "AUX"), ("n't", "PART")], &[("Go", "VERB")]]);
        check(
            "\n\n\tThe/at Jury/nn-tl said/vbd 1/2/cd ,/, --/--\n\n\tNo/at one/pn ./.\n",
            &[
                &[("The", "at"), ("Jury", "nn"), ("said", "vbd"), ("1/2", "cd"), (",", ","), ("--", "--")],
                &[("No", "at"), ("one", "pn"), (".", ".")],
            ],
        );
        check(
            "\n[ Pierre/NNP Vinken/NNP ]\n,/, \nwill/MD join/VB ./. \n[ He/PRP ]\nis/VBZ ./. \n",
            &[
                &[
                    ("Pierre", "NNP"),
                    ("Vinken", "NNP"),
                    (",", ","),
                    ("will", "MD"),
                    ("join", "VB"),
                    (".", "."),
                ],
                &[("He", "PRP"), ("is", "VBZ"), (".", ".")],
            ],
        );
    }

    #[test]
    fn plain_text_is_not_taken_for_tagged_and_broken_lines_are_told() {
        for text in [
            "",
            "One line.\n",
            "He said yes and/or no.\n\nShe did not.\n",
            "a b\nc d\ne f\n",
            "word\n\nword\n\nword\n",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
        let broken = "a X\nb Y\nc Z\n\nd \ne Y\n";
        let found = sentences(Form::Columns, broken);
        assert_eq!(found[0].1.as_ref().unwrap().words, ["a", "b", "c"]);
        assert_eq!((found[1].0, found[1].1.is_err()), (5, true));
    }
}
