//! The structs of the ABI, as the document lays them out, and what lies in them.

use proptest::prelude::*;

use super::*;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A memory of 4,096 bytes with `parts` at their places.
fn memory(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut memory = vec![0; 4_096];
    for (at, part) in parts {
        memory[*at..at + part.len()].copy_from_slice(part);
    }
    memory
}

fn one_tensor(record: [u32; 11]) -> Result<Vec<TensorView>, String> {
    let memory = memory(&[(16, &words(&[0, 1, 64, 0, 0])), (64, &words(&record)), (512, &[1, 0, 1, 2])]);
    let outcome = outcome(&memory, 16)?;
    let mut views = Vec::new();
    tensors(&memory, &outcome, 1_000_000, &mut views).map(|()| views)
}

#[test]
fn an_input_lies_as_the_document_says() {
    let written = input(64, DType::Float32, &[2, 3], 0x1122_3344_5566_7788).unwrap();
    assert_eq!(written[..44], words(&[64, 10, 2, 2, 3, 0, 0, 0, 0, 0, 0]));
    assert_eq!(written[44..48], [0; 4]);
    assert_eq!(written[48..], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    assert!(input(0, DType::Bool, &[1; 9], 0).unwrap_err().contains("9 axes"));
    assert!(input(0, DType::Bool, &[1 << 32], 0).unwrap_err().contains("axis 0"));
}

#[test]
fn element_types_have_the_documents_numbers() {
    let numbers: Vec<u32> = DType::ALL.into_iter().map(code).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    assert!(DType::ALL.into_iter().all(|d| dtype(code(d)) == Some(d)));
    assert_eq!(dtype(12), None);
}

#[test]
fn a_tensor_is_read_back() {
    let views = one_tensor([512, 7, 2, 3, 5, 0, 0, 0, 0, 0, 0]).unwrap();
    let view = views[0];
    assert_eq!((view.dtype, view.shape(), view.range()), (DType::Int32, &[3, 5][..], 512..572));
    let scalar = one_tensor([512, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap()[0];
    assert_eq!((scalar.shape(), scalar.length), (&[][..], 8));
    let empty = one_tensor([4_096, 11, 2, 0, u32::MAX, 0, 0, 0, 0, 0, 0]).unwrap()[0];
    assert_eq!((empty.shape(), empty.length), (&[0, u32::MAX as usize][..], 0));
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let big = u32::MAX;
    for (record, reason) in [
        ([512, 12, 1, 1, 0, 0, 0, 0, 0, 0, 0], "element type 12"),
        ([512, 1, 9, 1, 0, 0, 0, 0, 0, 0, 0], "9 axes"),
        ([512, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0], "behind its 1 axes"),
        ([512, 1, 3, big, big, big, 0, 0, 0, 0, 0], "overflows"),
        ([512, 1, 4, 0, big, big, big, 0, 0, 0, 0], "overflows"),
        ([513, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0], "not aligned"),
        ([4_095, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0], "outside"),
        ([4_097, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0], "outside"),
        ([big, 1, 1, big, 0, 0, 0, 0, 0, 0, 0], "outside"),
        ([512, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0], "neither 0 nor 1"),
    ] {
        let error = one_tensor(record).unwrap_err();
        assert!(error.contains(reason), "{record:?}: {error}");
    }
    assert_eq!(one_tensor([512, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0]).unwrap()[0].length, 3);
}

#[test]
fn many_tensors_over_the_same_bytes_are_bounded() {
    let record = words(&[0, 1, 1, 4_000, 0, 0, 0, 0, 0, 0, 0]);
    let list: Vec<u8> = record.repeat(20);
    let memory = memory(&[(16, &words(&[0, 20, 64, 0, 0])), (64, &list)]);
    let outcome = outcome(&memory, 16).unwrap();
    let mut views = Vec::new();
    tensors(&memory, &outcome, 80_000, &mut views).unwrap();
    assert_eq!(views.len(), 20);
    assert!(tensors(&memory, &outcome, 79_999, &mut views).unwrap_err().contains("in all"));
    let lie = Outcome { count: MOST_RESULTS + 1, ..outcome.clone() };
    assert!(tensors(&memory, &lie, 80_000, &mut views).unwrap_err().contains("at most 65536"));
    let lie = Outcome { count: 100, ..outcome };
    assert!(tensors(&memory, &lie, 80_000, &mut views).unwrap_err().contains("outside"));
}

#[test]
fn messages_are_cut_and_cleaned() {
    let message = [b"caf\xff \x1b[31m".as_slice(), &[b'x'; 3_000]].concat();
    let memory = memory(&[(16, &words(&[7, 0, 0, 512, 3_009])), (512, &message)]);
    let found = outcome(&memory, 16).unwrap();
    assert_eq!(found.status, 7);
    assert!(found.message.starts_with("caf\u{fffd} \u{fffd}[31mxxx"));
    let long = vec![b'y'; 10_000];
    let mut longer = vec![0; 20_000];
    longer[..20].copy_from_slice(&words(&[-1_i32 as u32, 0, 0, 100, 10_000]));
    longer[100..10_100].copy_from_slice(&long);
    assert_eq!(outcome(&longer, 0).unwrap().message.len(), 4_096);
    longer[16..20].copy_from_slice(&20_000_u32.to_le_bytes());
    assert!(outcome(&longer, 0).unwrap_err().contains("outside"));
    assert!(outcome(&longer, 19_981).unwrap_err().contains("outside"));
    longer[..4].copy_from_slice(&[0; 4]);
    assert_eq!(outcome(&longer, 0).unwrap().message, "", "without an error nobody looks at it");
}

#[test]
fn a_description_is_read_and_checked() {
    let read = |record: [u32; 7]| {
        let memory = memory(&[(32, &words(&record)), (512, b"resize1.2.0\xff")]);
        description(&memory, 32)
    };
    let good = read([512, 6, 518, 5, 0, 0, 3]).unwrap();
    assert_eq!(
        (good.name.as_str(), good.version.as_str(), good.description.as_str()),
        ("resize", "1.2.0", "")
    );
    assert!(good.drops && good.splits);
    for (record, reason) in [
        ([512, 0, 518, 5, 0, 0, 0], "no name"),
        ([512, 257, 518, 5, 0, 0, 0], "at most 256"),
        ([512, 12, 518, 5, 0, 0, 0], "no UTF-8"),
        ([4_095, 2, 518, 5, 0, 0, 0], "outside"),
        ([512, 6, 518, 5, 0, u32::MAX, 0], "at most 4096"),
        ([512, 6, 518, 5, u32::MAX, 1, 0], "outside"),
        ([512, 6, 518, 5, 0, 0, 4], "flags 0x4"),
    ] {
        let error = read(record).unwrap_err();
        assert!(error.contains(reason), "{record:?}: {error}");
    }
}

proptest! {
    #[test]
    fn nothing_in_memory_breaks_the_reader(
        mut memory in proptest::collection::vec(any::<u8>(), 0..600),
        small in proptest::collection::vec((0usize..150, 0u32..600), 0..40),
        at: u32,
        near in 0u32..600,
    ) {
        // Random words are rarely plausible, so some of them are made small.
        for (word, value) in small {
            if let Some(place) = memory.get_mut(word * 4..word * 4 + 4) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        let mut views = Vec::new();
        for at in [at, near] {
            let _ = description(&memory, at);
            if let Ok(outcome) = outcome(&memory, at)
                && tensors(&memory, &outcome, 10_000, &mut views).is_ok()
            {
                prop_assert_eq!(views.len(), outcome.count as usize);
                for view in &views {
                    prop_assert!(view.range().end <= memory.len());
                    prop_assert_eq!(Some(view.length), size(view.dtype, view.shape()));
                }
            }
        }
    }

    #[test]
    fn sizes_are_exact_or_refused(shape in proptest::collection::vec(0usize..1 << 33, 0..9)) {
        let exact: u128 = shape.iter().map(|&n| n as u128).fold(4, |a, b| a.saturating_mul(b));
        match size(DType::Float32, &shape) {
            Some(size) => prop_assert_eq!(size as u128, exact),
            None => {
                let room: u128 = shape.iter().map(|&n| n.max(1) as u128).fold(4, |a, b| a.saturating_mul(b));
                prop_assert!(room > i64::MAX as u128);
            }
        }
    }
}
