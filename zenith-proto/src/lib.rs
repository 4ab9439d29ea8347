//! The messages and services of `proto/zenith.proto`, as code. `generated/` is made by `tests/fresh.rs`, which also refuses
//! code that is older than the text it was made from: `ZENITH_BLESS=1 cargo test -p zenith-proto` makes it anew.

/// The package `zenith.v1`: see `proto/zenith.proto` for what each message means.
pub mod v1 {
    #![expect(
        missing_docs,
        unused_qualifications,
        clippy::all,
        clippy::pedantic,
        clippy::allow_attributes_without_reason,
        reason = "made by a program; the documentation is in the text it is made from"
    )]
    include!("generated/zenith.v1.rs");
}
