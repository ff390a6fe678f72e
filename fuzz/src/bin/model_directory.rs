//! Whatever stands in the files of a model directory: no panic, and no memory for what the files cannot hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: (&str, &[u8])| {
    let dir = std::env::temp_dir().join(format!("pupil-fuzz-{}", std::process::id()));
    let written = std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(dir.join("config.json"), data.0))
        .and_then(|()| std::fs::write(dir.join("model.safetensors"), data.1));
    if written.is_ok() {
        let _ = pupil_checkpoint::load(&dir);
    }
});
