//! What no compiler checks: the table of rooms against the manifests, first lines of files, where `unsafe` stands, the two READMEs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines that a file may have without its tests.
const CEILING: usize = 600;

/// Files above the ceiling, each with its reason.
const LONG: [(&str, &str); 1] =
    [("crates/model/src/gpt.rs", "a model is read in one file, settings included")];

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut faults = Vec::new();
    let architecture = read(&root.join("ARCHITECTURE.md"))?;
    let mut manifests = BTreeMap::new();
    for room in folders(&root.join("crates"))? {
        let name = room.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifests.insert(name, read(&room.join("Cargo.toml"))?);
    }
    faults.extend(rooms(&architecture, &manifests));
    let mut files = Vec::new();
    for top in ["crates", "xtask"] {
        sources(&root.join(top), &mut files)?;
    }
    for path in &files {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        faults.extend(source(&name, &read(path)?));
    }
    faults.extend(readmes(&read(&root.join("README.md"))?, &read(&root.join("README.zh-CN.md"))?));
    if faults.is_empty() {
        println!("tidy: {} files, {} rooms", files.len(), manifests.len());
        return Ok(());
    }
    Err(format!("tidy: {} faults\n  {}", faults.len(), faults.join("\n  ")))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut list: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()).collect();
    list.sort();
    Ok(list)
}

fn sources(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut list: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    list.sort();
    for p in list {
        if p.is_dir() {
            sources(&p, files)?;
        } else if p.extension().is_some_and(|e| e == "rs") {
            files.push(p);
        }
    }
    Ok(())
}

/// The rooms that each room may use, from the table in ARCHITECTURE.md.
fn table(architecture: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = architecture.lines().filter_map(|l| {
        let cells: Vec<&str> = l.trim().trim_matches('|').split('|').map(str::trim).collect();
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?;
        (cells.len() == 3).then(|| (name.to_owned(), cells[2].to_owned()))
    });
    let rows: BTreeMap<String, String> = rows.collect();
    let direct = |cell: &str| -> BTreeSet<String> {
        if cell == "all" {
            return rows.keys().cloned().collect();
        }
        cell.split(',').map(|s| s.trim().to_owned()).filter(|s| rows.contains_key(s)).collect()
    };
    let mut all: BTreeMap<String, BTreeSet<String>> =
        rows.iter().map(|(n, c)| (n.clone(), direct(c))).collect();
    // Their rows too, until nothing is added.
    loop {
        let before = all.clone();
        for uses in all.values_mut() {
            let more: Vec<String> = uses.iter().filter_map(|u| before.get(u)).flatten().cloned().collect();
            uses.extend(more);
        }
        if all == before {
            return all;
        }
    }
}

fn rooms(architecture: &str, manifests: &BTreeMap<String, String>) -> Vec<String> {
    let table = table(architecture);
    let mut faults = Vec::new();
    for (name, manifest) in manifests {
        let Some(allowed) = table.get(name) else {
            faults.push(format!("crates/{name} is not in ARCHITECTURE.md's table of rooms"));
            continue;
        };
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("crates/{name}/Cargo.toml does not take the workspace's lints"));
        }
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for used in dependencies.lines().filter_map(|l| l.trim().strip_prefix("pupil-")) {
            let used = used.split(['.', ' ', '=']).next().unwrap_or_default();
            if !allowed.contains(used) {
                faults.push(format!(
                    "crates/{name} uses {used}, which its row in ARCHITECTURE.md does not allow"
                ));
            }
        }
    }
    for name in table.keys().filter(|n| !manifests.contains_key(*n)) {
        faults.push(format!("ARCHITECTURE.md names the room {name}, but there is no crates/{name}"));
    }
    faults
}

