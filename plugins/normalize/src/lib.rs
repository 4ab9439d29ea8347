//! Turns pictures, channels first, into normalised floats: uint8 becomes (x / 255 - mean) / std, float32 (x - mean) / std
//! in place. Takes single pictures and batches of them.
#![forbid(unsafe_code)]

use zenith_plugin_guest::{DType, Error, Output, Result, Tensor, View, config, plugin};

plugin! {
    name: "normalize",
    version: env!("CARGO_PKG_VERSION"),
    description: "Normalised floats of pictures, channels first: mean=0.485,0.456,0.406; std=0.229,0.224,0.225",
    config: Settings::parse,
    process: normalize,
    batch: normalize,
}

/// Mean and standard deviation of each channel, or one pair for all.
#[derive(Debug, PartialEq)]
struct Settings(Vec<(f32, f32)>);

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        let (mut mean, mut std) = (Vec::new(), Vec::new());
        for pair in config::pairs(text) {
            match pair? {
                ("mean", values) => mean = config::values("mean", values)?,
                ("std", values) => std = config::values("std", values)?,
                (key, _) => return Err(config::unknown(key, "mean and std")),
            }
        }
        if mean.is_empty() || mean.len() != std.len() {
            return Err(Error::config("mean and std are needed, with a number for each channel"));
        }
        if !mean.iter().chain(&std).all(|v: &f32| v.is_finite()) || std.contains(&0.0) {
            return Err(Error::config("mean and std must be finite, and std not 0"));
        }
        Ok(Self(mean.into_iter().zip(std).collect()))
    }

    /// Mean and standard deviation of each plane, batch after batch.
    fn planes(&self) -> impl Iterator<Item = (f32, f32)> {
        self.0.iter().copied().cycle()
    }
}

fn normalize(input: &mut View, settings: &Settings) -> Result<Output> {
    let plane = plane(input.shape(), settings.0.len())?;
    if input.dtype() == DType::Float32 {
        let planes = input.as_mut_slice::<f32>()?.chunks_exact_mut(plane);
        for (plane, (mean, std)) in planes.zip(settings.planes()) {
            for value in plane {
                *value = (*value - mean) / std;
            }
        }
        return Ok(Output::Input);
    }
    let mut output = Tensor::empty::<f32>(input.shape())?;
    let from = input.as_slice::<u8>()?.chunks_exact(plane);
    let to = output.as_mut_slice::<f32>()?.chunks_exact_mut(plane);
    for ((from, to), (mean, std)) in from.zip(to).zip(settings.planes()) {
        let (scale, bias) = (1.0 / (255.0 * std), -mean / std);
        for (to, &from) in to.iter_mut().zip(from) {
            *to = f32::from(from) * scale + bias;
        }
    }
    Ok(output.into())
}

/// Elements that share a mean: those of a channel, or of the whole where there is one mean for all.
fn plane(shape: &[usize], means: usize) -> Result<usize> {
    let plane = match *shape {
        _ if means == 1 => shape.iter().product(),
        [channels, height, width] | [_, channels, height, width] if channels == means => height * width,
        _ => {
            let text =
                format!("a tensor of shape {shape:?} is no picture of {means} channels, channels first");
            return Err(Error::new(Error::INPUT, text));
        }
    };
    // An empty tensor has no plane, and nothing to do.
    Ok(plane.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zenith_plugin_guest::testing;

    fn run(config: &str, input: Tensor) -> Result<Tensor> {
        Ok(testing::call(normalize, &mut Settings::parse(config)?, input, 0)?.remove(0))
    }

    #[test]
    fn bytes_are_scaled_floats_are_not() {
        let config = "mean=0.5,0.25; std=0.5,2";
        let bytes = Tensor::from_slice(&[2, 1, 2], &[0u8, 255, 51, 102]).unwrap();
        let output = run(config, bytes).unwrap();
        let expected = [-1.0, 1.0, (0.2 - 0.25) / 2.0, (0.4 - 0.25) / 2.0];
        let close = |(a, b): (&f32, f32)| (a - b).abs() < 1e-6;
        assert!(output.as_slice::<f32>().unwrap().iter().zip(expected).all(close), "{output:?}");
        let floats = Tensor::from_slice(&[2, 1, 2], &[0.0f32, 1.0, 0.2, 0.4]).unwrap();
        let output = run(config, floats).unwrap();
        assert!(output.as_slice::<f32>().unwrap().iter().zip(expected).all(close), "{output:?}");
    }

    #[test]
    fn a_batch_is_its_pictures() {
        let config = "mean=0.1,0.2,0.3; std=1,2,3";
        let pixels: Vec<u8> = (0..48).collect();
        let batch = run(config, Tensor::from_slice(&[2, 3, 2, 4], &pixels).unwrap()).unwrap();
        for (picture, values) in pixels.chunks(24).zip(batch.as_slice::<f32>().unwrap().chunks(24)) {
            let alone = run(config, Tensor::from_slice(&[3, 2, 4], picture).unwrap()).unwrap();
            assert_eq!(alone.as_slice::<f32>().unwrap(), values);
        }
    }

    #[test]
    fn one_mean_is_for_all() {
        let output = run("mean=0; std=1", Tensor::from_slice(&[3], &[0u8, 51, 255]).unwrap()).unwrap();
        let expected = [0.0, 0.2, 1.0];
        assert!(output.as_slice::<f32>().unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(run("mean=0; std=1", Tensor::zeros::<u8>(&[0, 3]).unwrap()).is_ok());
    }

    #[test]
    fn misfits_are_refused() {
        for text in ["", "mean=1", "mean=1; std=1,2", "mean=1; std=0", "mean=nan; std=1", "median=1"] {
            assert_eq!(Settings::parse(text).unwrap_err().code(), Error::CONFIG, "{text}");
        }
        let picture = Tensor::zeros::<u8>(&[2, 4, 4]).unwrap();
        assert_eq!(run("mean=0,0,0; std=1,1,1", picture).unwrap_err().code(), Error::INPUT);
        let doubles = Tensor::zeros::<f64>(&[1, 4, 4]).unwrap();
        assert_eq!(run("mean=0; std=1", doubles).unwrap_err().code(), Error::INPUT);
    }
}
