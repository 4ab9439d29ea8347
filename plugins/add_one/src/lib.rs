//! A Zenith plugin: adds one to every byte; 255 stays 255.

#[no_mangle]
pub extern "C" fn process(ptr: *mut u8, len: usize) -> i32 {
    // SAFETY: the host gives `len` bytes at `ptr`, and nobody else uses them during the call.
    let bytes = unsafe { std::slice::from_raw_parts_mut(ptr, len) };
    for byte in bytes {
        *byte = byte.saturating_add(1);
    }
    0
}
