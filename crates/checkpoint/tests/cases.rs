//! Cases of reliability, by their numbers: crashes, failing disks, damage, rotation, versions.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use pupil_checkpoint::fs::fail::{FailFs, Failure};
use pupil_checkpoint::fs::sim::{Left, SimFs};
use pupil_checkpoint::fs::{Fs, RealFs};
use pupil_checkpoint::state::{Found, Keep, Store};
use pupil_checkpoint::{Error, atomic};
use serde_json::{Value, json};

const RUN: &str = "/run";
const CHECKPOINTS: &str = "/run/checkpoints";
/// Linux' numbers of errors.
const EIO: i32 = 5;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

fn store<'a>(fs: &'a dyn Fs, last: usize) -> Store<'a> {
    Store::new(fs, Path::new(CHECKPOINTS), Keep { last, every: None })
}

/// What a checkpoint of a step holds beside its state.
fn files(step: u64) -> Vec<(String, Vec<u8>)> {
    let bytes = |n: u64, kind: u64| (0..n).map(|i| (i * 7 + step * 31 + kind) as u8).collect();
    vec![("config.json".into(), bytes(40, 1)), ("model.safetensors".into(), bytes(300, 2))]
}

fn save(fs: &dyn Fs, step: u64, last: usize) -> Result<PathBuf, Error> {
    store(fs, last).save(step, &json!({"step": step}), files(step), None)
}

/// A disk with a run on it, whose checkpoint of step 3 was reported as saved.
fn begun() -> SimFs {
    let fs = SimFs::default();
    fs.create_dirs(Path::new(RUN)).unwrap();
    fs.settle();
    save(&fs, 3, 1).unwrap();
    fs
}

/// The step of the newest sound checkpoint; its files are whole.
fn newest(fs: &dyn Fs) -> u64 {
    let Found { newest, .. } = store(fs, 1).newest().unwrap();
    let (path, state) = newest.expect("no checkpoint is left");
    let step = state["step"].as_u64().unwrap();
    for (name, bytes) in files(step) {
        assert_eq!(fs.read(&path.join(&name)).unwrap(), bytes, "{name} of step {step}");
    }
    step
}

fn ways() -> impl Iterator<Item = Left> {
    [Left::All, Left::Nothing].into_iter().chain((1..=12).map(Left::Some))
}

#[test]
fn c01_a_crash_at_every_operation_of_a_save_leaves_the_old_or_the_new_checkpoint() {
    let mut crashes = 0;
    for k in 1.. {
        let fs = begun();
        fs.crash_at(k);
        let saved = save(&fs, 6, 1);
        for left in ways() {
            let later = fs.after(left);
            let step = newest(&later);
            assert!(
                step == 6 || step == 3 && saved.is_err(),
                "operation {k}, {left:?}: step {step}, {saved:?}"
            );
            // The next process cleans up, goes on, and leaves one checkpoint and nothing else.
            store(&later, 1).clean();
            save(&later, 6, 1).unwrap();
            save(&later, 9, 1).unwrap();
            let rest: Vec<String> = later.list(Path::new(CHECKPOINTS)).unwrap();
            let rest: Vec<&String> = rest.iter().filter(|n| !n.starts_with("damaged")).collect();
            assert_eq!((newest(&later), rest), (9, vec![&"step-9".to_owned()]), "operation {k}, {left:?}");
        }
        if !fs.has_crashed() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 20, "{crashes}");
}

#[test]
fn c01_a_second_crash_while_the_next_process_begins_and_saves_does_no_more_harm() {
    for first in 1.. {
        let fs = begun();
        fs.crash_at(first);
        let _ = save(&fs, 6, 1);
        for left in [Left::All, Left::Nothing, Left::Some(5)] {
            for second in 1.. {
                let later = fs.after(left);
                later.crash_at(second);
                store(&later, 1).clean();
                let saved = save(&later, 6, 1);
                for left in [Left::All, Left::Nothing, Left::Some(9)] {
                    let step = newest(&later.after(left));
                    assert!(step == 6 || step == 3 && saved.is_err(), "operations {first}, {second}");
                }
                if !later.has_crashed() {
                    break;
                }
            }
        }
        if !fs.has_crashed() {
            break;
        }
    }
}

