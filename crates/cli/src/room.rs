//! Room: what memory and disk the machine has for a run, against what the run will need.

use std::io::Write;
use std::path::Path;

use pupil_report::size;
use pupil_train::plan::Forecast;

use crate::exit::Usage;

/// Refuses a run that does not fit, with what it needs, what there is, and three ways out.
///
/// # Errors
/// If memory or disk is short.
pub(crate) fn check(forecast: &Forecast, out: &Path) -> anyhow::Result<()> {
    let held = pupil_train::memory::resident_bytes().unwrap_or(0);
    if let Some((room, whose)) = memory().filter(|(room, _)| room + held < forecast.memory_bytes) {
        anyhow::bail!(
            "the run needs {} of memory, {whose} leaves {}. Three ways out: a smaller --depth (or --width), fewer --batch-tokens or a shorter --context, \
             or `pupil data prepare` first, so that the data stays on the disk",
            size(forecast.memory_bytes),
            size(room + held)
        );
    }
    if let Some(room) = disk(out).filter(|room| *room < forecast.disk_bytes) {
        anyhow::bail!(
            "the run needs {} of disk for its checkpoints, {} has {} free. Three ways out: another --out, a smaller --depth (or --width), or room made there",
            size(forecast.disk_bytes),
            out.display(),
            size(room)
        );
    }
    Ok(())
}

/// Refuses a directory that holds something already: it would be lost.
///
/// # Errors
/// If it is no directory, is not empty, or cannot be read.
pub(crate) fn vacant(out: &Path) -> anyhow::Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let name = out.display();
    if out.is_file() {
        anyhow::bail!(Usage(format!("{name} is a file; choose another --out")));
    }
    let read = std::fs::read_dir(out);
    let mut inside = read.map_err(|source| pupil_checkpoint::Error::Read { path: out.to_owned(), source })?;
    if inside.next().is_some() {
        anyhow::bail!(Usage(format!("{name} is there already and not empty; choose another --out")));
    }
    Ok(())
}

/// Whether this process can take so many bytes more, as far as that is known.
pub(crate) fn holds(bytes: u64) -> bool {
    memory().is_none_or(|(room, _)| room >= bytes)
}

/// Says that no memory is left, which takes none: for [`pupil_tensor::kernels::allocations::when_exhausted`].
pub(crate) fn exhausted(bytes: usize) {
    let mut text = [0; 400];
    let mut rest = &mut text[..];
    let megabytes = |n: f64| n / 1e6;
    let _ = write!(rest, "pupil: no memory is left: {:.1} MB more were asked for", megabytes(bytes as f64));
    if let Some(limit) = address_space() {
        let limit = megabytes(limit as f64);
        let _ = write!(rest, ", and this process may have {limit:.1} MB in all (ulimit -v)");
    }
    let _ = writeln!(
        rest,
        ". Give it more, or less to do: a smaller model, fewer --batch-tokens, a shorter --context, less text at a time"
    );
    let written = 400 - rest.len();
    let _ = std::io::stderr().write_all(&text[..written]);
}

/// Bytes of address space that this process may have, if that is limited.
fn address_space() -> Option<u64> {
    #[cfg(unix)]
    {
        use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
        let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
        return (soft != RLIM_INFINITY).then_some(soft as u64);
    }
    #[cfg(not(unix))]
    None
}

/// Bytes that this process can still take, and what limits them: its address space, the control groups that it is in, or the machine.
fn memory() -> Option<(u64, &'static str)> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| field(&text, "MemAvailable:")).map(|kib| kib * 1024);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let group = group_room(&groups, &|path: &str| read(&format!("/sys/fs/cgroup{path}")));
    let taken = read("/proc/self/status").and_then(|text| field(&text, "VmSize:")).map(|kib| kib * 1024);
    let limit = address_space().zip(taken).map(|(limit, taken)| limit.saturating_sub(taken));
    let all = [
        machine.map(|m| (m, "the machine")),
        group.map(|g| (g, "the control group")),
        limit.map(|l| (l, "the limit of its address space (ulimit -v)")),
    ];
    all.into_iter().flatten().min()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The least that any control group leaves, of both versions; `read` gives a file below /sys/fs/cgroup.
fn group_room(groups: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (root, limit, usage, cache) = match controllers {
            "" => ("", "memory.max", "memory.current", "inactive_file "),
            c if c.split(',').any(|c| c == "memory") => {
                ("/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
            }
            _ => continue,
        };
        // The group and all above it; inside a container the path may be that of the host, and only the root is there.
        let mut path = path.trim_end_matches('/');
        loop {
            let number = |name: &str| read(&format!("{root}{path}/{name}"))?.trim().parse::<u64>().ok();
            if let Some(max) = number(limit) {
                let stat = read(&format!("{root}{path}/memory.stat")).unwrap_or_default();
                let used = number(usage).unwrap_or(0).saturating_sub(field(&stat, cache).unwrap_or(0));
                let room = max.saturating_sub(used);
                least = Some(least.map_or(room, |l| l.min(room)));
            }
            match path.rfind('/') {
                Some(i) => path = &path[..i],
                None => break,
            }
        }
    }
    least
}

/// Bytes free for this user where `path` is or will be.
fn disk(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let s = nix::sys::statvfs::statvfs(there).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "their types differ between systems")]
        return Some(s.blocks_available() as u64 * s.fragment_size() as u64);
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_control_group_counts() {
        let files = |path: &str| {
            let text = match path {
                "/a/memory.max" => "1000",
                "/a/memory.current" => "400",
                "/a/memory.stat" => "anon 300\ninactive_file 100\n",
                "/a/b/memory.max" => "max",
                "/memory/memory.limit_in_bytes" => "900",
                "/memory/memory.usage_in_bytes" => "100",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(group_room("0::/a/b", &files), Some(700));
        assert_eq!(group_room("5:cpu,memory:/x/y\n0::/a/b", &files), Some(700));
        assert_eq!(group_room("5:memory:/x/y", &files), Some(800));
        assert_eq!(group_room("5:cpu:/x/y\nbroken\n", &files), None);
    }

    #[test]
    fn a_run_that_does_not_fit_is_refused_with_ways_out() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("not/yet");
        check(&Forecast { memory_bytes: 1 << 20, disk_bytes: 1, ..Forecast::default() }, &out).unwrap();
        if cfg!(target_os = "linux") {
            let vast = Forecast { memory_bytes: 1 << 60, ..Forecast::default() };
            assert!(check(&vast, &out).unwrap_err().to_string().contains("Three ways out"));
            let vast = Forecast { disk_bytes: u64::MAX, ..Forecast::default() };
            assert!(check(&vast, &out).unwrap_err().to_string().contains("of disk"));
        }
    }
}
