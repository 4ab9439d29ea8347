//! The product in higher precision, as far as it is affordable: some rows whole, all rows by their sums with random signs, which a
//! wrong element changes. It is for checking, and far too slow for anything else.

use crate::kernel::candidate::Rejection;
use crate::kernel::select::gate::{Tolerance, compare};

/// Multiplications and additions that the whole rows may take: some tens of milliseconds.
const AFFORDABLE: usize = 1 << 26;
/// Rows that are computed together, so that each element of `b` is read once for all of them.
const TOGETHER: usize = 4;
/// Columns that are computed together: their sums stay in the first cache.
const STRIP: usize = 512;

/// A matrix of f64, row after row.
#[derive(Debug)]
pub(super) struct Dense {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) elements: Vec<f64>,
}

/// What a product has to be.
#[derive(Debug)]
pub(super) struct Reference {
    cols: usize,
    /// Rows that are known whole, and their elements.
    rows: Vec<usize>,
    elements: Vec<f64>,
    /// Signs of the columns, and the sum of each row with them.
    signs: Vec<f64>,
    sums: Vec<f64>,
    tolerance: Tolerance,
}

impl Dense {
    fn row(&self, row: usize) -> &[f64] {
        &self.elements[row * self.cols..][..self.cols]
    }
}

impl Reference {
    /// The reference of `a * b`, whose elements are of about 1, for results of a type with this epsilon.
    pub(super) fn new(a: &Dense, b: &Dense, epsilon: f64) -> Self {
        let cost = (a.cols * b.cols).max(1);
        let whole = (AFFORDABLE / cost).clamp(TOGETHER, a.rows.max(TOGETHER)).min(a.rows);
        // Evenly spread, the first and the last among them.
        let rows: Vec<usize> = if whole == a.rows {
            (0..a.rows).collect()
        } else {
            (0..whole).map(|place| place * (a.rows - 1) / (whole - 1).max(1)).collect()
        };
        let elements = product(a, b, &rows);
        let signs: Vec<f64> = (0..b.cols as u64)
            .map(|place| if super::workload::mix(place) & 1 == 0 { 1.0 } else { -1.0 })
            .collect();
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let signed: Vec<f64> = (0..b.rows).map(|row| dot(b.row(row), &signs)).collect();
        let sums = (0..a.rows).map(|row| dot(a.row(row), &signed)).collect();
        // Rounding errors of sums of `k` terms of about 1, each as large as the sum so far: some epsilon times sqrt(k) * sqrt(k).
        let absolute = epsilon * (8.0 + 5.0 * a.cols as f64);
        Self {
            cols: b.cols,
            rows,
            elements,
            signs,
            sums,
            tolerance: Tolerance { relative: 4.0 * epsilon, absolute },
        }
    }

    /// Whether `element(row, column)` is the product's, everywhere.
    pub(super) fn check(&self, element: impl Fn(usize, usize) -> f64) -> Result<(), Rejection> {
        let element = &element;
        let at =
            |row: usize| move |detail: String| Rejection::Wrong { detail: format!("row {row}: {detail}") };
        for (&row, want) in self.rows.iter().zip(self.elements.chunks_exact(self.cols.max(1))) {
            let got = (0..self.cols).map(|col| element(row, col));
            compare(got, want.iter().copied(), self.tolerance).map_err(|rejection| match rejection {
                Rejection::Wrong { detail } => at(row)(detail),
                other => other,
            })?;
        }
        // Errors of random signs add up like random steps do.
        let allowed = 4.0 * self.tolerance.absolute * (self.cols as f64).sqrt();
        for (row, &want) in self.sums.iter().enumerate() {
            let got: f64 = self.signs.iter().enumerate().map(|(col, sign)| sign * element(row, col)).sum();
            // A NaN is not near anything, and so is refused.
            let near = (got - want).abs() <= allowed;
            if !near {
                return Err(at(row)(format!("its sum with random signs is {got} instead of {want}")));
            }
        }
        Ok(())
    }
}

/// Some rows of `a * b`.
fn product(a: &Dense, b: &Dense, rows: &[usize]) -> Vec<f64> {
    let mut product = vec![0.0; rows.len() * b.cols];
    for (rows, out) in rows.chunks(TOGETHER).zip(product.chunks_mut((TOGETHER * b.cols).max(1))) {
        for start in (0..b.cols).step_by(STRIP) {
            let width = STRIP.min(b.cols - start);
            let mut sums = [[0.0; STRIP]; TOGETHER];
            for k in 0..b.rows {
                let strip = &b.row(k)[start..start + width];
                for (sums, &row) in sums.iter_mut().zip(rows) {
                    let factor = a.row(row)[k];
                    for (sum, element) in sums.iter_mut().zip(strip) {
                        *sum += factor * element;
                    }
                }
            }
            for (sums, out) in sums.iter().zip(out.chunks_mut(b.cols)).take(rows.len()) {
                out[start..start + width].copy_from_slice(&sums[..width]);
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dense(rows: usize, cols: usize, seed: u64) -> Dense {
        let element = |place: u64| {
            (super::super::workload::mix(place ^ seed) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        Dense { rows, cols, elements: (0..(rows * cols) as u64).map(element).collect() }
    }

    fn plain(a: &Dense, b: &Dense) -> Vec<f64> {
        let element = |row: usize, col: usize| (0..a.cols).map(|k| a.row(row)[k] * b.row(k)[col]).sum();
        (0..a.rows).flat_map(|row| (0..b.cols).map(move |col| element(row, col))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn it_accepts_the_product_and_no_wrong_element(
            m in 1_usize..20, n in 1_usize..600, k in 1_usize..20, seed: u64, place: prop::sample::Index
        ) {
            let (a, b) = (dense(m, k, seed), dense(k, n, !seed));
            let reference = Reference::new(&a, &b, f64::from(f32::EPSILON));
            let mut product = plain(&a, &b);
            prop_assert_eq!(reference.check(|row, col| product[row * n + col]), Ok(()));
            let place = place.index(m * n);
            for wrong in [product[place] + 0.01, f64::NAN, f64::INFINITY] {
                let right = std::mem::replace(&mut product[place], wrong);
                prop_assert!(reference.check(|row, col| product[row * n + col]).is_err());
                product[place] = right;
            }
        }
    }

    #[test]
    fn a_wrong_element_of_a_row_that_is_not_whole_is_found() {
        let (a, b) = (dense(3000, 64, 1), dense(64, 1024, 2));
        let mut reference = Reference::new(&a, &b, f64::EPSILON);
        assert!(reference.rows.len() < 3000 && reference.rows.last() == Some(&2999));
        let mut product = product(&a, &b, &(0..3000).collect::<Vec<_>>());
        assert_eq!(reference.check(|row, col| product[row * 1024 + col]), Ok(()));
        reference.rows.truncate(1);
        product[1234 * 1024 + 77] += 1e-6;
        let Err(Rejection::Wrong { detail }) = reference.check(|row, col| product[row * 1024 + col]) else {
            panic!()
        };
        assert!(detail.starts_with("row 1234: its sum"), "{detail}");
    }
}
