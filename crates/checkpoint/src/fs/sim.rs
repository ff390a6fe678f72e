//! A disk in memory that keeps apart what was synchronised and what was not: a means of tests.
//!
//! It knows what POSIX promises and nothing more: bytes are safe after `sync` of their file, names after `sync_dir` of their folder, a
//! rename is one step. After a crash the rest is there, or is not, or in part, as the test chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Component, Path};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Fs, Output};

/// What is left of unsynchronised data after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it: the process was killed, the machine lives on.
    All,
    /// Nothing: the power failed.
    Nothing,
    /// Some of it, by this seed: of each file a part of its new bytes or zeros in their place, of each folder some of its changes.
    Some(u64),
}

/// A number that names a file or folder, whatever its name is.
type Id = usize;

#[derive(Clone, Debug)]
enum Node {
    File { safe: Vec<u8>, now: Vec<u8> },
    Folder { safe: BTreeMap<OsString, Id>, now: BTreeMap<OsString, Id>, changes: Vec<Change> },
}

/// A change of a folder's names that is not on the disk yet.
#[derive(Clone, Debug)]
enum Change {
    Link(OsString, Id),
    Unlink(OsString),
    Rename(OsString, OsString, Id),
    Exchange([(OsString, Id); 2]),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<OsString, Id>) {
        match self {
            Change::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            Change::Unlink(name) => {
                names.remove(name);
            }
            Change::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Change::Exchange(pairs) => {
                names.extend(pairs.clone());
            }
        }
    }
}

#[derive(Clone, Debug)]
struct State {
    nodes: Vec<Node>,
    done: u64,
    crash_at: Option<u64>,
}

/// A disk in memory. Its paths are absolute.
#[derive(Debug)]
pub struct SimFs {
    state: Mutex<State>,
}

impl Default for SimFs {
    fn default() -> SimFs {
        let root = Node::Folder { safe: BTreeMap::new(), now: BTreeMap::new(), changes: Vec::new() };
        SimFs { state: Mutex::new(State { nodes: vec![root], done: 0, crash_at: None }) }
    }
}

impl SimFs {
    /// Everything after `at - 1` more operations that change something is lost: the process is dead by then, so all of them fail.
    pub fn crash_at(&self, at: u64) {
        let mut s = self.state();
        s.done = 0;
        s.crash_at = Some(at);
    }

    /// Whether the crash came.
    pub fn has_crashed(&self) -> bool {
        let s = self.state();
        s.crash_at.is_some_and(|at| s.done >= at)
    }

    /// The disk as the next process finds it.
    pub fn after(&self, left: Left) -> SimFs {
        let mut s = self.state().clone();
        let mut random = if let Left::Some(seed) = left { seed | 1 } else { 1 };
        let mut draw = move |below: usize| {
            // xorshift64*: any generator does, it only has to be the same on each run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
        };
        for node in &mut s.nodes {
            match node {
                Node::File { safe, now } => {
                    match left {
                        Left::All => {}
                        Left::Nothing => now.clone_from(safe),
                        Left::Some(_) if now != safe => {
                            let cut = draw(now.len() + 1);
                            if draw(3) == 0 {
                                // The length came to the disk, the bytes did not.
                                let from = now.len().min(safe.len().max(cut));
                                now[from..].fill(0);
                            } else if cut > safe.len() {
                                now.truncate(cut);
                            } else {
                                now.clone_from(safe);
                            }
                        }
                        Left::Some(_) => {}
                    }
                    safe.clone_from(now);
                }
                Node::Folder { safe, now, changes } => {
                    match left {
                        Left::All => {}
                        Left::Nothing => now.clone_from(safe),
                        Left::Some(_) => {
                            now.clone_from(safe);
                            changes.iter().filter(|_| draw(2) == 0).for_each(|c| c.apply(now));
                        }
                    }
                    safe.clone_from(now);
                    changes.clear();
                }
            }
        }
        s.crash_at = None;
        s.done = 0;
        SimFs { state: Mutex::new(s) }
    }

    /// Everything is on the disk from here on, as if the machine had been idle for a while.
    pub fn settle(&self) {
        let settled = self.after(Left::All);
        *self.state() = settled.state().clone();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation that changes something.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut s = self.state();
        s.done += 1;
        match s.crash_at {
            Some(at) if s.done >= at => Err(io::Error::other("crashed")),
            _ => Ok(s),
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    })
}

