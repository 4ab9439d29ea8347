//! `zenith data inspect`: what a dataset is, what a batch of it holds, and whether its samples can be read.

use std::io::Write;

use clap::Args;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::{SampleKey, Source, Spent};

use super::Dataset;
use crate::Failure;

/// Samples that are read for a look, spread over the dataset.
const LOOKS: u64 = 200;

/// Say what a dataset is, what a batch of it holds, and whether its samples can be read.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    dataset: Dataset,
    /// Read every sample, not only some.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let source = arguments.dataset.open()?;
    writeln!(out, "samples      {}", source.len())?;
    for field in &source.schema().fields {
        let shape: Vec<String> = field.shape.iter().map(ToString::to_string).collect();
        writeln!(out, "field        {}: {} [{}]", field.name, field.dtype, shape.join(", "))?;
    }
    writeln!(out, "bytes        {} a sample in a batch", source.schema().sample_bytes())?;
    if let Some(classes) = source.classes() {
        let some: Vec<&str> = classes.iter().take(5).map(String::as_str).collect();
        let more = if classes.len() > 5 { ", ..." } else { "" };
        writeln!(out, "classes      {} ({}{more})", classes.len(), some.join(", "))?;
    }
    for (name, value) in source.facts() {
        writeln!(out, "{name:<11}  {value}")?;
    }
    for note in source.notes() {
        writeln!(out, "note         {note}")?;
    }
    look(&*source, if arguments.all { source.len() } else { LOOKS }, out)
}

/// Reads samples spread over the source and says which cannot be.
fn look(source: &dyn Source, looks: u64, out: &mut dyn Write) -> Result<(), Failure> {
    let layout = SlotLayout::new(source.schema(), 1)?;
    let mut slab = vec![0u8; layout.bytes()];
    let mut filler = source.filler()?;
    let looks = looks.min(source.len());
    let mut bad = 0u64;
    for look in 0..looks {
        let sample = (u128::from(look) * u128::from(source.len()) / u128::from(looks)) as u64;
        let key = SampleKey { sample, seed: 0, epoch: 0 };
        let mut slots = Slots::of(&mut slab, &layout, 1);
        if let Err((_, error)) = filler.fill(&[key], &mut slots, &mut Spent::default()) {
            bad += 1;
            writeln!(out, "bad          {error}")?;
        }
    }
    writeln!(out, "readable     {} of {looks} samples looked at", looks - bad)?;
    Ok(())
}
