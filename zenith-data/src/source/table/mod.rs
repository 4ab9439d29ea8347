//! Tables as sources of rows: files of columns ([`open_files`]) or columns in memory ([`TableSource::from_columns`],
//! [`TableSource::from_record_batches`]). Which column becomes what is decided in `mapping`; rows are copied into their
//! slots in `gather`.

pub(crate) mod blobs;
pub(crate) mod blocks;
pub(crate) mod cache;
pub(crate) mod cells;
pub(crate) mod columns;
pub(crate) mod convert;
pub(crate) mod files;
mod gather;
pub(crate) mod mapping;
pub(crate) mod memory;
mod open;
mod rows;
mod source;

pub use self::blobs::ColumnBlobs;
pub use self::columns::MemoryColumn;
pub use self::mapping::{LabelChoice, TableOptions};
pub use self::open::{Opened, open_files};
pub use self::source::TableSource;
pub use crate::format::kind::Kind;
