//! Plugins as their authors write them: every signature, every return type, run natively. Forbids `unsafe` as a careful
//! author would, so that the macros are shown to need none.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends where something is missing")]

use zenith_plugin_guest::{DType, Error, Output, Process, Result, Tensor, View, plugin, testing};

struct Settings {
    add: u8,
}

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        Ok(Self { add: text.parse()? })
    }
}

fn invert(input: &mut View) -> Result<()> {
    input.as_mut_slice::<u8>()?.iter_mut().for_each(|v| *v = 255 - *v);
    Ok(())
}

fn add(input: &mut View, settings: &Settings) -> Result<Tensor> {
    let sums: Vec<u8> = input.as_slice::<u8>()?.iter().map(|v| v.wrapping_add(settings.add)).collect();
    Tensor::from_slice(input.shape(), &sums)
}

fn noise(input: &mut View, settings: &Settings, random: u64) -> Result<Output> {
    if random == 0 {
        return Ok(Output::Input);
    }
    Ok(add(input, settings)?.into())
}

fn coin(_: &mut View, random: u64) -> Result<bool> {
    Ok(random.count_ones() % 2 == 1)
}

fn counting(input: &mut View, count: &mut u64) -> Result<Option<Tensor>> {
    *count += 1;
    if *count > 1 {
        return Ok(None);
    }
    Ok(Some(Tensor::from_slice(&[], &[input.bytes().len() as i64])?))
}

fn halves(input: &mut View, _: &mut (), _: u64) -> Result<Vec<Tensor>> {
    let elements = input.as_slice::<u8>()?;
    elements.chunks(elements.len().div_ceil(2)).map(|half| Tensor::from_slice(&[half.len()], half)).collect()
}

fn first(input: &mut View) -> Result<()> {
    input.reshape(&[1])
}

plugin! {
    name: "add",
    version: "1.0.0",
    description: "adds a number",
    config: Settings::parse,
    process: add,
    batch: noise,
}

zenith_plugin_guest::byte_plugin!(|bytes: &mut [u8]| -> Result<()> {
    bytes.first().map(|_| ()).ok_or_else(|| "no bytes".into())
});

fn run<S, M>(process: impl Process<S, M>, state: &mut S, random: u64) -> Vec<Tensor> {
    let input = Tensor::from_slice(&[3], &[0u8, 100, 255]).unwrap();
    testing::call(process, state, input, random).unwrap()
}

fn bytes(tensors: &[Tensor]) -> Vec<&[u8]> {
    tensors.iter().map(Tensor::bytes).collect()
}

#[test]
fn every_signature_and_return_type_works() {
    let mut settings = Settings::parse("2").unwrap();
    assert_eq!(bytes(&run(invert, &mut (), 0)), [[255, 155, 0]]);
    assert_eq!(bytes(&run(add, &mut settings, 0)), [[2, 102, 1]]);
    assert_eq!(bytes(&run(noise, &mut settings, 0)), [[0, 100, 255]]);
    assert_eq!(bytes(&run(noise, &mut settings, 1)), [[2, 102, 1]]);
    assert_eq!(bytes(&run(coin, &mut (), 3)), [[0u8; 0]; 0]);
    assert_eq!(bytes(&run(coin, &mut (), 7)), [[0, 100, 255]]);
    let mut count = 0;
    assert_eq!(run(counting, &mut count, 0)[0].as_slice::<i64>(), Ok(&[3][..]));
    assert!(run(counting, &mut count, 0).is_empty());
    assert_eq!(bytes(&run(halves, &mut (), 0)), [&[0, 100][..], &[255]]);
    assert_eq!(bytes(&run(first, &mut (), 0)), [[0]]);
}

#[test]
fn errors_have_a_code_and_a_text() {
    let wrong = testing::call(invert, &mut (), Tensor::zeros::<f32>(&[2]).unwrap(), 0).unwrap_err();
    assert_eq!((wrong.code(), wrong.text()), (Error::INPUT, "uint8 is needed, the tensor is float32"));
    assert_eq!(Error::from("no pixels").code(), 1);
    assert_eq!(Error::new(0, "zero would mean success").code(), 1);
    assert!(Settings::parse("x").is_err());
    let longer = |input: &mut View<'_>| input.reshape(&[4]);
    let input = Tensor::zeros::<u8>(&[3]).unwrap();
    assert_eq!(testing::call(longer, &mut (), input, 0).unwrap_err().code(), Error::OUTPUT);
}

#[test]
fn tensors_are_what_was_asked_for() {
    let tensor = Tensor::zeros::<f64>(&[2, 3]).unwrap();
    assert_eq!((tensor.dtype(), tensor.shape(), tensor.bytes().len()), (DType::Float64, &[2, 3][..], 48));
    assert!(tensor.as_slice::<f32>().is_err());
    assert!(Tensor::zeros::<u8>(&[1; 9]).is_err());
    assert!(Tensor::zeros::<u64>(&[usize::MAX, 2]).is_err());
    assert!(Tensor::from_slice(&[2], &[1i32, 2, 3]).is_err());
    assert!(View::new(DType::Int16, &[2], &mut [0; 5]).is_err());
}

#[test]
fn memory_is_used_again_and_zeros_are_zeros() {
    let mut tensor = Tensor::empty::<u32>(&[1000]).unwrap();
    tensor.bytes_mut().fill(0xff);
    let place = tensor.bytes().as_ptr();
    drop(tensor);
    let tensor = Tensor::zeros::<u32>(&[900]).unwrap();
    assert_eq!(tensor.bytes().as_ptr(), place);
    assert!(tensor.as_slice::<u32>().unwrap().iter().all(|&v| v == 0));
}

#[test]
fn element_types_have_their_numbers() {
    for (code, dtype) in DType::ALL.into_iter().enumerate() {
        assert_eq!(dtype as usize, code);
        assert_eq!(DType::from_code(code as u32), Some(dtype));
        assert_eq!(DType::from_name(dtype.name()), Some(dtype));
    }
    assert_eq!(DType::from_code(12), None);
}
