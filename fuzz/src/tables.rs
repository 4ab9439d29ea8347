//! Opens an input as a table file and reads rows of it, in every way a loader would. That an input is refused is fine;
//! that a row which the source counts is out of bounds is not.

use std::cell::RefCell;

use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::table::{Kind, LabelChoice, Opened, TableOptions, open_files};
use zenith_data::source::{SampleKey, Source, Spent};

use crate::choices;
use crate::memory_file::MemoryFile;

/// A batch may have so many bytes; wider rows are legal, but say nothing new.
const MOST_BATCH: usize = 16 << 20;

/// Opens and reads the input but for its last two bytes, which choose the options.
pub fn open_and_read(kind: Kind, input: &[u8]) {
    thread_local! {
        static FILE: RefCell<MemoryFile> =
            RefCell::new(MemoryFile::new().expect("memory for the input"));
    }
    let Some((bytes, [option, row])) = choices::<2>(input) else {
        return;
    };
    let options = TableOptions {
        label: if option & 1 == 0 {
            LabelChoice::Auto
        } else {
            LabelChoice::None
        },
        memory_budget: (option & 2 == 0).then_some(1 << 20),
        skip_bad: option & 4 == 0,
        threads: 1,
        ..TableOptions::default()
    };
    FILE.with_borrow_mut(|file| {
        let path = file.set(bytes).expect("memory for the input");
        match open_files(&[path.to_path_buf()], kind, &options) {
            Ok(Opened::Rows(rows)) => read_rows(&rows, row),
            Ok(Opened::Pictures(column)) => {
                let mut picture = Vec::new();
                for id in some_rows(column.len(), row) {
                    // A picture may be missing or unreadable; that is an error of this sample.
                    let _ = column.read(id, &mut picture);
                }
            }
            Err(_) => {}
        }
    });
}

/// The first and last rows and one in between.
fn some_rows(len: u64, row: u8) -> Vec<u64> {
    let Some(last) = len.checked_sub(1) else {
        return Vec::new();
    };
    vec![0, last, u64::from(row).min(last), last / 2]
}

fn read_rows(rows: &dyn Source, row: u8) {
    let ids = some_rows(rows.len(), row);
    if ids.is_empty() || rows.schema().sample_bytes().saturating_mul(ids.len()) > MOST_BATCH {
        return;
    }
    let keys: Vec<SampleKey> = ids
        .iter()
        .map(|&sample| SampleKey {
            sample,
            seed: 0,
            epoch: 0,
        })
        .collect();
    let layout = SlotLayout::new(rows.schema(), keys.len()).expect("a small layout");
    let mut slab = vec![0; layout.bytes()];
    let mut slots = Slots::of(&mut slab, &layout, keys.len());
    let Ok(mut filler) = rows.filler() else {
        return;
    };
    filler.read_ahead(&keys);
    if let Err((position, _)) = filler.fill(&keys, &mut slots, &mut Spent::default()) {
        assert!(position < keys.len(), "a bad sample that was not asked for");
    }
}
