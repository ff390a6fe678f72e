//! Ranks that are threads of one process: for tests, and to try what several machines would do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use super::Collective;

/// A rank on a thread.
pub struct Threads {
    rank: usize,
    /// To each rank, itself included for the sake of the index.
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Mutex<Receiver<Vec<u8>>>>,
}

impl Threads {
    /// As many ranks, in order; each goes to its own thread.
    pub fn new(size: usize) -> Vec<Threads> {
        let mut ranks: Vec<Threads> =
            (0..size).map(|rank| Threads { rank, to: Vec::new(), from: Vec::new() }).collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                ranks[from].to.push(sender);
                ranks[to].from.push(Mutex::new(receiver));
            }
        }
        ranks
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    /// # Panics
    /// If the other rank's thread ended: what a launcher does to the rest of a job.
    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) {
        if !send.is_empty() {
            let sent = self.to[partner].send(send.to_vec());
            assert!(sent.is_ok(), "rank {partner} is lost");
        }
        if !receive.is_empty() {
            let from = self.from[partner].lock().unwrap_or_else(PoisonError::into_inner);
            let Ok(bytes) = from.recv() else { panic!("rank {partner} is lost") };
            receive.copy_from_slice(&bytes);
        }
    }
}