#[test]
fn c01_the_same_step_is_saved_again_without_a_moment_in_which_it_is_missing() {
    for k in 1.. {
        let fs = begun();
        fs.crash_at(k);
        let again = store(&fs, 1).save(3, &json!({"step": 3, "evaluated": true}), files(3), None);
        for left in ways() {
            assert_eq!(newest(&fs.after(left)), 3, "operation {k}, {left:?}, {again:?}");
        }
        if !fs.has_crashed() {
            break;
        }
    }
}

#[test]
fn t09_a_file_that_is_replaced_is_the_old_or_the_new_one_after_a_crash_anywhere() {
    let path = Path::new("/run/tokenizer.json");
    for k in 1.. {
        let fs = begun();
        atomic::replace_file_on(&fs, path, b"old").unwrap();
        fs.crash_at(k);
        let written = atomic::replace_file_on(&fs, path, b"the new one");
        for left in ways() {
            let now = fs.after(left).read(path).unwrap();
            assert!(now == b"the new one" || now == b"old" && written.is_err(), "operation {k}, {left:?}");
        }
        if !fs.has_crashed() {
            break;
        }
    }
}

/// Without the synchronisation of the folder above, the test of C1 fails: the loop can see what it is there to see.
#[test]
fn c01_the_simulated_disk_forgets_a_rename_that_was_not_synchronised() {
    let fs = begun();
    let [old, new] = ["/run/a", "/run/b"].map(Path::new);
    let mut file = fs.create(old).unwrap();
    file.write_all(b"x").unwrap();
    file.sync().unwrap();
    drop(file);
    fs.rename(old, new).unwrap();
    let later = fs.after(Left::Nothing);
    assert!(!later.exists(old) && !later.exists(new));
    fs.sync_dir(Path::new(RUN)).unwrap();
    assert_eq!(fs.after(Left::Nothing).read(new).unwrap(), b"x");
}

#[test]
fn c03_c08_a_failure_of_any_operation_is_a_storage_error_and_the_old_checkpoints_stay() {
    for how in [ENOSPC, EIO, EROFS, EDQUOT, EFBIG].map(Failure::Errno).into_iter().chain([Failure::Short]) {
        for lasting in [false, true] {
            for k in 1.. {
                let disk = begun();
                let fs = FailFs::new(&disk, k, lasting, how);
                match save(&fs, 6, 1) {
                    // What fails after the rename (the removal of an old one) costs nothing.
                    Ok(_) => assert_eq!(newest(&disk), 6, "operation {k}, {how:?}"),
                    Err(e) => {
                        assert!(matches!(e, Error::Storage { .. } | Error::Full { .. }), "{e}");
                        assert!(how != Failure::Short, "{e}");
                        assert!([3, 6].contains(&newest(&disk)));
                        let names = disk.list(Path::new(CHECKPOINTS)).unwrap();
                        assert!(names.contains(&"step-3".to_owned()), "{names:?}");
                        let clean = names.iter().all(|n| !n.starts_with('.'));
                        assert!(clean || lasting, "operation {k}, {how:?}: {names:?}");
                        // With the disk in order again the save succeeds: the file is written anew.
                        save(&disk, 6, 1).unwrap();
                        assert_eq!(newest(&disk), 6);
                    }
                }
                if !fs.was_reached() {
                    break;
                }
            }
        }
    }
}

