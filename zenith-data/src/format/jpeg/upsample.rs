//! Chroma rows to full width and height: the "fancy" triangle filters of the reference library and plain replication.
//! Portable; `rows_avx2` has the fast twins.
//!
//! The triangle kernels read one sample beyond each end of their input. At an edge of the picture the caller puts a
//! copy of the edge sample there, which makes the reference's special first and last columns fall out of the rule.

/// How a component reaches the size of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upsample {
    /// It has it already.
    None,
    /// Triangle filter along rows.
    Wide,
    /// Triangle filter along columns.
    Tall,
    /// Triangle filter along both.
    Both,
    /// Each sample becomes a rectangle.
    Replicate,
}

impl Upsample {
    /// Whether a row needs the rows above and below.
    pub(super) const fn reaches_rows(self) -> bool {
        matches!(self, Self::Tall | Self::Both)
    }

    /// Whether a sample needs its left and right neighbours.
    pub(super) const fn reaches_columns(self) -> bool {
        matches!(self, Self::Wide | Self::Both)
    }
}

/// Doubles a row. `input` has one sample more than it gives at each end; `out` has two for each of the others.
pub(super) fn wide(input: &[u8], out: &mut [u8]) {
    for (three, pair) in input.windows(3).zip(out.chunks_exact_mut(2)) {
        let [left, here, right] = [0, 1, 2].map(|i| u32::from(three[i]));
        pair[0] = ((here * 3 + left + 1) >> 2) as u8;
        pair[1] = ((here * 3 + right + 2) >> 2) as u8;
    }
}

/// Doubles a row that lies between two: `near` counts three times, `far` once. Ends as in [`wide`].
pub(super) fn both(near: &[u8], far: &[u8], out: &mut [u8]) {
    let column = |i: usize| u32::from(near[i]) * 3 + u32::from(far[i]);
    for (i, pair) in out.chunks_exact_mut(2).enumerate() {
        let (left, here, right) = (column(i), column(i + 1), column(i + 2));
        pair[0] = ((here * 3 + left + 8) >> 4) as u8;
        pair[1] = ((here * 3 + right + 7) >> 4) as u8;
    }
}

/// A row that lies between two; `bias` is 1 for the upper and 2 for the lower of a pair.
pub(super) fn tall(near: &[u8], far: &[u8], bias: u16, out: &mut [u8]) {
    for ((near, far), out) in near.iter().zip(far).zip(out) {
        *out = ((u16::from(*near) * 3 + u16::from(*far) + bias) >> 2) as u8;
    }
}

/// Each sample `times` times.
pub(super) fn replicate(input: &[u8], times: usize, out: &mut [u8]) {
    for (value, group) in input.iter().zip(out.chunks_mut(times)) {
        group.fill(*value);
    }
}
