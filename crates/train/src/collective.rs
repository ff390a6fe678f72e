//! Processes that learn together, called ranks as in MPI: who they are, and how what each has becomes one.
//!
//! Everything is made of one operation, [`Collective::exchange`] between two ranks, so that what is tested with threads ([`Threads`]) is what
//! runs on machines, and so that sums have an order of their own: a library's all-reduce may add in any. Launching, meeting and carrying bytes are
//! the engine's job.
//!
//! The sum over the micro-batches `0..n` of a step is a binary tree over their numbers: neighbours, then pairs of neighbours, and so on; what has no
//! neighbour goes up as it is. A rank has an aligned block of `2^k` micro-batches, that is a whole branch, and ranks join branches in the same
//! order. So the bits do not depend on how many ranks there are.
//!
//! A collective does not fail: when a rank is lost, its launcher ends the others, for there is nothing that they could do alone.

#[cfg(feature = "mpi")]
pub mod mpi;
mod threads;

use std::ops::Range;

use pupil_tensor::Loss;
pub use threads::Threads;

/// One rank among others.
pub trait Collective: Sync {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Gives `send` to another rank and takes what it gives; the lengths are agreed, and either may be 0.
    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]);
}

/// A process that learns alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Single;

impl Collective for Single {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn exchange(&self, _partner: usize, _send: &[u8], _receive: &mut [u8]) {}
}

/// Micro-batches of each rank but the last ones: the smallest power of two that leaves none over.
fn block(micros: usize, size: usize) -> usize {
    micros.div_ceil(size).next_power_of_two()
}

/// Whether every one of `size` ranks has a micro-batch of `micros`.
///
/// # Errors
/// Says which numbers of ranks would do.
pub fn check_share(micros: usize, size: usize) -> Result<(), String> {
    let fits = |size: usize| (size - 1) * block(micros, size) < micros;
    if fits(size) {
        return Ok(());
    }
    let possible: Vec<String> = (1..size).filter(|&s| fits(s)).map(|s| s.to_string()).collect();
    Err(format!(
        "a step of {micros} rows has no work for each of {size} ranks: {} would do, or a run with more --rows",
        possible.join(", ")
    ))
}

/// The micro-batches, of `micros`, that this rank computes.
pub fn share(ranks: &dyn Collective, micros: usize) -> Range<usize> {
    let block = block(micros, ranks.size());
    let begin = (ranks.rank() * block).min(micros);
    begin..(begin + block).min(micros)
}

/// Replaces `data` on every rank by the sum over all ranks, added in a binary tree over their numbers.
///
/// Of a power of two of ranks each sends and receives `2·(1 − 1/P)` times the data, which is the least: neighbours give each other one half of what they
/// have and add the other, then neighbours of neighbours one quarter, and back (Rabenseifner 2004, nearest first). Other numbers send
/// the whole along the tree.
pub fn all_reduce(ranks: &dyn Collective, data: &mut [f32]) {
    if ranks.size().is_power_of_two() { by_halves(ranks, data) } else { along_the_tree(ranks, data) }
}

fn by_halves(ranks: &dyn Collective, data: &mut [f32]) {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut other = Vec::new();
    let mut path = Vec::new();
    let mut mine = 0..data.len();
    for distance in powers(size) {
        let (partner, middle) = (rank ^ distance, mine.start + mine.len() / 2);
        let (low, high) = (mine.start..middle, middle..mine.end);
        let (keep, give) = if rank & distance == 0 { (low, high) } else { (high, low) };
        other.resize(keep.len(), 0.0);
        ranks.exchange(
            partner,
            bytemuck::cast_slice(&data[give.clone()]),
            bytemuck::cast_slice_mut(&mut other),
        );
        add(&mut data[keep.clone()], &other);
        path.push((partner, keep.clone(), give));
        mine = keep;
    }
    for (partner, keep, give) in path.into_iter().rev() {
        let (low, high) = data.split_at_mut(keep.start.max(give.start));
        let (from, to) = if keep.end <= give.start {
            (&low[keep], &mut high[..give.len()])
        } else {
            (&high[..keep.len()], &mut low[give])
        };
        ranks.exchange(partner, bytemuck::cast_slice(from), bytemuck::cast_slice_mut(to));
    }
}

