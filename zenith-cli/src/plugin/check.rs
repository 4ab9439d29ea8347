//! `zenith plugin check`: what a plugin is, and a self-test on random tensors. A plugin may refuse a tensor; a trap, a broken
//! limit, a result that breaks the ABI or two results for one tensor are faults.

use std::io::Write;

use clap::Args;
use zenith_data::DType;
use zenith_data::transform::custom::Yield;
use zenith_plugin::{Abi, Instance, Plugin, PluginError};

use super::{Chosen, Sample, spell};
use crate::Failure;

/// Say what a plugin is, and try it on random tensors.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plugin: Chosen,
}

/// Characters of a plugin's own words that are shown in a line.
const MOST_SHOWN: usize = 300;

/// Randomness that the plugin is given in the self-test.
const RANDOM: u64 = 0x5eed;

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let plugin = arguments.plugin.load()?;
    describe(&plugin, out)?;
    let mut instance = plugin.instance()?;
    let mut faults = 0;
    for (number, (dtype, shape)) in trials(plugin.abi()).into_iter().enumerate() {
        let sample = Sample::random(dtype, &shape, number as u64);
        let (mark, text) = match trial(&mut instance, &sample, plugin.takes_batches()) {
            Ok(text) => ("ok", text),
            Err(Wrong::Refused(text)) => ("no", text),
            Err(Wrong::Fault(text)) => {
                faults += 1;
                ("FAULT", text)
            }
        };
        writeln!(out, "{mark:<11}  {} -> {}", spell(dtype, &shape), line(&text))?;
    }
    if faults > 0 {
        return Err(format!("{}: the self-test found {faults} faults", line(plugin.name())).into());
    }
    Ok(())
}

fn describe(plugin: &Plugin, out: &mut dyn Write) -> Result<(), Failure> {
    let limits = plugin.limits();
    let gives = match plugin.yields() {
        Yield::One => "one sample for each",
        Yield::AtMostOne => "one sample or none for each: a filter",
        Yield::Any => "any number of samples for each",
    };
    let orelse = |text: &str| if text.is_empty() { "-".to_owned() } else { line(text) };
    writeln!(out, "name         {}", line(plugin.name()))?;
    writeln!(out, "version      {}", orelse(plugin.version()))?;
    writeln!(out, "description  {}", orelse(plugin.description()))?;
    writeln!(out, "abi          {}", plugin.abi().version())?;
    writeln!(out, "gives        {gives}")?;
    writeln!(
        out,
        "batches      {}",
        if plugin.takes_batches() { "taken whole" } else { "sample by sample" }
    )?;
    for export in plugin.exports() {
        writeln!(out, "export       {}", line(&export))?;
    }
    for import in plugin.imports() {
        writeln!(out, "import       {}", line(&import))?;
    }
    let fuel = limits.fuel.map_or_else(|| "any".to_owned(), |fuel| fuel.to_string());
    writeln!(
        out,
        "limits       memory {} MiB, deadline {:?}, fuel {fuel}, stack {} KiB, module {} MiB, functions {} KiB, {} tables of {}",
        limits.memory >> 20,
        limits.deadline,
        limits.stack >> 10,
        limits.module_bytes >> 20,
        limits.function_bytes >> 10,
        limits.tables,
        limits.table_elements
    )?;
    Ok(())
}

/// Tensors that plugins are likely to be made for.
fn trials(abi: Abi) -> Vec<(DType, Vec<usize>)> {
    let bytes = [0, 1, 3, 1000, 150_528].map(|length| (DType::UInt8, vec![length]));
    let tensors = [
        (DType::UInt8, vec![375, 500, 3]),
        (DType::UInt8, vec![3, 224, 224]),
        (DType::UInt8, vec![1, 1, 3]),
        (DType::Float32, vec![3, 224, 224]),
        (DType::Float32, vec![100]),
        (DType::Int64, vec![16]),
        (DType::Float64, vec![]),
    ];
    match abi {
        Abi::Bytes => bytes.into(),
        Abi::Tensor => bytes.into_iter().chain(tensors).collect(),
    }
}

/// Results as (type and shape, bytes).
type Made = Vec<(String, Vec<u8>)>;

/// Why a trial went wrong.
enum Wrong {
    /// The plugin says that it takes no such tensor.
    Refused(String),
    Fault(String),
}

impl From<PluginError> for Wrong {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Code { .. } => Self::Refused(error.to_string()),
            fault => Self::Fault(fault.to_string()),
        }
    }
}

/// Applies the plugin twice, and once to a batch where it takes batches; what it made, if that was the same.
fn trial(instance: &mut Instance, sample: &Sample, takes_batches: bool) -> Result<String, Wrong> {
    let first = once(instance, sample)?;
    if once(instance, sample)? != first {
        let what = "two calls with the same tensor and the same randomness gave different results";
        return Err(Wrong::Fault(what.to_owned()));
    }
    if takes_batches && let [(_, bytes)] = &first[..] {
        let made = batch(instance, &sample.twice())?;
        if made != [&bytes[..], bytes].concat() {
            let what = "as a batch of two it gave other values than one by one";
            return Err(Wrong::Fault(what.to_owned()));
        }
    }
    Ok(match &first[..] {
        [] => "dropped".to_owned(),
        [(text, _)] => text.clone(),
        many => format!("{} samples, the first {}", many.len(), many[0].0),
    })
}

fn once(instance: &mut Instance, sample: &Sample) -> Result<Made, PluginError> {
    let mut made = Vec::new();
    instance.apply(sample.tensor(), RANDOM, &mut |tensor| {
        made.push((spell(tensor.dtype, tensor.shape), tensor.bytes.to_vec()));
        Ok(())
    })?;
    Ok(made)
}

fn batch(instance: &mut Instance, samples: &Sample) -> Result<Vec<u8>, PluginError> {
    let mut made = Vec::new();
    instance.apply_batch(samples.tensor(), RANDOM, &mut |tensor| {
        made.extend_from_slice(tensor.bytes);
        Ok(())
    })?;
    Ok(made)
}

/// A plugin's own words as one line of a terminal: what it says must not look like what we say.
fn line(text: &str) -> String {
    let shown: String = text
        .chars()
        .take(MOST_SHOWN)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if shown.len() < text.len() && text.chars().count() > MOST_SHOWN { format!("{shown}…") } else { shown }
}
