//! libjpeg-turbo through its own TurboJPEG interface, with reused handle and memory.

use std::{error::Error, ffi::CStr};

use turbojpeg_sys as sys;
use zenith_data::pixels::Region;

/// Pixels across an MCU, by the library's number of the kind of subsampling.
const MCU_WIDTH: [i32; 7] = [8, 16, 16, 8, 8, 32, 8];

/// A decompressor of libjpeg-turbo.
pub(crate) struct Turbo {
    handle: sys::tjhandle,
    pixels: Vec<u8>,
}

impl Turbo {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        // SAFETY: a plain constructor; a null handle is checked for.
        let handle = unsafe { sys::tj3Init(sys::TJINIT_TJINIT_DECOMPRESS as i32) };
        if handle.is_null() {
            return Err("libjpeg-turbo gave no decompressor".into());
        }
        Ok(Self {
            handle,
            pixels: Vec::new(),
        })
    }

    fn check(&self, code: i32) -> Result<(), Box<dyn Error>> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the handle lives as long as `self`; the text is a string of the library's, copied at once.
        let text = unsafe { CStr::from_ptr(sys::tj3GetErrorStr(self.handle)) };
        Err(text.to_string_lossy().into_owned().into())
    }

    fn get(&self, parameter: sys::TJPARAM) -> i32 {
        // SAFETY: the handle lives as long as `self`.
        unsafe { sys::tj3Get(self.handle, parameter as i32) }
    }

    /// Decodes to RGB (gray to one channel), or the region widened to the left to what the library can crop to.
    pub(crate) fn decode(&mut self, bytes: &[u8], region: Option<Region>) -> Result<&[u8], Box<dyn Error>> {
        // SAFETY: pointer and length are those of one slice.
        self.check(unsafe { sys::tj3DecompressHeader(self.handle, bytes.as_ptr(), bytes.len() as _) })?;
        let (mut width, mut height) = (
            self.get(sys::TJPARAM_TJPARAM_JPEGWIDTH),
            self.get(sys::TJPARAM_TJPARAM_JPEGHEIGHT),
        );
        let subsampling = self.get(sys::TJPARAM_TJPARAM_SUBSAMP);
        let mut crop = sys::tjregion {
            x: 0,
            y: 0,
            w: 0,
            h: 0,
        };
        if let Some(region) = region {
            let unit = MCU_WIDTH[subsampling as usize];
            crop.x = region.x as i32 / unit * unit;
            crop.y = region.y as i32;
            crop.w = region.x as i32 + region.width as i32 - crop.x;
            crop.h = region.height as i32;
            (width, height) = (crop.w, crop.h);
        }
        // SAFETY: the handle lives as long as `self`; a region of zeros lifts an earlier one.
        self.check(unsafe { sys::tj3SetCroppingRegion(self.handle, crop) })?;
        let gray = subsampling == sys::TJSAMP_TJSAMP_GRAY;
        let (format, channels) = if gray {
            (sys::TJPF_TJPF_GRAY, 1)
        } else {
            (sys::TJPF_TJPF_RGB, 3)
        };
        let length = width as usize * height as usize * channels;
        if self.pixels.len() < length {
            self.pixels.resize(length, 0);
        }
        // SAFETY: the buffer holds the rows of `width * channels` bytes that the library writes.
        let code = unsafe {
            sys::tj3Decompress8(
                self.handle,
                bytes.as_ptr(),
                bytes.len() as _,
                self.pixels.as_mut_ptr(),
                0,
                format,
            )
        };
        self.check(code)?;
        Ok(&self.pixels[..length])
    }
}

impl Drop for Turbo {
    fn drop(&mut self) {
        // SAFETY: the handle is not used afterwards.
        unsafe { sys::tj3Destroy(self.handle) };
    }
}