fn along_the_tree(ranks: &dyn Collective, data: &mut [f32]) {
    let mut other = vec![0.0; data.len()];
    for distance in powers(ranks.size()) {
        match branch(ranks, distance) {
            Branch::Joins(partner) => {
                ranks.exchange(partner, &[], bytemuck::cast_slice_mut(&mut other));
                add(data, &other);
            }
            Branch::Gives(partner) => ranks.exchange(partner, bytemuck::cast_slice(data), &mut []),
            Branch::Rests => {}
        }
    }
    for distance in powers(ranks.size()).rev() {
        match branch(ranks, distance) {
            Branch::Joins(partner) => ranks.exchange(partner, bytemuck::cast_slice(data), &mut []),
            Branch::Gives(partner) => ranks.exchange(partner, &[], bytemuck::cast_slice_mut(data)),
            Branch::Rests => {}
        }
    }
}

/// Rank 0's bytes to all.
pub fn broadcast(ranks: &dyn Collective, bytes: &mut Vec<u8>) {
    for distance in powers(ranks.size()).rev() {
        match branch(ranks, distance) {
            Branch::Joins(partner) => {
                ranks.exchange(partner, &(bytes.len() as u64).to_le_bytes(), &mut []);
                ranks.exchange(partner, bytes, &mut []);
            }
            Branch::Gives(partner) => *bytes = receive(ranks, partner),
            Branch::Rests => {}
        }
    }
}

/// Every rank's bytes, in order, on all.
pub fn all_gather(ranks: &dyn Collective, bytes: &[u8]) -> Vec<Vec<u8>> {
    // Each item behind its length.
    let mut list = [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    for distance in powers(ranks.size()) {
        match branch(ranks, distance) {
            Branch::Joins(partner) => list.extend(receive(ranks, partner)),
            Branch::Gives(partner) => {
                ranks.exchange(partner, &(list.len() as u64).to_le_bytes(), &mut []);
                ranks.exchange(partner, &list, &mut []);
            }
            Branch::Rests => {}
        }
    }
    broadcast(ranks, &mut list);
    let mut rest = &list[..];
    let mut all = Vec::with_capacity(ranks.size());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (item, next) = behind.split_at(u64::from_le_bytes(*length) as usize);
        all.push(item.to_vec());
        rest = next;
    }
    all
}

/// Every rank's losses, in order, on all.
pub fn all_losses(ranks: &dyn Collective, losses: &[Loss]) -> Vec<Vec<Loss>> {
    let numbers: Vec<f64> = losses.iter().flat_map(|l| [l.sum, l.weight, l.right]).collect();
    let loss = |n: &[f64]| Loss { sum: n[0], weight: n[1], right: n[2] };
    let read =
        |bytes: Vec<u8>| bytemuck::pod_collect_to_vec::<u8, f64>(&bytes).chunks_exact(3).map(loss).collect();
    all_gather(ranks, bytemuck::cast_slice(&numbers)).into_iter().map(read).collect()
}

/// Whether all say yes.
pub fn all_agree(ranks: &dyn Collective, yes: bool) -> bool {
    ranks.size() == 1 && yes || ranks.size() > 1 && all_gather(ranks, &[yes.into()]).iter().all(|b| b == &[1])
}

/// What a rank does where branches of `distance` ranks meet.
enum Branch {
    /// It has the left branch, and joins it with that of the other.
    Joins(usize),
    /// It has the right one.
    Gives(usize),
    /// It is not at the head of a branch, or there is no other.
    Rests,
}

fn branch(ranks: &dyn Collective, distance: usize) -> Branch {
    let rank = ranks.rank();
    match rank % (2 * distance) {
        0 if rank + distance < ranks.size() => Branch::Joins(rank + distance),
        d if d == distance => Branch::Gives(rank - distance),
        _ => Branch::Rests,
    }
}

/// 1, 2, 4, … below `size`.
fn powers(size: usize) -> impl DoubleEndedIterator<Item = usize> {
    (0..size.next_power_of_two().ilog2()).map(|k| 1 << k)
}

