//! This process among others that do the same command: `mpirun -n 4 pupil pretrain …`.
//!
//! All ranks read the data and make the same plan; rank 0's counts. Only rank 0 speaks and writes. Without the feature `mpi` a process is alone, and says
//! so if a launcher thinks otherwise.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use pupil_train::Plan;
use pupil_train::collective::{self, Collective, Single};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::Usage;

/// What launchers tell a process about the size of its job: Open MPI's mpirun, MPICH's and Slurm's with PMI-2, PMIx.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

static RANKS: OnceLock<Box<dyn Collective + Send>> = OnceLock::new();
static SILENT: AtomicBool = AtomicBool::new(false);

/// The ranks of this process's job; itself alone without one.
pub(crate) fn here() -> &'static dyn Collective {
    match RANKS.get() {
        Some(ranks) => &**ranks,
        None => &Single,
    }
}

/// Whether this process prints what it does: rank 0 alone.
pub(crate) fn speaks() -> bool {
    !SILENT.load(Ordering::Relaxed)
}

/// Rank 0's value on all ranks.
pub(crate) fn shared<T: Serialize + DeserializeOwned>(value: T) -> anyhow::Result<T> {
    let ranks = here();
    if ranks.size() == 1 {
        return Ok(value);
    }
    let mut bytes = if ranks.rank() == 0 { serde_json::to_vec(&value)? } else { Vec::new() };
    collective::broadcast(ranks, &mut bytes);
    Ok(serde_json::from_slice(&bytes)?)
}

/// Rank 0's plan on all ranks, if they read the same data.
pub(crate) fn agreed(plan: Plan) -> anyhow::Result<Plan> {
    let mine = plan.data.clone();
    let plan = shared(plan)?;
    if plan.data != mine {
        anyhow::bail!(Usage("reads other data, or with another tokenizer, than rank 0".into()));
    }
    Ok(plan)
}

/// Rows of a step and tokens of a row: as many rows as are asked for, otherwise as few as do not exceed `most` tokens and give each rank work.
pub(crate) fn rows(
    batch_tokens: usize,
    context: usize,
    asked: Option<usize>,
) -> anyhow::Result<(usize, usize)> {
    let size = here().size();
    let most = context.max(16_384);
    let needed = batch_tokens.div_ceil(most).max(1);
    let rows = match asked {
        Some(rows) => rows.max(1),
        None if size == 1 => needed,
        None => size * needed.div_ceil(size).next_power_of_two(),
    };
    collective::check_share(rows, size).map_err(Usage)?;
    let tokens = batch_tokens.div_ceil(rows);
    if rows > 1 && tokens < context {
        let why = if size > 1 { format!(" for {size} ranks") } else { String::new() };
        anyhow::bail!(Usage(format!(
            "--batch-tokens {batch_tokens} in {rows} rows{why} leaves {tokens} tokens a row, less than the context of {context}: \
             --batch-tokens {} would do",
            rows * context
        )));
    }
    if tokens > most {
        anyhow::bail!(Usage(format!(
            "--rows {rows}: a row of {tokens} tokens, where {most} are the most; --rows {needed} would do"
        )));
    }
    Ok((rows, tokens.max(context)))
}

/// Rows of a step that this process computes one after the other.
pub(crate) fn rows_here(rows: usize) -> usize {
    collective::share(here(), rows).len()
}

/// A process's part in a job, held until it ends.
#[derive(Default)]
pub(crate) struct Member {
    #[cfg(feature = "mpi")]
    job: Option<collective::mpi::Job>,
}

/// Joins the job that a launcher started this process for, if one did, and chooses the threads.
#[cfg(feature = "mpi")]
pub(crate) fn join(threads: Option<usize>) -> anyhow::Result<Member> {
    if !launched() {
        return Ok(Member { job: None });
    }
    let job = collective::mpi::Job::join().map_err(|e| anyhow::anyhow!(e))?;
    let ranks = job.ranks();
    SILENT.store(ranks.rank() > 0, Ordering::Relaxed);
    let threads = threads.unwrap_or_else(|| threads_of(&ranks, &job.machine()));
    pupil_tensor::kernels::pool::set_threads(threads);
    let all = collective::all_gather(&ranks, format!("{} × {threads}", job.machine()).as_bytes());
    let all: Vec<_> = all.iter().map(|place| String::from_utf8_lossy(place)).collect();
    eprintln!("  {} ranks, machine × threads: {}", ranks.size(), all.join(", "));
    let _ = RANKS.set(Box::new(ranks));
    Ok(Member { job: Some(job) })
}

/// A process is alone; a launcher that means otherwise would have all of them do the same.
#[cfg(not(feature = "mpi"))]
pub(crate) fn join(_threads: Option<usize>) -> anyhow::Result<Member> {
    let several = |name| std::env::var(name).is_ok_and(|v| v.parse().is_ok_and(|n: usize| n > 1));
    if several(LAUNCHED[0]) || several(LAUNCHED[1]) {
        anyhow::bail!(Usage(
            "this pupil was built for one process: `cargo build --release --features mpi` makes one for several (docs/mpi.md)".into()
        ));
    }
    Ok(Member {})
}

#[cfg(feature = "mpi")]
fn launched() -> bool {
    LAUNCHED.iter().any(|name| std::env::var_os(name).is_some())
}

/// The threads that this process may use, divided by the ranks that may use the same processors of the same machine.
#[cfg(feature = "mpi")]
fn threads_of(ranks: &dyn Collective, machine: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let processors = status.lines().find(|l| l.starts_with("Cpus_allowed_list:")).unwrap_or_default();
    let mine = format!("{machine} {processors}");
    let all = collective::all_gather(ranks, mine.as_bytes());
    let sharing = all.iter().filter(|place| place[..] == *mine.as_bytes()).count();
    (pupil_tensor::kernels::pool::available_threads() / sharing.max(1)).max(1)
}

impl Member {
    /// Ends the other ranks, which would wait for this one for ever; returns if there are none.
    pub(crate) fn failed(&self, code: u8) {
        #[cfg(feature = "mpi")]
        if let Some(job) = &self.job {
            job.abort(code.into());
        }
        let _ = code;
    }
}

impl Drop for Member {
    /// Leaving a job takes all ranks; one that panics does not wait for the others.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed(1);
        }
    }
}

/// Says of an error which rank had it. Ranks other than the first wait a little: if all have the same, the first one's is enough, and it ends the others.
pub(crate) fn prefix() -> String {
    let ranks = here();
    if ranks.rank() > 0 {
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    if ranks.size() > 1 { format!("pupil: rank {}: ", ranks.rank()) } else { "pupil: ".to_owned() }
}
