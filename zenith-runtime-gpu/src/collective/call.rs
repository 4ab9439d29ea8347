//! What a rank calls, in a form that ranks can compare: the small header that goes before every collective.

use std::fmt;

use super::reduce::Dtype;

/// The collectives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The elements of all ranks combined, everywhere.
    AllReduce = 1,
    /// The elements of all ranks combined, each rank its share.
    ReduceScatter = 2,
    /// Every rank's share, everywhere.
    AllGather = 3,
    /// One rank's elements, everywhere.
    Broadcast = 4,
    /// Nobody goes on before all are here.
    Barrier = 5,
    /// Yes where all say yes.
    Decide = 6,
}

/// How elements are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReduceOp {
    /// The sum; integers wrap around.
    Sum = 1,
    /// The least; a NaN anywhere gives NaN.
    Min = 2,
    /// The greatest; a NaN anywhere gives NaN.
    Max = 3,
    /// The sum divided by the number of ranks; floating point only.
    Avg = 4,
}

/// A collective with what must be equal on all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub kind: Kind,
    /// The type of the elements.
    pub dtype: Dtype,
    /// How they are combined, where they are.
    pub op: ReduceOp,
    /// Whose elements are sent, in a broadcast.
    pub root: usize,
    /// Bytes of the whole buffer.
    pub bytes: usize,
}

/// Length of a call in its packed form.
pub(crate) const WORDS: usize = 3;

impl Call {
    /// A call without elements.
    pub(crate) const fn empty(kind: Kind) -> Self {
        Self { kind, dtype: Dtype::U8, op: ReduceOp::Sum, root: 0, bytes: 0 }
    }

    /// Number, nature and size.
    pub(crate) const fn pack(&self, sequence: u32) -> [u64; WORDS] {
        let nature =
            (self.kind as u64) | (self.dtype as u64) << 8 | (self.op as u64) << 16 | (self.root as u64) << 32;
        [sequence as u64, nature, self.bytes as u64]
    }
}

/// What a packed call says, for people; it may be anything, since another process wrote it.
pub(crate) fn describe([sequence, nature, bytes]: [u64; WORDS]) -> String {
    let kind = match nature & 0xff {
        1 => Kind::AllReduce,
        2 => Kind::ReduceScatter,
        3 => Kind::AllGather,
        4 => Kind::Broadcast,
        5 => Kind::Barrier,
        6 => Kind::Decide,
        _ => return format!("something unknown (call {sequence})"),
    };
    let dtype = Dtype::ALL.into_iter().find(|dtype| *dtype as u64 == nature >> 8 & 0xff);
    let elements = dtype
        .map_or_else(|| format!("{bytes} bytes"), |dtype| format!("{} {dtype}", bytes / dtype.size() as u64));
    let op = match nature >> 16 & 0xff {
        1 => "sum",
        2 => "min",
        3 => "max",
        _ => "avg",
    };
    let details = match kind {
        Kind::AllReduce | Kind::ReduceScatter => format!("({elements}, {op})"),
        Kind::AllGather => format!("({elements})"),
        Kind::Broadcast => format!("({elements}, from rank {})", nature >> 32),
        Kind::Barrier | Kind::Decide => String::new(),
    };
    format!("{kind}{details} as call {sequence}")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllReduce => "all_reduce",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllGather => "all_gather",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
            Self::Decide => "decide",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_in_full() {
        let call = Call { kind: Kind::AllReduce, dtype: Dtype::F32, op: ReduceOp::Avg, root: 0, bytes: 64 };
        assert_eq!(describe(call.pack(7)), "all_reduce(16 float32, avg) as call 7");
        let call = Call { kind: Kind::Broadcast, dtype: Dtype::U8, op: ReduceOp::Sum, root: 3, bytes: 5 };
        assert_eq!(describe(call.pack(0)), "broadcast(5 uint8, from rank 3) as call 0");
        assert_eq!(describe([9, 0xfe, 1]), "something unknown (call 9)");
    }
}