impl State {
    fn find(&self, path: &Path) -> Option<Id> {
        names(path).try_fold(0, |id, name| match &self.nodes[id] {
            Node::Folder { now, .. } => now.get(&name).copied(),
            Node::File { .. } => None,
        })
    }

    /// The folder that a path lies in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(Id, OsString)> {
        let name = path.file_name().ok_or_else(missing)?.to_owned();
        Ok((self.find(path.parent().unwrap_or(Path::new("/"))).ok_or_else(missing)?, name))
    }

    fn note(&mut self, folder: Id, change: Change) -> io::Result<()> {
        match &mut self.nodes[folder] {
            Node::Folder { now, changes, .. } => {
                change.apply(now);
                changes.push(change);
                Ok(())
            }
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn link(&mut self, path: &Path, node: Node) -> io::Result<Id> {
        let (folder, name) = self.place(path)?;
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.note(folder, Change::Link(name, id))?;
        Ok(id)
    }
}

struct SimOutput<'a> {
    fs: &'a SimFs,
    id: Id,
}

impl Write for SimOutput<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut s = self.fs.change()?;
        if let Node::File { now, .. } = &mut s.nodes[self.id] {
            now.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for SimOutput<'_> {
    fn sync(&mut self) -> io::Result<()> {
        let mut s = self.fs.change()?;
        if let Node::File { safe, now } = &mut s.nodes[self.id] {
            safe.clone_from(now);
        }
        Ok(())
    }
}

impl Fs for SimFs {
    fn create_dirs(&self, path: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = path.ancestors().filter(|p| p.file_name().is_some()).collect();
        above.reverse();
        for p in above {
            if self.state().find(p).is_none() {
                let empty = Node::Folder { safe: BTreeMap::new(), now: BTreeMap::new(), changes: Vec::new() };
                self.change()?.link(p, empty)?;
            }
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        let mut s = self.change()?;
        let id = match s.find(path) {
            Some(id) => {
                if let Node::File { now, .. } = &mut s.nodes[id] {
                    now.clear();
                }
                id
            }
            None => s.link(path, Node::File { safe: Vec::new(), now: Vec::new() })?,
        };
        Ok(Box::new(SimOutput { fs: self, id }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn Output + '_>> {
        let mut s = self.change()?;
        let id = match s.find(path) {
            Some(id) => id,
            None => s.link(path, Node::File { safe: Vec::new(), now: Vec::new() })?,
        };
        Ok(Box::new(SimOutput { fs: self, id }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let s = self.state();
        match s.find(path).map(|id| &s.nodes[id]) {
            Some(Node::File { now, .. }) => Ok(now.clone()),
            Some(Node::Folder { .. }) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(missing()),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let s = self.state();
        match s.find(path).map(|id| &s.nodes[id]) {
            Some(Node::Folder { now, .. }) => {
                Ok(now.keys().map(|n| n.to_string_lossy().into_owned()).collect())
            }
            Some(Node::File { .. }) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(missing()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.state().find(path).is_some()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut s = self.change()?;
        let (folder, a) = s.place(from)?;
        let (other, b) = s.place(to)?;
        if folder != other {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let id = s.find(from).ok_or_else(missing)?;
        if let Some(Node::Folder { now, .. }) = s.find(to).map(|id| &s.nodes[id])
            && !now.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        s.note(folder, Change::Rename(a, b, id))
    }

    fn exchange(&self, a: &Path, b: &Path) -> io::Result<()> {
        let mut s = self.change()?;
        let (folder, first) = s.place(a)?;
        let (_, second) = s.place(b)?;
        let [x, y] = [a, b].map(|p| s.find(p).ok_or_else(missing));
        let (x, y) = (x?, y?);
        s.note(folder, Change::Exchange([(first, y), (second, x)]))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut s = self.change()?;
        s.find(path).ok_or_else(missing)?;
        let (folder, name) = s.place(path)?;
        s.note(folder, Change::Unlink(name))
    }

    fn remove_dirs(&self, path: &Path) -> io::Result<()> {
        // As the system does it: what is inside first, so that a crash leaves a part.
        let inside: BTreeSet<String> = self.list(path)?.into_iter().collect();
        for name in inside {
            let inner = path.join(name);
            let is_folder = self.list(&inner).is_ok();
            if is_folder { self.remove_dirs(&inner)? } else { self.remove_file(&inner)? }
        }
        self.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut s = self.change()?;
        let id = s.find(path).ok_or_else(missing)?;
        if let Node::Folder { safe, now, changes } = &mut s.nodes[id] {
            safe.clone_from(now);
            changes.clear();
        }
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
