//! Plugins for samples of any kind, held against arithmetic; and what all plugins say of themselves.

use proptest::prelude::*;
use zenith_data::DType;
use zenith_data::transform::custom::Yield;
use zenith_plugin::Abi;

use crate::{Guest, Owned, load, noise};

#[test]
fn add_one_adds_one_and_255_stays() {
    let mut guest = Guest::new("add_one", "");
    assert_eq!(guest.one(&Owned::bytes(&[3], &[1, 2, 3])).bytes, [2, 3, 4]);
    assert_eq!(guest.one(&Owned::bytes(&[2], &[254, 255])).bytes, [255, 255]);
    for len in [0, 1, 15, 16, 17, 1000, 150_000, 10] {
        let bytes = noise(len, len as u64);
        let expected: Vec<u8> = bytes.iter().map(|v| v.saturating_add(1)).collect();
        assert!(guest.one(&Owned::bytes(&[len], &bytes)).bytes == expected, "{len} bytes");
    }
}

#[test]
fn plugins_say_what_they_are() {
    let yields = |name, config| {
        let plugin = load(name, config).unwrap();
        (plugin.abi(), plugin.name().to_owned(), plugin.yields(), plugin.takes_batches())
    };
    let named = |abi, name: &str, yields, batches| (abi, name.to_owned(), yields, batches);
    assert_eq!(yields("add_one", ""), named(Abi::Bytes, "add_one", Yield::One, false));
    assert_eq!(yields("image_resize", ""), named(Abi::Tensor, "image_resize", Yield::One, false));
    assert_eq!(yields("normalize", "mean=0;std=1"), named(Abi::Tensor, "normalize", Yield::One, true));
    assert_eq!(yields("filter", "min_size=1x1"), named(Abi::Tensor, "filter", Yield::AtMostOne, false));
    assert_eq!(yields("tiles", "8"), named(Abi::Tensor, "tiles", Yield::Any, false));
    assert_eq!(yields("tokenize_bytes", "length=8"), named(Abi::Tensor, "tokenize_bytes", Yield::One, false));
    assert_eq!(yields("invert_c", ""), named(Abi::Tensor, "invert_c", Yield::One, false));
    let plugin = load("invert_c", "").unwrap();
    assert_eq!(
        (plugin.version(), plugin.description()),
        ("1.0.0", "Turns uint8 samples into their negatives")
    );
    let refused = load("invert_c", "something").unwrap_err();
    assert_eq!(refused.to_string().matches("zenith_configure").count(), 1, "{refused}");
}

#[test]
fn invert_c_inverts_in_place() {
    let mut guest = Guest::new("invert_c", "");
    let picture = Owned::bytes(&[5, 7, 3], &noise(105, 1));
    let negative = guest.one(&picture);
    let expected: Vec<u8> = picture.bytes.iter().map(|v| 255 - v).collect();
    assert_eq!(negative, Owned::bytes(&[5, 7, 3], &expected));
    assert_eq!(guest.one(&negative), picture);
    assert_eq!(guest.refusal(&Owned::floats(&[1], &[0.0])), (2, "uint8 is needed".to_owned()));
}

#[test]
fn filter_keeps_what_fits_unchanged() {
    let mut guest = Guest::new("filter", "min_brightness=100; max_brightness=150; min_size=4x3");
    let gray = |height, width, value| Owned::bytes(&[height, width, 3], &vec![value; height * width * 3]);
    for (picture, kept) in [
        (gray(3, 4, 100), true),
        (gray(3, 4, 150), true),
        (gray(3, 4, 99), false),
        (gray(3, 4, 151), false),
        (gray(2, 4, 120), false),
        (gray(3, 3, 120), false),
        (gray(300, 400, 120), true),
    ] {
        let expected = if kept { vec![picture.clone()] } else { vec![] };
        assert!(guest.apply(&picture).unwrap() == expected, "{:?} of {}", picture.shape, picture.bytes[0]);
    }
    let mut float = Guest::new("filter", "min_brightness=0.5");
    assert_eq!(float.apply(&Owned::floats(&[5], &[0.5; 5])).unwrap().len(), 1);
    assert_eq!(float.apply(&Owned::floats(&[5], &[0.5, 0.5, 0.5, 0.5, 0.4])).unwrap().len(), 0);
}

#[test]
fn tiles_split_a_sample_and_random_bits_reach_them() {
    let mut guest = Guest::new("tiles", "2x3");
    let values: Vec<f32> = (0..5 * 8).map(|v| v as f32).collect();
    let picture = Owned::floats(&[5, 8], &values);
    for (random, (top, left)) in [(0, (0, 0)), (1 | 2 << 32, (1, 2)), (3 | 4 << 32, (1, 1))] {
        let corners = [(0, 0), (0, 3), (2, 0), (2, 3)];
        let expected = corners.map(|(y, x)| {
            let at = |row: usize, column: usize| values[(top + y + row) * 8 + left + x + column];
            Owned::floats(&[2, 3], &[at(0, 0), at(0, 1), at(0, 2), at(1, 0), at(1, 1), at(1, 2)])
        });
        assert_eq!(guest.apply_with(&picture, random).unwrap(), expected, "{random:x}");
    }
    assert!(guest.apply(&Owned::floats(&[1, 8], &[0.0; 8])).unwrap().is_empty());
    // More tiles than the plugin keeps buffers for.
    let large = Owned::bytes(&[100, 90], &noise(9000, 5));
    assert_eq!(guest.apply(&large).unwrap().len(), 50 * 30);
    assert_eq!(guest.apply(&large).unwrap(), guest.apply(&large).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tokens_are_the_bytes_between_their_marks(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        length in 3usize..40,
        (bos, eos) in (any::<bool>(), any::<bool>()),
        offset in -300i64..300,
        wide: bool,
    ) {
        let mut config = format!("length={length}; pad=-7; offset={offset}; dtype={}", if wide { "int64" } else { "int32" });
        config.push_str(if bos { "; bos=1001" } else { "" });
        config.push_str(if eos { "; eos=1002" } else { "" });
        let output = Guest::new("tokenize_bytes", &config).one(&Owned::bytes(&[bytes.len()], &bytes));
        prop_assert_eq!(&output.shape, &[length]);
        let tokens: Vec<i64> = if wide {
            prop_assert_eq!(output.dtype, DType::Int64);
            output.bytes.chunks_exact(8).map(|b| i64::from_ne_bytes(b.try_into().unwrap())).collect()
        } else {
            prop_assert_eq!(output.dtype, DType::Int32);
            output.bytes.chunks_exact(4).map(|b| i32::from_ne_bytes(b.try_into().unwrap()).into()).collect()
        };
        let room = length - usize::from(bos) - usize::from(eos);
        let mut expected: Vec<i64> = bos.then_some(1001).into_iter().collect();
        expected.extend(bytes.iter().take(room).map(|&byte| i64::from(byte) + offset));
        expected.extend(eos.then_some(1002));
        expected.resize(length, -7);
        prop_assert_eq!(tokens, expected);
    }
}
