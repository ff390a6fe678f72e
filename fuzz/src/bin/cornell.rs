//! Whatever the two files of the Cornell corpus hold: no panic, and every turn of a conversation is a line.
#![no_main]

use pupil_data::cornell::Cornell;

libfuzzer_sys::fuzz_target!(|data: (&str, &str)| {
    let corpus = Cornell::parse(data.0.to_owned(), data.1);
    let turns: usize = corpus.chats().map(|c| c.messages.len()).sum();
    assert_eq!(turns, corpus.conversations.iter().map(Vec::len).sum::<usize>());
    assert_eq!(corpus.article_pairs().len(), data.0.split('\n').count() / 2);
    let _ = corpus.pairs().count();
});
