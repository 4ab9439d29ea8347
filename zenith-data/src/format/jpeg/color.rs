//! Rows of components to rows of interleaved RGB, portable: the reference library's integer arithmetic, and for CMYK
//! the conversion that Pillow makes. `rows_avx2` has the fast twin of the YCbCr kernel.

/// Rounded `x * factor / 65536`.
fn scaled(x: i32, factor: i32) -> i32 {
    (x * factor + (1 << 15)) >> 16
}

fn clamp(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

/// RGB of one YCbCr triple.
#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    [
        clamp(y + scaled(cr, 91881)),
        clamp(y + ((-22554 * cb - 46802 * cr + (1 << 15)) >> 16)),
        clamp(y + scaled(cb, 116_130)),
    ]
}

/// `a * b / 255`, rounded.
#[inline(always)]
fn share(a: u8, b: u8) -> u8 {
    let product = u32::from(a) * u32::from(b) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// YCbCr to RGB. All inputs are as long as `out` has pixels.
pub(super) fn ycc(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    for (((y, cb), cr), out) in y.iter().zip(cb).zip(cr).zip(out.chunks_exact_mut(3)) {
        out.copy_from_slice(&rgb(*y, *cb, *cr));
    }
}

/// Planes to pixels.
pub(super) fn interleave(r: &[u8], g: &[u8], b: &[u8], out: &mut [u8]) {
    for (((r, g), b), out) in r.iter().zip(g).zip(b).zip(out.chunks_exact_mut(3)) {
        out.copy_from_slice(&[*r, *g, *b]);
    }
}

/// CMYK as files have it (255 is no ink) to RGB.
pub(super) fn cmyk(c: &[u8], m: &[u8], y: &[u8], k: &[u8], out: &mut [u8]) {
    for ((((c, m), y), k), out) in c.iter().zip(m).zip(y).zip(k).zip(out.chunks_exact_mut(3)) {
        let (k, inks) = (*k, [*c, *m, *y]);
        out.copy_from_slice(&inks.map(|ink| k - share(255 - ink, k)));
    }
}

/// YCCK as files have it to RGB.
pub(super) fn ycck(y: &[u8], cb: &[u8], cr: &[u8], k: &[u8], out: &mut [u8]) {
    for ((((y, cb), cr), k), out) in y.iter().zip(cb).zip(cr).zip(k).zip(out.chunks_exact_mut(3)) {
        let (k, complement) = (*k, rgb(*y, *cb, *cr));
        // The components are the complement of the inks, which are stored inverted.
        out.copy_from_slice(&complement.map(|part| k - share(part, k)));
    }
}
