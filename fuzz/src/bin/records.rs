//! Whatever a file of any format holds: pieces, records and cleaning never panic, and prepared records prepare to themselves.
#![no_main]

use pupil_data::{clean, near, parse, pieces};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let name = ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.html"][*kind as usize / 2 % 6];
    let mut all = Vec::new();
    let reading = pieces::Reading { lossy: true, encoding: None };
    let outcome = pieces::read(name, 0, &mut &*data, &reading, &mut |p| {
        all.push(p);
        Ok(())
    });
    outcome.expect("memory can be read");
    // Without the last line of a page the one before it is the last: what looks for lines may find more a second time.
    let settings = clean::Settings { boilerplate: *kind % 2 == 0, ..clean::Settings::default() };
    for (_, record) in all.into_iter().flat_map(parse::records) {
        let Ok(mut record) = record else { continue };
        for text in record.texts_mut() {
            clean::text(&settings, text, true, &mut |_, _, _, _| {});
            let once = text.clone();
            clean::text(&settings, text, true, &mut |_, _, _, _| {});
            assert!(settings.boilerplate || *text == once, "cleaning twice is cleaning once: {text:?} {once:?}");
        }
        let plain = record.plain();
        let _ = (clean::unwanted(&settings, &plain), near::sketch(&plain), record.to_json());
    }
});
