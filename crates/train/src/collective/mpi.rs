//! Ranks that are processes of an MPI job, started by `mpirun`, Slurm or Kubernetes' MPI operator.
//!
//! MPI carries bytes between two ranks, without waiting inside of the library: a library that waits does so by asking without pause, which takes the
//! processor away from whoever computes on it meanwhile. A rank that MPI loses ends the job: that is MPI's default, and the launcher names it.

use std::time::Duration;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::request::Request;
use mpi::topology::{Communicator, SimpleCommunicator};

use super::Collective;

/// Bytes of a message at most: MPI counts in 32 bits.
const MESSAGE: usize = 1 << 30;
/// Times that an unfinished message is looked at before this rank begins to sleep in between.
const BUSY: u32 = 200;
/// How long it sleeps. Short beside a message of a bucket, long beside the time that a look takes.
const PAUSE: Duration = Duration::from_micros(20);

/// This process's part in a job, until dropped.
pub struct Job {
    _universe: Universe,
}

impl Job {
    /// Joins the job that this process was started for; call it once, on the thread that goes on.
    ///
    /// # Errors
    /// If MPI is running already, or does not allow a second thread to talk.
    pub fn join() -> Result<Job, String> {
        // Gradients leave on another thread than the one that joined, never on two at once.
        let (universe, threading) =
            mpi::initialize_with_threading(Threading::Serialized).ok_or("MPI was begun before")?;
        if threading < Threading::Serialized {
            return Err(format!(
                "this MPI library has threading {threading:?}; MPI_THREAD_SERIALIZED is needed"
            ));
        }
        Ok(Job { _universe: universe })
    }

    /// The ranks.
    pub fn ranks(&self) -> Mpi {
        let world = SimpleCommunicator::world();
        Mpi { rank: world.rank() as usize, size: world.size() as usize }
    }

    /// The name of this machine, as MPI knows it.
    pub fn machine(&self) -> String {
        mpi::environment::processor_name().unwrap_or_default()
    }

    /// Ends all ranks with an exit code.
    pub fn abort(&self, code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }
}

/// A rank of an MPI job.
#[derive(Clone, Copy, Debug)]
pub struct Mpi {
    rank: usize,
    size: usize,
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, partner: usize, send: &[u8], receive: &mut [u8]) {
        let world = SimpleCommunicator::world();
        let other = world.process_at_rank(partner as i32);
        let mut outgoing = send.chunks(MESSAGE);
        let mut incoming = receive.chunks_mut(MESSAGE);
        loop {
            let (out, into) = (outgoing.next(), incoming.next());
            if out.is_none() && into.is_none() {
                return;
            }
            mpi::request::scope(|scope| {
                let into = into.map(|bytes| other.immediate_receive_into(scope, bytes));
                let out = out.map(|bytes| other.immediate_send(scope, bytes));
                await_both(into, out);
            });
        }
    }
}

/// Looks after two messages until both are through.
fn await_both<'a, A: ?Sized, B: ?Sized, S: mpi::request::Scope<'a>>(
    mut a: Option<Request<'a, A, S>>,
    mut b: Option<Request<'a, B, S>>,
) {
    let mut looks = 0;
    loop {
        a = a.and_then(|request| request.test().err());
        b = b.and_then(|request| request.test().err());
        if a.is_none() && b.is_none() {
            return;
        }
        looks += 1;
        if looks > BUSY { std::thread::sleep(PAUSE) } else { std::thread::yield_now() }
    }
}