#[test]
fn c03_a_full_disk_is_told_in_bytes_before_anything_is_written() {
    struct Small(SimFs);
    impl Fs for Small {
        fn free(&self, _: &Path) -> std::io::Result<u64> {
            Ok(1000)
        }
        fn create_dirs(&self, p: &Path) -> std::io::Result<()> {
            self.0.create_dirs(p)
        }
        fn create(&self, p: &Path) -> std::io::Result<Box<dyn pupil_checkpoint::fs::Output + '_>> {
            panic!("{} is written though there is no room", p.display())
        }
        fn append(&self, p: &Path) -> std::io::Result<Box<dyn pupil_checkpoint::fs::Output + '_>> {
            self.0.append(p)
        }
        fn read(&self, p: &Path) -> std::io::Result<Vec<u8>> {
            self.0.read(p)
        }
        fn list(&self, p: &Path) -> std::io::Result<Vec<String>> {
            self.0.list(p)
        }
        fn exists(&self, p: &Path) -> bool {
            self.0.exists(p)
        }
        fn rename(&self, a: &Path, b: &Path) -> std::io::Result<()> {
            self.0.rename(a, b)
        }
        fn exchange(&self, a: &Path, b: &Path) -> std::io::Result<()> {
            self.0.exchange(a, b)
        }
        fn remove_file(&self, p: &Path) -> std::io::Result<()> {
            self.0.remove_file(p)
        }
        fn remove_dirs(&self, p: &Path) -> std::io::Result<()> {
            self.0.remove_dirs(p)
        }
        fn sync_dir(&self, p: &Path) -> std::io::Result<()> {
            self.0.sync_dir(p)
        }
    }
    let fs = Small(begun());
    let e = save(&fs, 6, 1).unwrap_err();
    let Error::Full { needs, free, .. } = e else { panic!("{e}") };
    assert!(needs > 1000 && free == Some(1000), "{e}");
    assert!(e.to_string().contains("1000 bytes are free"), "{e}");
    assert_eq!(newest(&fs), 3);
    assert!(RealFs.free(Path::new(".")).unwrap() > 0);
}

/// Checkpoints on the real disk.
fn real(dir: &Path, steps: &[u64], keep: Keep, best: Option<u64>) {
    for &step in steps {
        Store::new(&RealFs, dir, keep).save(step, &json!({"step": step}), files(step), best).unwrap();
    }
}

fn names(dir: &Path) -> Vec<String> {
    RealFs.list(dir).unwrap()
}

