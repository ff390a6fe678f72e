//! Whatever lies in a token shard: it is refused by name, or all its documents can be read.
#![no_main]

use pupil_data::shards::Shard;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("pupil-fuzz-{}.tokens", std::process::id()));
    // The header's checks are what is looked for, so most inputs are given one that passes the first of them.
    let mut bytes = b"PUPILTOK\x01\0\0\0\x02\0\0\0".to_vec();
    bytes.extend_from_slice(data);
    for contents in [data, &bytes] {
        std::fs::write(&path, contents).expect("the temporary directory can be written");
        if let Ok(s) = Shard::open(&path) {
            let _ = s.documents(0..s.len());
            let _ = s.verify();
        }
    }
});