fn receive(ranks: &dyn Collective, partner: usize) -> Vec<u8> {
    let mut length = [0; 8];
    ranks.exchange(partner, &[], &mut length);
    let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
    ranks.exchange(partner, &[], &mut bytes);
    bytes
}

/// Not on the worker pool, whose threads compute meanwhile.
fn add(sum: &mut [f32], other: &[f32]) {
    sum.iter_mut().zip(other).for_each(|(a, b)| *a += b);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `f` on `size` ranks and returns what each gave.
    fn on<R: Send>(size: usize, f: impl Fn(&Threads) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let ranks: Vec<_> = Threads::new(size)
                .into_iter()
                .map(|r| {
                    scope.spawn({
                        let f = &f;
                        move || f(&r)
                    })
                })
                .collect();
            ranks.into_iter().map(|r| r.join().unwrap()).collect()
        })
    }

    /// The tree's sum of leaves, plainly.
    fn tree(leaves: &[Vec<f32>]) -> Vec<f32> {
        let mut level = leaves.to_vec();
        while level.len() > 1 {
            let join = |p: &[Vec<f32>]| match p {
                [a, b] => a.iter().zip(b).map(|(a, b)| a + b).collect(),
                rest => rest[0].clone(),
            };
            level = level.chunks(2).map(join).collect();
        }
        level.remove(0)
    }

    fn numbers(rank: usize, n: usize) -> Vec<f32> {
        // Of very different sizes, so that another order of adding gives other bits.
        (0..n)
            .map(|i| ((rank * 7 + i * 3 + 1) as f32).sin() * 10f32.powi((rank * 5 + i) as i32 % 9))
            .collect()
    }

    #[test]
    fn sums_have_the_bits_of_the_tree_with_any_number_of_ranks_and_numbers() {
        for size in 1..=9 {
            for n in [0, 1, 2, 5, 64, 1001] {
                let leaves: Vec<_> = (0..size).map(|r| numbers(r, n)).collect();
                let expected = tree(&leaves);
                let sums = on(size, |r| {
                    let mut data = numbers(r.rank(), n);
                    all_reduce(r, &mut data);
                    data
                });
                assert!(sums.iter().all(|s| s == &expected), "{size} ranks, {n} numbers");
                if size > 3 && n > 60 {
                    let in_a_row =
                        leaves.iter().skip(1).fold(leaves[0].clone(), |a, b| tree(&[a, b.clone()]));
                    assert_ne!(in_a_row, expected, "the test can tell orders apart: {size}, {n}");
                }
            }
        }
    }

    #[test]
    fn bytes_reach_all_ranks_in_order() {
        for size in 1..=7 {
            let expected: Vec<Vec<u8>> = (0..size).map(|r| vec![r as u8; r * 3 % 5]).collect();
            let all = on(size, |r| {
                let mut said = if r.rank() == 0 { b"of rank 0".to_vec() } else { vec![] };
                broadcast(r, &mut said);
                (said, all_gather(r, &vec![r.rank() as u8; r.rank() * 3 % 5]), all_agree(r, r.rank() != 5))
            });
            for (said, list, agreed) in all {
                assert_eq!((&said[..], &list, agreed), (&b"of rank 0"[..], &expected, size <= 5), "{size}");
            }
        }
    }

    #[test]
    fn every_micro_batch_has_one_rank_and_branches_are_whole() {
        for micros in 1..40 {
            for size in (1..=micros).filter(|&s| check_share(micros, s).is_ok()) {
                let shares = on(size, |r| share(r, micros));
                assert_eq!(
                    shares.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..micros).collect::<Vec<_>>()
                );
                let block = shares[0].len();
                assert!(size == 1 || block.is_power_of_two(), "{micros} on {size}");
                assert!(shares[..size - 1].iter().all(|s| s.len() == block), "{shares:?}");
            }
        }
        assert!(check_share(4, 3).unwrap_err().contains("1, 2 would do"));
        assert!(check_share(12, 3).is_ok() && check_share(1, 2).is_err());
    }
}
