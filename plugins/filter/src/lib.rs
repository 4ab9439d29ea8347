//! Drops samples: those whose mean brightness lies outside a range, and pictures that are too small. The kept ones pass
//! unchanged.
#![forbid(unsafe_code)]

use zenith_plugin_guest::{DType, Error, Picture, Result, View, config, plugin};

plugin! {
    name: "filter",
    version: env!("CARGO_PKG_VERSION"),
    description: "Drops samples: min_brightness=10; max_brightness=245; min_size=64x48 (width, height)",
    config: Settings::parse,
    process: keep,
}

const KEYS: &str = "min_brightness, max_brightness and min_size";

#[derive(Debug, PartialEq)]
struct Settings {
    brightness: Option<(f64, f64)>,
    min_size: Option<(usize, usize)>,
}

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        let (mut darkest, mut brightest, mut min_size) = (None, None, None);
        for pair in config::pairs(text) {
            match pair? {
                ("min_brightness", value) => darkest = Some(config::value("min_brightness", value)?),
                ("max_brightness", value) => brightest = Some(config::value("max_brightness", value)?),
                ("min_size", value) => min_size = Some(size(value)?),
                (key, _) => return Err(config::unknown(key, KEYS)),
            }
        }
        let brightness = (darkest.is_some() || brightest.is_some())
            .then(|| (darkest.unwrap_or(f64::NEG_INFINITY), brightest.unwrap_or(f64::INFINITY)));
        if brightness.is_none() && min_size.is_none() {
            return Err(Error::config(format!("nothing to filter by; there are {KEYS}")));
        }
        Ok(Self { brightness, min_size })
    }
}

fn size(text: &str) -> Result<(usize, usize)> {
    let (width, height) =
        text.split_once('x').ok_or_else(|| Error::config(format!("min_size={text}: not 64x48")))?;
    Ok((config::value("min_size", width)?, config::value("min_size", height)?))
}

fn keep(input: &mut View, settings: &Settings) -> Result<bool> {
    if let Some((width, height)) = settings.min_size {
        let picture = Picture::of(input.shape())?;
        if picture.width < width || picture.height < height {
            return Ok(false);
        }
    }
    let Some((darkest, brightest)) = settings.brightness else {
        return Ok(true);
    };
    let mean = brightness(input)?;
    Ok(darkest <= mean && mean <= brightest)
}

/// The mean of all elements. That of an empty tensor is 0.
fn brightness(input: &View) -> Result<f64> {
    let (sum, count) = match input.dtype() {
        DType::Float32 => {
            let values = input.as_slice::<f32>()?;
            // Eight sums at a time: vectors cannot change the order of one.
            let mut sums = [0.0; 8];
            let eights = values.chunks_exact(8);
            let rest: f64 = eights.remainder().iter().map(|&v| f64::from(v)).sum();
            for eight in eights {
                for (sum, &value) in sums.iter_mut().zip(eight) {
                    *sum += f64::from(value);
                }
            }
            (sums.iter().sum::<f64>() + rest, values.len())
        }
        _ => {
            let values = input.as_slice::<u8>()?;
            // A run's sum fits 32 bits, of which a vector holds four.
            let runs = values.chunks(1 << 16).map(|run| run.iter().map(|&v| u32::from(v)).sum::<u32>());
            (runs.map(f64::from).sum(), values.len())
        }
    };
    Ok(if count == 0 { 0.0 } else { sum / count as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zenith_plugin_guest::{Tensor, testing};

    fn kept(config: &str, tensor: Tensor) -> Result<bool> {
        let tensors = testing::call(keep, &mut Settings::parse(config)?, tensor, 0)?;
        Ok(!tensors.is_empty())
    }

    fn gray(value: u8) -> Tensor {
        Tensor::from_slice(&[4, 5, 3], &[value; 60]).unwrap()
    }

    #[test]
    fn brightness_has_two_ends() {
        let config = "min_brightness=10; max_brightness=200.5";
        let all = [9, 10, 200, 201].map(|value| kept(config, gray(value)).unwrap());
        assert_eq!(all, [false, true, true, false]);
        let float = Tensor::from_slice(&[2], &[0.25f32, 0.75]).unwrap();
        assert_eq!(kept("min_brightness=0.5", float), Ok(true));
    }

    #[test]
    fn the_sum_of_a_large_picture_does_not_overflow() {
        let white = Tensor::from_slice(&[1 << 13, 1 << 12], &vec![255u8; 1 << 25]).unwrap();
        assert_eq!(kept("min_brightness=255; max_brightness=255", white), Ok(true));
    }

    #[test]
    fn size_is_width_by_height() {
        assert_eq!(kept("min_size=5x4", gray(0)), Ok(true));
        assert_eq!(kept("min_size=4x5", gray(0)), Ok(false));
        assert_eq!(kept("min_size=6x1", gray(0)), Ok(false));
    }

    #[test]
    fn bad_configurations_are_named() {
        for (text, part) in [
            ("", "nothing to filter by"),
            ("brightness=3", "unknown key"),
            ("min_size=64", "not 64x48"),
            ("min_brightness=dark", "min_brightness=dark"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.code() == Error::CONFIG && error.text().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn other_element_types_are_refused() {
        let error = kept("min_brightness=0", Tensor::zeros::<i64>(&[2]).unwrap()).unwrap_err();
        assert_eq!(error.code(), Error::INPUT);
    }
}