#[test]
fn c05_damage_of_any_file_is_named_and_the_one_before_is_used() {
    let all = ["config.json", "model.safetensors", "state.json", "manifest.json"];
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("cut", |p| std::fs::write(p, &std::fs::read(p).unwrap()[..9]).unwrap()),
        ("empty", |p| std::fs::write(p, b"").unwrap()),
        ("missing", |p| std::fs::remove_file(p).unwrap()),
        ("flipped", |p| {
            let mut bytes = std::fs::read(p).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(p, bytes).unwrap();
        }),
    ];
    for name in all {
        for (what, damage) in damages {
            let dir = tempfile::tempdir().unwrap();
            real(dir.path(), &[9, 10], Keep::default(), None);
            damage(&dir.path().join("step-10").join(name));
            let s = Store::new(&RealFs, dir.path(), Keep::default());
            let found = s.newest().unwrap();
            assert_eq!(found.newest.unwrap().1["step"], 9, "{name} {what}");
            let [(path, e)] = &found.damaged[..] else { panic!("{name} {what}") };
            assert!(e.to_string().contains(name), "{name} {what}: {e}");
            let aside = s.set_aside(path).unwrap();
            assert!(aside.join("config.json").exists() || name == "config.json");
            assert!(s.newest().unwrap().damaged.is_empty());
            real(dir.path(), &[10, 11], Keep::default(), None);
            assert_eq!(names(dir.path()), ["damaged-1-step-10", "step-10", "step-11"], "{name} {what}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    real(dir.path(), &[9, 10], Keep::default(), None);
    std::fs::write(dir.path().join("step-10/more.json"), b"").unwrap();
    std::fs::write(dir.path().join("step-9/.DS_Store"), b"").unwrap();
    let s = Store::new(&RealFs, dir.path(), Keep::default());
    assert_eq!(s.newest().unwrap().newest.unwrap().1["step"], 9);
    // All are damaged: it is said of each, and nothing is chosen.
    std::fs::remove_file(dir.path().join("step-9/state.json")).unwrap();
    let found = s.newest().unwrap();
    assert!(found.newest.is_none() && found.damaged.len() == 2);
}

#[test]
fn c05_every_flipped_bit_of_a_checkpoint_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    real(dir.path(), &[1], Keep::default(), None);
    let s = Store::new(&RealFs, dir.path(), Keep::default());
    let (whole, mut unseen) = (dir.path().join("step-1"), 0);
    for name in names(&whole) {
        let path = whole.join(&name);
        let good = std::fs::read(&path).unwrap();
        for bit in (0..good.len() * 8).step_by(5) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bad).unwrap();
            match s.verify(&whole) {
                Err(_) => {}
                // A flip in the manifest may change the name of the pupil that wrote it, or a blank.
                Ok(_) if name == "manifest.json" => unseen += 1,
                Ok(_) => panic!("{name}, bit {bit}"),
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(s.verify(&whole).is_ok() && unseen < 400, "{unseen}");
}

#[test]
fn c06_rotation_counts_by_number_and_spares_the_best_and_every_kth() {
    let dir = tempfile::tempdir().unwrap();
    real(dir.path(), &[8, 9, 10, 11], Keep { last: 2, every: None }, None);
    assert_eq!(names(dir.path()), ["step-10", "step-11"]);
    real(dir.path(), &[12, 13, 14, 15], Keep { last: 1, every: Some(7) }, Some(11));
    assert_eq!(names(dir.path()), ["step-11", "step-14", "step-15"]);
    // What is no finished checkpoint is not touched, but for what dead saves left.
    for name in [".new-step-16.1234", "step-x", "mine"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join(".new-file.1"), b"").unwrap();
    let s = Store::new(&RealFs, dir.path(), Keep { last: 0, every: None });
    s.clean();
    s.save(16, &json!({"step": 16}), files(16), None).unwrap();
    assert_eq!(names(dir.path()), ["mine", "step-16", "step-x"]);
}

#[test]
fn c06_old_checkpoints_stay_while_the_new_one_cannot_be_written() {
    let disk = begun();
    for step in [6, 9] {
        let full = FailFs::new(&disk, 4, true, Failure::Errno(ENOSPC));
        save(&full, step, 1).unwrap_err();
    }
    assert_eq!(newest(&disk), 3);
}

#[test]
fn v01_v06_other_formats_are_refused_with_both_numbers_and_none_is_assumed() {
    for (file, field) in [("manifest.json", "version"), ("state.json", "format")] {
        let change = |value: Value| {
            let dir = tempfile::tempdir().unwrap();
            real(dir.path(), &[1, 2], Keep::default(), None);
            let path = dir.path().join("step-2").join(file);
            let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            json[field] = value;
            json["pupil"] = "3.1.0".into();
            let text = json.to_string();
            std::fs::write(&path, &text).unwrap();
            if file == "state.json" {
                // The manifest knows the state's hash.
                let path = dir.path().join("step-2/manifest.json");
                let mut m: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                for f in m["files"].as_array_mut().unwrap() {
                    if f["name"] == "state.json" {
                        f["bytes"] = text.len().into();
                        f["blake3"] = blake3::hash(text.as_bytes()).to_hex().as_str().into();
                    }
                }
                std::fs::write(&path, m.to_string()).unwrap();
            }
            Store::new(&RealFs, dir.path(), Keep::default()).newest()
        };
        let e = change(json!(4)).unwrap_err().to_string();
        assert!(e.contains("3.1.0 (format 4)") && e.contains("reads up to 1") && e.contains(file), "{e}");
        for none in [Value::Null, json!(0), json!(-1), json!("1"), json!(1.8446744073709552e19)] {
            let found = change(none).unwrap();
            assert_eq!(found.newest.unwrap().1["step"], 1);
            assert!(found.damaged[0].1.to_string().contains(field));
        }
    }
}
