//! Resizes uint8 pictures with an antialiased bilinear filter, in Pillow's fixed-point arithmetic: torchvision's `Resize`
//! of the same size gives the same pixels. Here is what the plugin takes; how pixels are made is in [`resize`].
#![forbid(unsafe_code)]

mod kernels;
mod resize;
mod taps;

use zenith_plugin_guest::{Error, Picture, Result, Tensor, View, config, plugin};

use crate::resize::Resizer;

plugin! {
    name: "image_resize",
    version: env!("CARGO_PKG_VERSION"),
    description: "Resizes uint8 pictures, antialiased: 224, or 224x320 (height, width); without configuration to 224x224",
    config: Target::parse,
    process: image_resize,
}

const DEFAULT: usize = 224;
const LARGEST: usize = 1 << 14;

/// The size to resize to, and the memory that it takes.
#[derive(Default)]
struct Target {
    height: usize,
    width: usize,
    resizer: Resizer,
}

impl Target {
    fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let edge = |text: &str| match config::value("size", text)? {
            edge @ 1..=LARGEST => Ok(edge),
            other => Err(Error::config(format!("an edge of {other} pixels; 1 to {LARGEST} are possible"))),
        };
        let (height, width) = match text.split_once('x') {
            _ if text.is_empty() => (DEFAULT, DEFAULT),
            Some((height, width)) => (edge(height)?, edge(width)?),
            None => (edge(text)?, edge(text)?),
        };
        Ok(Self { height, width, resizer: Resizer::default() })
    }
}

fn image_resize(input: &mut View, target: &mut Target) -> Result<Tensor> {
    let from = Picture::of(input.shape())?;
    let to = from.resized(target.height, target.width);
    if from.height > LARGEST || from.width > LARGEST {
        let text = format!("a picture of {}x{}; edges may have {LARGEST} pixels", from.width, from.height);
        return Err(Error::new(Error::INPUT, text));
    }
    let mut output = to.with_shape(Tensor::empty::<u8>)?;
    target.resizer.resize(from, input.as_slice()?, to, output.as_mut_slice()?);
    Ok(output)
}

#[cfg(test)]
mod tests;
