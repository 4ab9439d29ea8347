//! A Zenith plugin: multiplies float32 samples by the configured number, in place.

use zenith_plugin_guest::{Result, View, plugin};

plugin! {
    name: "brighten",
    version: "1.0.0",
    description: "Multiplies by the configured number",
    config: factor,
    process: brighten,
}

fn factor(config: &str) -> Result<f32> {
    Ok(config.parse()?)
}

fn brighten(input: &mut View, factor: &f32) -> Result<()> {
    input.as_mut_slice::<f32>()?.iter_mut().for_each(|value| *value *= factor);
    Ok(())
}

#[test]
fn values_are_multiplied() -> Result<()> {
    use zenith_plugin_guest::{Tensor, testing};
    let input = Tensor::from_slice(&[2], &[0.5f32, 2.0])?;
    let output = testing::call(brighten, &mut factor("1.5")?, input, 0)?;
    assert_eq!(output[0].as_slice::<f32>()?, [0.75, 3.0]);
    Ok(())
}
