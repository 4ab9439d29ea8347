//! Tables between the formats that read them and the sources that hand out their rows: which column becomes what
//! (`mapping`), blocks of columns on their way into row-major matrices (`blocks`, `cells`), columns that stay where they
//! are (`columns`, `files`) and the hot path that copies rows into their slots (`rows`, `gather`). Knows no file format,
//! and no source.

pub(crate) mod blocks;
pub(crate) mod cells;
pub(crate) mod columns;
pub(crate) mod convert;
pub(crate) mod files;
mod gather;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod pread;
pub(crate) mod rows;
