//! `plugins/add_one` for Extism: the same loop, between Extism's calls that fetch the input and set the output.

#[link(wasm_import_module = "extism:host/env")]
extern "C" {
    fn input_length() -> u64;
    fn input_load_u8(offset: u64) -> u32;
    fn input_load_u64(offset: u64) -> u64;
    fn alloc(length: u64) -> u64;
    fn store_u8(offset: u64, value: u32);
    fn store_u64(offset: u64, value: u64);
    fn output_set(offset: u64, length: u64);
}

#[no_mangle]
pub extern "C" fn add_one() -> i32 {
    // SAFETY: offsets stay below the lengths that the host gave.
    unsafe {
        let length = input_length() as usize;
        let words = length / 8;
        let mut bytes = Vec::with_capacity(length);
        (0..words).for_each(|word| bytes.extend(input_load_u64(word as u64 * 8).to_le_bytes()));
        (words * 8..length).for_each(|at| bytes.push(input_load_u8(at as u64) as u8));
        for byte in &mut bytes {
            *byte = byte.saturating_add(1);
        }
        let output = alloc(length as u64);
        for (word, value) in bytes.chunks_exact(8).enumerate() {
            store_u64(output + word as u64 * 8, u64::from_le_bytes(value.try_into().unwrap_or_default()));
        }
        (words * 8..length).for_each(|at| store_u8(output + at as u64, u32::from(bytes[at])));
        output_set(output, length as u64);
    }
    0
}
