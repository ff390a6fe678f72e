//! The example of docs/mpi.md with real processes on this machine: one, two and four ranks write the same bytes, also when a rank was killed on the
//! way and the run went on with another number of them. Skipped, with a notice, where there is no MPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The files in which two runs of the same plan may differ in no byte.
const SAME: [&str; 2] = ["model/model.safetensors", "checkpoints/step-110/optimiser.safetensors"];
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let missing: Vec<_> = ["mpirun", "mpicc"].into_iter().filter(|tool| !found(tool)).collect();
    if !missing.is_empty() {
        println!("skipped: {} is not installed (docs/mpi.md says what a build needs)", missing.join(" and "));
        return Ok(());
    }
    let mut build = Command::new("cargo");
    build.args(["build", "--package", "pupil", "--features", "mpi"]).current_dir(root);
    succeeded(&mut build)?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let pupil = target.join("debug/pupil");
    let dir = target.join("ci-ranks");
    let _ = fs::remove_dir_all(&dir);
    let job = Job { root, pupil: &pupil, dir: &dir };

    succeeded(&mut job.pretrain(1, "alone", &[]))?;
    for ranks in [2, 4] {
        let name = format!("of-{ranks}");
        succeeded(&mut job.pretrain(ranks, &name, &[]))?;
        job.compare(&name)?;
    }
    let (code, said) = job.lose_a_rank("lost")?;
    if code == Some(0) || !said.contains("rank 1") {
        return Err(format!("rank 1 was killed; the job ended with {code:?} and said:\n{said}"));
    }
    succeeded(&mut job.pretrain(4, "lost", &["--resume"]))?;
    job.compare("lost")?;
    println!("1, 2 and 4 ranks wrote the same bytes, and 2 of which one was killed, resumed on 4");
    Ok(())
}

/// The command of the example.
struct Job<'a> {
    root: &'a Path,
    pupil: &'a Path,
    dir: &'a Path,
}

impl Job<'_> {
    fn pretrain(&self, ranks: usize, name: &str, more: &[&str]) -> Command {
        let mut command = if ranks == 1 {
            Command::new(self.pupil)
        } else {
            let mut mpirun = Command::new("mpirun");
            // Ranks may be more than processors here, and CI's user is root.
            mpirun.args(["--oversubscribe", "--bind-to", "none", "-n", &ranks.to_string()]).arg(self.pupil);
            mpirun.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
            mpirun
        };
        let plan = "pretrain --data docs --layers 2 --width 64 --heads 2 --context 64 --vocab 320 --batch-tokens 512 --rows 4 --steps 120 --save-every 10";
        command.args(plan.split(' ')).arg("--out").arg(self.dir.join(name)).args(more).current_dir(self.root);
        command.env("PUPIL_THREADS", "1").stdin(Stdio::null());
        command
    }

    fn compare(&self, name: &str) -> Result<(), String> {
        for file in SAME {
            let read = |run: &str| {
                let path = self.dir.join(run).join(file);
                fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
            };
            if read("alone")? != read(name)? {
                return Err(format!("{file} of the run `{name}` is not that of one process"));
            }
        }
        Ok(())
    }

    /// Kills rank 1 of 2 soon after a checkpoint; the job's exit code, and what it said.
    fn lose_a_rank(&self, name: &str) -> Result<(Option<i32>, String), String> {
        let mut command = self.pretrain(2, name, &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut job = command.spawn().map_err(|e| format!("mpirun: {e}"))?;
        let checkpoint = self.dir.join(name).join("checkpoints/step-20");
        wait_for(&mut job, "step 20", || checkpoint.exists().then_some(()))?;
        let victim = wait_for(&mut job, "rank 1", || rank_1(&self.dir.join(name)))?;
        succeeded(Command::new("kill").args(["-9", &victim.to_string()]))?;
        let output = job.wait_with_output().map_err(|e| format!("mpirun: {e}"))?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8_lossy(&said).into_owned()))
    }
}

/// The process that is rank 1 of the job that writes to a directory.
fn rank_1(out: &Path) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.into_iter().find_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let has = |bytes: &[u8], word: &str| bytes.split(|&b| b == 0).any(|w| w == word.as_bytes());
        let environment = read("environ");
        let ranks = ["OMPI_COMM_WORLD_RANK=1", "PMI_RANK=1"];
        let is_rank = ranks.iter().any(|word| has(&environment, word));
        (is_rank && has(&read("cmdline"), &out.to_string_lossy())).then_some(id)
    })
}

/// What `look` finds while the job goes on.
fn wait_for<T>(job: &mut Child, what: &str, look: impl Fn() -> Option<T>) -> Result<T, String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look() {
            return Ok(found);
        }
        if job.try_wait().is_ok_and(|status| status.is_some()) {
            return Err(format!("the job ended before {what} was seen"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = job.kill();
    Err(format!("{what} was not seen in {} s", PATIENCE.as_secs()))
}

fn found(tool: &str) -> bool {
    Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success())
}

fn succeeded(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}
