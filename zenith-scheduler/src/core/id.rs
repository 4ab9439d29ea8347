//! Names of things as small integers. What they stand for is in the tables of `Core`; nothing is looked up here.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

/// Ids that name a row of a dense table.
macro_rules! row {
    ($($name:ident),*) => {$(
        impl $name {
            /// The place of this id in its table.
            pub(crate) fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

id! {
    /// A job; tasks of one array have consecutive ids. Counted upwards from 1 and never used twice.
    JobId(u64)
}
id! {
    /// A node, in the order of joining.
    NodeId(u32)
}
id! {
    /// A queue, in the order of first mention.
    QueueId(u32)
}
id! {
    /// A user, in the order of first mention.
    UserId(u32)
}

row!(NodeId, QueueId, UserId);
