//! Arrow files and streams from arbitrary bytes: opened, mapped to fields, and rows of them read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_data::source::table::Kind;
use zenith_fuzz::count_own_panics;
use zenith_fuzz::tables::open_and_read;

fuzz_target!(init: count_own_panics(), |input: &[u8]| open_and_read(Kind::ArrowIpc, input));
