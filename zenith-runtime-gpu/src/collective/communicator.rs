//! The contract of ranks that speak to each other, and what it checks once for all who carry it out.

use std::ops::Range;
use std::time::Duration;

use super::Result;
use super::call::{Call, Kind, ReduceOp};
use super::error::CollectiveError;
use super::reduce::Dtype;

/// One rank's end of a group of ranks.
///
/// All ranks make the same calls in the same order; a rank that calls something else is found and named. Buffers are bytes
/// of elements of one type, in the machine's own order. The result of a reduction is computed once for each element and
/// copied, so it is bit-equal on all ranks. `limit` is how long this rank waits in this call; an error leaves the buffer
/// in an unspecified state and the communicator broken ([`CollectiveError::Refused`] alone does neither).
pub trait Communicator: Send {
    /// This rank's number.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn world(&self) -> usize;

    /// How ranks are joined, in a word.
    fn backend(&self) -> &'static str;

    /// Carries out a call whose arguments were checked. Users call the methods below.
    ///
    /// # Errors
    /// Whatever ends the call; every later call then fails too.
    fn carry_out(&mut self, call: Call, data: &mut [u8], limit: Duration) -> Result<()>;

    /// Whether all ranks say yes, the same answer on all that live: a rank that dies or is late makes it a no for
    /// everybody, or comes too late to change a yes.
    ///
    /// # Errors
    /// As for every call. An error means that nobody who lives was told yes.
    fn decide(&mut self, yes: bool, limit: Duration) -> Result<bool>;

    /// Combines the elements of all ranks in place.
    ///
    /// # Errors
    /// When ranks die, are late or call something else, and for averages of integers.
    fn all_reduce(&mut self, data: &mut [u8], dtype: Dtype, op: ReduceOp, limit: Duration) -> Result<()> {
        let call = Call { kind: Kind::AllReduce, dtype, op, root: 0, bytes: data.len() };
        self.carry_out(checked(call, self.world())?, data, limit)
    }

    /// As [`all_reduce`](Self::all_reduce), but only this rank's [`share`] of `data` holds the result afterwards; the
    /// rest is unspecified.
    ///
    /// # Errors
    /// As for [`all_reduce`](Self::all_reduce).
    fn reduce_scatter(&mut self, data: &mut [u8], dtype: Dtype, op: ReduceOp, limit: Duration) -> Result<()> {
        let call = Call { kind: Kind::ReduceScatter, dtype, op, root: 0, bytes: data.len() };
        self.carry_out(checked(call, self.world())?, data, limit)
    }

    /// Fills `data` with every rank's [`share`] of it; this rank's is already in place.
    ///
    /// # Errors
    /// When ranks die, are late or call something else.
    fn all_gather(&mut self, data: &mut [u8], dtype: Dtype, limit: Duration) -> Result<()> {
        let call = Call { kind: Kind::AllGather, dtype, op: ReduceOp::Sum, root: 0, bytes: data.len() };
        self.carry_out(checked(call, self.world())?, data, limit)
    }

    /// Fills `data` with that of rank `root`.
    ///
    /// # Errors
    /// When ranks die, are late or call something else.
    fn broadcast(&mut self, data: &mut [u8], root: usize, limit: Duration) -> Result<()> {
        let call =
            Call { kind: Kind::Broadcast, dtype: Dtype::U8, op: ReduceOp::Sum, root, bytes: data.len() };
        self.carry_out(checked(call, self.world())?, data, limit)
    }

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// When ranks die, are late or call something else.
    fn barrier(&mut self, limit: Duration) -> Result<()> {
        self.carry_out(Call::empty(Kind::Barrier), &mut [], limit)
    }
}

fn checked(call: Call, world: usize) -> Result<Call> {
    let refuse = |reason: String| Err(CollectiveError::Refused { call: call.kind, reason });
    if !call.bytes.is_multiple_of(call.dtype.size()) {
        return refuse(format!("{} bytes are no whole number of {}", call.bytes, call.dtype));
    }
    if call.root >= world {
        return refuse(format!("there is no rank {} among {world}", call.root));
    }
    if call.op == ReduceOp::Avg && !call.dtype.is_float() {
        return refuse(format!("an average of {} is none of {}; sum, and divide", call.dtype, call.dtype));
    }
    Ok(call)
}

/// The bytes of `rank`'s share of a buffer: shares are whole elements, in the order of ranks, and the first ones are longer
/// by one where the elements do not divide by the ranks.
///
/// # Panics
/// When there is no such rank.
#[must_use]
pub fn share(bytes: usize, dtype: Dtype, rank: usize, world: usize) -> Range<usize> {
    assert!(rank < world, "rank {rank} of {world}");
    let elements = bytes / dtype.size();
    let (each, more) = (elements / world, elements % world);
    let start = rank * each + rank.min(more);
    let end = start + each + usize::from(rank < more);
    start * dtype.size()..end * dtype.size()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_are_a_partition_into_nearly_equal_parts(elements in 0usize..1000, world in 1usize..40) {
            let bytes = elements * 4;
            let shares: Vec<_> = (0..world).map(|rank| share(bytes, Dtype::F32, rank, world)).collect();
            prop_assert_eq!(shares[0].start, 0);
            prop_assert_eq!(shares[world - 1].end, bytes);
            prop_assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].len() >= pair[1].len()));
            prop_assert!(shares[0].len() - shares[world - 1].len() <= 4);
        }
    }
}
