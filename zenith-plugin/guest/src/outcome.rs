//! What a plugin's function may return, and what each return type tells the host beforehand.

use crate::abi::{MAY_DROP, MAY_SPLIT};
use crate::{Error, Result, Tensor, View};

/// One tensor of a result.
#[derive(Debug)]
pub enum Output {
    /// The tensor that the plugin was called with, as it is now.
    Input,
    /// A new one.
    Tensor(Tensor),
}

impl From<()> for Output {
    fn from((): ()) -> Self {
        Output::Input
    }
}

impl From<Tensor> for Output {
    fn from(tensor: Tensor) -> Self {
        Output::Tensor(tensor)
    }
}

/// What a plugin's function may return:
///
/// | type | the sample |
/// |---|---|
/// | `()` | is the input, changed in place |
/// | [`Tensor`] | is a new tensor |
/// | [`Output`] | is one or the other, as the case may be |
/// | `bool` | is kept as it is now, or dropped |
/// | `Option` of these | is dropped where it is `None` |
/// | `Vec` of these | becomes as many samples; none drops it |
///
/// The type alone decides whether the host is told that samples may be dropped or split.
pub trait Outcome {
    /// The flags that announce it.
    const FLAGS: u32;

    /// Gives the tensors, in their order.
    fn outputs(self, give: &mut dyn FnMut(Output));
}

/// Outcomes of exactly one tensor.
pub trait One: Into<Output> {}

impl One for () {}
impl One for Tensor {}
impl One for Output {}

macro_rules! one {
    ($($type:ty),+) => {$(
        impl Outcome for $type {
            const FLAGS: u32 = 0;

            fn outputs(self, give: &mut dyn FnMut(Output)) {
                give(self.into());
            }
        }
    )+};
}

one!((), Tensor, Output);

impl Outcome for bool {
    const FLAGS: u32 = MAY_DROP;

    fn outputs(self, give: &mut dyn FnMut(Output)) {
        if self {
            give(Output::Input);
        }
    }
}

impl<T: One> Outcome for Option<T> {
    const FLAGS: u32 = MAY_DROP;

    fn outputs(self, give: &mut dyn FnMut(Output)) {
        if let Some(one) = self {
            give(one.into());
        }
    }
}

impl<T: One> Outcome for Vec<T> {
    const FLAGS: u32 = MAY_DROP | MAY_SPLIT;

    fn outputs(self, give: &mut dyn FnMut(Output)) {
        self.into_iter().for_each(|one| give(one.into()));
    }
}

/// A function that a plugin can consist of. `S` is the plugin's state, made from the configuration; `M` only keeps the
/// signatures apart.
///
/// The tensor comes first; the state, shared or mutable, and 64 random bits follow where the function wants them:
///
/// ```
/// # use zenith_plugin_guest::{Result, Tensor, View};
/// # struct Settings;
/// fn in_place(input: &mut View) -> Result<()> {
/// #   Ok(())
/// # }
/// fn configured(input: &mut View, settings: &Settings) -> Result<Tensor> {
/// #   Tensor::zeros::<u8>(&[1])
/// # }
/// fn with_memory(input: &mut View, settings: &mut Settings, random: u64) -> Result<bool> {
/// #   Ok(true)
/// # }
/// ```
pub trait Process<S, M> {
    /// What it returns.
    type Outcome: Outcome;

    /// Calls it.
    ///
    /// # Errors
    /// The function's own.
    fn call(&self, input: &mut View<'_>, state: &mut S, random: u64) -> Result<Self::Outcome, Error>;
}

macro_rules! signatures {
    ($(($($type:ty),*), |$state:ident, $random:ident| ($($given:expr),*);)+) => {$(
        impl<F, S, R> Process<S, fn(&mut View<'_>, $($type),*) -> R> for F
        where
            F: Fn(&mut View<'_>, $($type),*) -> Result<R, Error>,
            R: Outcome,
        {
            type Outcome = R;

            #[inline]
            fn call(&self, input: &mut View<'_>, $state: &mut S, $random: u64) -> Result<R, Error> {
                // Not every signature wants both.
                let _ = (&$state, $random);
                self(input, $($given),*)
            }
        }
    )+};
}

signatures! {
    (), |state, random| ();
    (u64), |state, random| (random);
    (&S), |state, random| (state);
    (&mut S), |state, random| (state);
    (&S, u64), |state, random| (state, random);
    (&mut S, u64), |state, random| (state, random);
}
