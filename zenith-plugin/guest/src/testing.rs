//! Plugins as ordinary functions: to be tested where they are written, without WebAssembly and without a host.

use crate::{Outcome, Output, Process, Result, Tensor};

/// Calls a plugin's function with a tensor and gives the tensors that it returns.
///
/// ```
/// use zenith_plugin_guest::{Result, Tensor, View, testing};
///
/// fn invert(input: &mut View) -> Result<()> {
///     input.as_mut_slice::<u8>()?.iter_mut().for_each(|v| *v = 255 - *v);
///     Ok(())
/// }
///
/// let input = Tensor::from_slice(&[3], &[0u8, 100, 255])?;
/// let output = testing::call(invert, &mut (), input, 0)?;
/// assert_eq!(output[0].as_slice::<u8>()?, [255, 155, 0]);
/// # Ok::<(), zenith_plugin_guest::Error>(())
/// ```
///
/// # Errors
/// The function's own.
#[expect(clippy::needless_pass_by_value, reason = "a function is named, not borrowed")]
pub fn call<S, M>(
    process: impl Process<S, M>,
    state: &mut S,
    mut input: Tensor,
    random: u64,
) -> Result<Vec<Tensor>> {
    let mut view = input.view();
    let mut outputs = Vec::new();
    process.call(&mut view, state, random)?.outputs(&mut |output| outputs.push(output));
    let tensor = |output| match output {
        Output::Tensor(tensor) => Ok(tensor),
        Output::Input => {
            let mut copy = Tensor::empty_of(view.dtype(), view.shape())?;
            copy.bytes_mut().copy_from_slice(view.bytes());
            Ok(copy)
        }
    };
    outputs.into_iter().map(tensor).collect()
}
