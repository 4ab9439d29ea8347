//! Decoding a window of a JPEG through libjpeg-turbo's own cropping, which the safe crate does not offer.
#![expect(
    unsafe_code,
    reason = "TurboJPEG's cropping region exists in the raw bindings only"
)]

use std::ffi::CStr;

use turbojpeg::raw;

use crate::crop::Window;

/// MCU width in pixels by TJSAMP number (444, 422, 420, grey, 440, 411, 441); the header has it as a macro-like
/// constant that is not in the library. Unknown samplings take the widest, which all others divide.
const MCU_WIDTHS: [u32; 7] = [8, 16, 16, 8, 8, 32, 8];

/// A decoded region: RGB rows, and where the wanted window lies in them.
pub struct Region {
    pub width: u32,
    pub height: u32,
    pub left: u32,
}

/// One decompressor with its pixel buffer; every thread has its own.
pub struct Decoder {
    handle: raw::tjhandle,
    pub pixels: Vec<u8>,
}

// SAFETY: a TurboJPEG handle is owned memory without thread-local state; it is used by one thread at a time, since
// every method takes the decoder by reference of its one owner and it is not `Sync`.
unsafe impl Send for Decoder {}

impl Decoder {
    pub fn new() -> Result<Self, String> {
        // SAFETY: takes no pointers; a null answer is handled below.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as libc::c_int) };
        if handle.is_null() {
            return Err("no decompressor".into());
        }
        Ok(Self {
            handle,
            pixels: Vec::new(),
        })
    }

    /// Reads the header and returns width and height in pixels.
    pub fn header(&mut self, jpeg: &[u8]) -> Result<(u32, u32), String> {
        // SAFETY: the handle is live until drop; pointer and length are of one slice.
        let code = unsafe { raw::tj3DecompressHeader(self.handle, jpeg.as_ptr(), jpeg.len() as _) };
        self.check(code)?;
        let width = self.get(raw::TJPARAM_TJPARAM_JPEGWIDTH as libc::c_int);
        let height = self.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT as libc::c_int);
        match (u32::try_from(width), u32::try_from(height)) {
            (Ok(width), Ok(height)) => Ok((width, height)),
            _ => Err(format!("header says {width} x {height}")),
        }
    }

    /// Decodes the rows and MCU columns that cover `window`, after `header` was read from the same bytes.
    pub fn decode(&mut self, jpeg: &[u8], window: Window) -> Result<Region, String> {
        let subsampling = self.get(raw::TJPARAM_TJPARAM_SUBSAMP as libc::c_int);
        let mcu = usize::try_from(subsampling)
            .ok()
            .and_then(|at| MCU_WIDTHS.get(at))
            .copied()
            .unwrap_or(32);
        let left = window.left / mcu * mcu;
        let width = window.left + window.width - left;
        let region = raw::tjregion {
            x: left as libc::c_int,
            y: window.top as libc::c_int,
            w: width as libc::c_int,
            h: window.height as libc::c_int,
        };
        // SAFETY: plain values; the header was read with this handle.
        let code = unsafe { raw::tj3SetCroppingRegion(self.handle, region) };
        self.check(code)?;
        let length = width as usize * window.height as usize * 3;
        if self.pixels.len() < length {
            self.pixels.resize(length, 0);
        }
        // SAFETY: with this region the library writes `height` rows of `width` RGB pixels, `length` bytes, and the
        // buffer is at least that long; the input is one slice.
        let code = unsafe {
            raw::tj3Decompress8(
                self.handle,
                jpeg.as_ptr(),
                jpeg.len() as _,
                self.pixels.as_mut_ptr(),
                0,
                raw::TJPF_TJPF_RGB as libc::c_int,
            )
        };
        self.check(code)?;
        Ok(Region {
            width,
            height: window.height,
            left: window.left - left,
        })
    }

    fn get(&self, parameter: libc::c_int) -> libc::c_int {
        // SAFETY: the handle is live until drop.
        unsafe { raw::tj3Get(self.handle, parameter) }
    }

    fn check(&self, code: libc::c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the library returns a terminated string that lives as long as the handle.
        Err(unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.handle)) }
            .to_string_lossy()
            .into_owned())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: made by tj3Init, destroyed once.
        unsafe { raw::tj3Destroy(self.handle) };
    }
}
