//! Turns bytes into token sequences of one length: each byte is a token, with tokens before, after and behind them.
//! A sequence that is too long loses its end, but never its last token.
#![forbid(unsafe_code)]

use zenith_plugin_guest::{DType, Error, Result, Tensor, View, config, plugin};

plugin! {
    name: "tokenize_bytes",
    version: env!("CARGO_PKG_VERSION"),
    description: "Bytes to tokens of one length: length=512; pad=0; bos=1; eos=2; offset=3; dtype=int64",
    config: Settings::parse,
    process: tokenize,
}

#[derive(Debug, PartialEq)]
struct Settings {
    length: usize,
    pad: i32,
    bos: Option<i32>,
    eos: Option<i32>,
    offset: i32,
    dtype: DType,
}

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        let mut settings = Self { length: 0, pad: 0, bos: None, eos: None, offset: 0, dtype: DType::Int64 };
        for pair in config::pairs(text) {
            match pair? {
                ("length", value) => settings.length = config::value("length", value)?,
                ("pad", value) => settings.pad = config::value("pad", value)?,
                ("bos", value) => settings.bos = Some(config::value("bos", value)?),
                ("eos", value) => settings.eos = Some(config::value("eos", value)?),
                ("offset", value) => settings.offset = config::value("offset", value)?,
                ("dtype", "int32") => settings.dtype = DType::Int32,
                ("dtype", "int64") => settings.dtype = DType::Int64,
                ("dtype", other) => return Err(Error::config(format!("dtype={other}: int32 or int64"))),
                (key, _) => return Err(config::unknown(key, "length, pad, bos, eos, offset and dtype")),
            }
        }
        let marks = usize::from(settings.bos.is_some()) + usize::from(settings.eos.is_some());
        if settings.length <= marks {
            return Err(Error::config("length= is needed, with room for a byte beside bos and eos"));
        }
        if settings.offset.checked_add(255).is_none() {
            return Err(Error::config("offset= is too large"));
        }
        Ok(settings)
    }
}

fn tokenize(input: &mut View, settings: &Settings) -> Result<Tensor> {
    let bytes = input.as_slice::<u8>()?;
    let mut tokens = Tensor::empty_of(settings.dtype, &[settings.length])?;
    if settings.dtype == DType::Int32 {
        write(bytes, settings, tokens.as_mut_slice::<i32>()?);
    } else {
        write(bytes, settings, tokens.as_mut_slice::<i64>()?);
    }
    Ok(tokens)
}

fn write<T: From<i32> + Copy>(bytes: &[u8], settings: &Settings, tokens: &mut [T]) {
    let Settings { length, pad, bos, eos, offset, .. } = *settings;
    let first = usize::from(bos.is_some());
    let last = (first + bytes.len()).min(length - usize::from(eos.is_some()));
    if let Some(bos) = bos {
        tokens[0] = bos.into();
    }
    for (token, &byte) in tokens[first..last].iter_mut().zip(bytes) {
        *token = (i32::from(byte) + offset).into();
    }
    tokens[last..].iter_mut().for_each(|token| *token = pad.into());
    if let Some(eos) = eos {
        tokens[last] = eos.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zenith_plugin_guest::testing;

    fn tokens(config: &str, bytes: &[u8]) -> Vec<i64> {
        let input = Tensor::from_slice(&[bytes.len()], bytes).unwrap();
        let mut settings = Settings::parse(config).unwrap();
        let output = testing::call(tokenize, &mut settings, input, 0).unwrap().remove(0);
        assert_eq!(output.shape(), [settings.length]);
        match output.dtype() {
            DType::Int32 => output.as_slice::<i32>().unwrap().iter().map(|&t| t.into()).collect(),
            _ => output.as_slice::<i64>().unwrap().to_vec(),
        }
    }

    #[test]
    fn short_sequences_are_padded() {
        assert_eq!(tokens("length=5; pad=-1", b"AB"), [65, 66, -1, -1, -1]);
        assert_eq!(tokens("length=6; bos=256; eos=257; pad=9", b"AB"), [256, 65, 66, 257, 9, 9]);
        assert_eq!(tokens("length=3; bos=1; eos=2", b""), [1, 2, 0]);
        assert_eq!(tokens("length=2; offset=3; dtype=int32", &[0, 255]), [3, 258]);
    }

    #[test]
    fn long_sequences_keep_their_ends() {
        assert_eq!(tokens("length=3", b"ABCDE"), [65, 66, 67]);
        assert_eq!(tokens("length=4; bos=1; eos=2", b"ABCDE"), [1, 65, 66, 2]);
        assert_eq!(tokens("length=4; bos=1; eos=2", b"AB"), [1, 65, 66, 2]);
        assert_eq!(tokens("length=4; bos=1; eos=2", b"A"), [1, 65, 2, 0]);
    }

    #[test]
    fn misfits_are_refused() {
        for text in [
            "",
            "length=2; bos=1; eos=2",
            "length=4; dtype=int8",
            "length=x",
            "size=3",
            "length=4; offset=2147483647",
        ] {
            assert_eq!(Settings::parse(text).unwrap_err().code(), Error::CONFIG, "{text}");
        }
        let floats = Tensor::zeros::<f32>(&[4]).unwrap();
        let mut settings = Settings::parse("length=4").unwrap();
        assert_eq!(testing::call(tokenize, &mut settings, floats, 0).unwrap_err().code(), Error::INPUT);
    }
}
