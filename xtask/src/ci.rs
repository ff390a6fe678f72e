//! The stages that a change must pass, cheapest first, each timed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// A stage: what it is called, the command, and what is added to its environment.
struct Stage {
    name: String,
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

fn stage(name: &str, command: &str) -> Stage {
    Stage {
        name: name.to_owned(),
        command: command.split_whitespace().map(str::to_owned).collect(),
        environment: vec![],
    }
}

fn with(mut s: Stage, key: &'static str, value: &str) -> Stage {
    s.environment.push((key, value.to_owned()));
    s
}

pub(crate) fn run(root: &Path, fast: bool) -> Result<(), String> {
    let readme = std::fs::read_to_string(root.join("README.md")).map_err(|e| format!("README.md: {e}"))?;
    let test = test_command(&readme).ok_or("README.md has no command under a heading `Test`")?;
    let mut stages = vec![
        stage("format", "cargo fmt --all --check"),
        stage("tidy", "cargo xtask tidy"),
        stage("clippy", "cargo clippy --workspace --all-targets -- -D warnings"),
        with(stage("documentation", "cargo doc --workspace --no-deps"), "RUSTDOCFLAGS", "-D warnings"),
        stage("the README's test command", &test),
    ];
    if !fast {
        for level in ["portable", "avx2", "avx512"] {
            if available(level) {
                stages.push(with(stage(&format!("tests at {level}"), &test), "PUPIL_SIMD", level));
            }
        }
        stages.push(stage("release build", "cargo build --release"));
        let parquet = "cargo test -p pupil-data --features parquet --lib parquet";
        stages.push(stage("tests of reading Parquet", parquet));
        stages.push(stage("several processes under MPI", "cargo xtask ranks"));
        stages.push(stage("tests of xtask", "cargo test --package xtask"));
        // A short road to its end: a minute and a half, of which pretraining has a sixth, instead of five and a half.
        let _ = std::fs::remove_dir_all(root.join("target/ci-speedrun"));
        stages
            .push(stage("speedrun", "target/release/pupil speedrun --out target/ci-speedrun --minutes 1.5"));
        if Command::new("cargo").args(["deny", "--version"]).output().is_ok_and(|o| o.status.success()) {
            stages.push(stage("licences and sources", "cargo deny check licenses bans sources"));
        }
        if let Ok(python) = std::env::var("PUPIL_PYTHON") {
            let model = "target/ci-speedrun/chat/model";
            stages.push(stage(
                "transformers loads the model",
                &format!("{python} tools/check_transformers.py {model} target/release/pupil"),
            ));
            for bits in [8, 4] {
                let small = format!("target/ci-speedrun/{bits}-bits");
                stages.push(stage(
                    &format!("weights of {bits} bits"),
                    &format!("target/release/pupil quantize -m {model} --bits {bits} --out {small}"),
                ));
                stages.push(stage(
                    &format!("transformers loads weights of {bits} bits"),
                    &format!("{python} tools/check_transformers.py {small} target/release/pupil"),
                ));
            }
            stages.push(stage(
                "BERT's scores equal transformers'",
                &format!("{python} tools/check_bert.py target/release/pupil"),
            ));
            stages.push(stage(
                "the first Transformer's scores equal transformers'",
                &format!("{python} tools/check_marian.py target/release/pupil"),
            ));
            stages.push(stage(
                "tokenizers gives the same ids",
                &format!("{python} tools/check_tokenizer.py {model} target/release/pupil"),
            ));
        }
    }
    for s in &stages {
        println!("\n== {} ==", s.name);
        let begun = Instant::now();
        let mut command = Command::new(&s.command[0]);
        command.args(&s.command[1..]).current_dir(root).envs(s.environment.iter().map(|(k, v)| (k, v)));
        let status = command
            .stdin(std::process::Stdio::null())
            .status()
            .map_err(|e| format!("{}: {e}", s.command[0]))?;
        println!("== {}: {:.0} s ==", s.name, begun.elapsed().as_secs_f64());
        if !status.success() {
            return Err(format!("failed: {} ({})", s.name, s.command.join(" ")));
        }
    }
    Ok(())
}

/// Whether this machine can run a level.
fn available(level: &str) -> bool {
    match level {
        #[cfg(target_arch = "x86_64")]
        "avx2" => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        "avx512" => ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| match *f {
            "avx512f" => is_x86_feature_detected!("avx512f"),
            "avx512bw" => is_x86_feature_detected!("avx512bw"),
            "avx512dq" => is_x86_feature_detected!("avx512dq"),
            _ => is_x86_feature_detected!("avx512vl"),
        }),
        "portable" => true,
        _ => false,
    }
}

/// The first command in a code block after the heading `Test`.
fn test_command(readme: &str) -> Option<String> {
    let section = readme.split("\n## Test").nth(1)?;
    let block = section.split("```").nth(1)?;
    block.lines().nth(1).map(str::to_owned).filter(|l| !l.is_empty())
}

#[cfg(test)]
mod tests {
    use super::test_command;

    #[test]
    fn the_test_command_is_read_from_the_readme() {
        let text = "# x\n\n## Run\n```sh\na\n```\n\n## Test\n\n```sh\ncargo test\n```\n";
        assert_eq!(test_command(text).as_deref(), Some("cargo test"));
        assert_eq!(test_command("# x\n"), None);
    }
}
