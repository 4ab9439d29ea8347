//! What the targets share: choices taken from the input, files that lie in memory, and which panics count as findings.
//! No parser is called from here but those of table files, which several targets open in the same way.

pub mod jpeg;
pub mod memory_file;
pub mod tables;

/// Splits the last `N` bytes off the input: choices such as a region, so that the rest is a plain file of its format.
pub fn choices<const N: usize>(input: &[u8]) -> Option<(&[u8], [u8; N])> {
    input.split_last_chunk::<N>().map(|(rest, last)| (rest, *last))
}

/// Makes panics of other people's decoders no finding where Zenith catches them; those in Zenith's own code still end
/// the run even where they would be caught. To be called once, before the first input.
pub fn count_own_panics() {
    let end_the_run = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_own = |file: &str| file.contains("zenith-") || file.contains("targets/");
        if panic.location().is_none_or(|place| is_own(place.file())) {
            end_the_run(panic);
        }
    }));
}