fn source(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let first = text.lines().next().unwrap_or_default();
    let is_tests = name.ends_with("/tests.rs");
    if !first.starts_with("//!") && !is_tests {
        faults.push(format!("{name}: does not begin with a `//!` line that says what it is"));
    }
    let body = if is_tests { "" } else { text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default() };
    let lines = body.lines().count();
    if lines > CEILING && !name.contains("/tests/") && !LONG.iter().any(|(n, _)| *n == name) {
        faults.push(format!(
            "{name}: {lines} lines without its tests, more than {CEILING}: split it by concept"
        ));
    }
    for (i, line) in text.lines().enumerate() {
        let n = i + 1;
        if line.ends_with([' ', '\t']) {
            faults.push(format!("{name}:{n}: blanks at the end of the line"));
        }
        let code = line.split("//").next().unwrap_or_default();
        let has_word =
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == concat!("un", "safe"));
        if has_word && !name.starts_with("crates/tensor/src/kernels/") && !name.starts_with("xtask/") {
            faults.push(format!("{name}:{n}: `unsafe` outside tensor::kernels"));
        }
        let mark = [concat!("TO", "DO"), concat!("FIX", "ME")].iter().any(|m| line.contains(m));
        if mark && !line.contains('#') {
            faults.push(format!("{name}:{n}: a mark without the number of an issue"));
        }
    }
    faults
}

/// Headings and code blocks of both READMEs have to be the same in number, and the commands the same in words.
fn readmes(english: &str, chinese: &str) -> Vec<String> {
    let blocks =
        |text: &str| -> Vec<String> { text.split("```").skip(1).step_by(2).map(str::to_owned).collect() };
    let headings = |text: &str| {
        let outside: String = text.split("```").step_by(2).collect();
        outside.lines().filter(|l| l.starts_with('#')).count()
    };
    let mut faults = Vec::new();
    if headings(english) != headings(chinese) {
        faults.push("README.zh-CN.md has another number of headings than README.md".to_owned());
    }
    if blocks(english) != blocks(chinese) {
        faults.push("README.zh-CN.md has other code blocks than README.md".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "| room | job | may use |\n|---|---|---|\n| `a` | x | – |\n| `b` | y | a |\n| `c` | z | b |\n";

    fn manifest(uses: &str) -> String {
        format!("[dependencies]\n{uses}\n\n[lints]\nworkspace = true\n")
    }

    fn check(list: &[(&str, &str)]) -> Vec<String> {
        rooms(TABLE, &list.iter().map(|(n, u)| ((*n).to_owned(), manifest(u))).collect())
    }

    #[test]
    fn manifests_that_follow_the_table_pass_and_others_do_not() {
        let good = [("a", ""), ("b", "pupil-a.workspace = true"), ("c", "pupil-a.workspace = true")];
        assert_eq!(check(&good), Vec::<String>::new());
        let faults = check(&[("a", "pupil-c.workspace = true"), ("b", ""), ("d", "")]);
        assert_eq!(faults.len(), 3, "{faults:?}");
        let bare = BTreeMap::from([("a".to_owned(), "[dependencies]\n".to_owned())]);
        assert!(rooms(TABLE, &bare).iter().any(|f| f.contains("lints")));
    }

    #[test]
    fn faults_of_a_file_are_seen() {
        assert!(source("crates/x/src/a.rs", "//! What it is.\nfn f() {}\n").is_empty());
        for (name, text) in [
            ("crates/x/src/a.rs", "fn f() {}\n".to_owned()),
            ("crates/x/src/a.rs", "//! x\nlet y = 1; \n".to_owned()),
            ("crates/x/src/a.rs", format!("//! x\n{} {{}}\n", concat!("un", "safe"))),
            ("crates/x/src/a.rs", format!("//! x\n// {} later\n", concat!("TO", "DO"))),
            ("crates/x/src/a.rs", format!("//! x\n{}", "fn f() {}\n".repeat(700))),
        ] {
            assert_eq!(source(name, &text).len(), 1, "{text:.40}");
        }
        let kernel = format!("//! x\n{} {{}}\n", concat!("un", "safe"));
        assert!(source("crates/tensor/src/kernels/a.rs", &kernel).is_empty());
    }

    #[test]
    fn readmes_have_to_keep_in_step() {
        assert!(readmes("# a\n```sh\nx\n```\n", "# 一\n```sh\nx\n```\n").is_empty());
        assert_eq!(readmes("# a\n## b\n```sh\nx\n```\n", "# 一\n```sh\ny\n```\n").len(), 2);
    }
}
