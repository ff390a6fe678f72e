//! `cargo xtask fuzz TARGET SECONDS`: builds a fuzz target with coverage counters, which needs no other tool and no other compiler,
//! and runs it on the corpus that it has found so far.

use std::path::Path;
use std::process::Command;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

pub(crate) fn run(root: &Path, target: &str, seconds: &str) -> Result<(), String> {
    let seconds: u32 = seconds.parse().map_err(|_| format!("{seconds:?} is no number of seconds"))?;
    let folder = root.join("fuzz");
    let triple = triple()?;
    let mut build = Command::new("cargo");
    build
        .args(["build", "--release", "--bin", target, "--target", &triple])
        .current_dir(&folder)
        .env("RUSTFLAGS", FLAGS);
    succeed(&mut build)?;
    let corpus = folder.join("corpus").join(target);
    std::fs::create_dir_all(&corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
    let mut fuzz = Command::new(folder.join("target").join(triple).join("release").join(target));
    fuzz.arg(&corpus).arg(format!("-max_total_time={seconds}")).args([
        "-timeout=20",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]);
    succeed(fuzz.current_dir(&folder))
}

fn triple() -> Result<String, String> {
    let out = Command::new("rustc").arg("-vV").output().map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let host = text.lines().find_map(|l| l.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say its host".to_owned())
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{command:?}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
