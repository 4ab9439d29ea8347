//! Tables as sources of rows: files of columns ([`open_files`]) or columns in memory ([`TableSource::from_columns`],
//! [`TableSource::from_record_batches`]). What lies between a file and a row is `table`'s.

pub(crate) mod blobs;
pub(crate) mod cache;
mod open;
mod source;

pub use self::blobs::ColumnBlobs;
pub use self::open::{Opened, open_files};
pub use self::source::TableSource;
pub use crate::format::kind::Kind;
pub use crate::table::columns::MemoryColumn;
pub use crate::table::mapping::{LabelChoice, TableOptions};
