//! What kind of table a file is, told from its first bytes; only CSV, which has no mark, is told from its name.

use std::path::Path;

/// A kind of table file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC (Feather version 2), file or stream.
    ArrowIpc,
    /// Comma-, semicolon- or tab-separated text.
    Csv,
    /// One NumPy array.
    Npy,
    /// Several NumPy arrays in a zip archive.
    Npz,
}

impl Kind {
    /// The kind of the file at `path` that starts with `first_bytes` (16 or more where the file has them); `None` where
    /// it is no table that can be read.
    #[must_use]
    pub fn sniff(path: &Path, first_bytes: &[u8]) -> Option<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        match first_bytes {
            [b'P', b'A', b'R', b'1', ..] => Some(Kind::Parquet),
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Some(Kind::ArrowIpc),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(Kind::Npy),
            // A zip archive is many things; NumPy puts members called NAME.npy first.
            [b'P', b'K', 3, 4, ..] => (extension == "npz").then_some(Kind::Npz),
            // A stream starts with a continuation mark and the length of its schema.
            [0xFF, 0xFF, 0xFF, 0xFF, _, _, len2, len3, ..] if *len3 == 0 && *len2 < 0x40 => {
                Some(Kind::ArrowIpc)
            }
            _ if matches!(extension.as_str(), "csv" | "tsv") && !first_bytes.contains(&0) => Some(Kind::Csv),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_goes_before_the_name() {
        let kind = |name: &str, bytes: &[u8]| Kind::sniff(Path::new(name), bytes);
        assert_eq!(kind("a.csv", b"PAR1\x15\x04"), Some(Kind::Parquet));
        assert_eq!(kind("a.bin", b"ARROW1\0\0"), Some(Kind::ArrowIpc));
        assert_eq!(kind("a", b"\xff\xff\xff\xff\x10\x01\0\0"), Some(Kind::ArrowIpc));
        assert_eq!(kind("a", b"\x93NUMPY\x01\0"), Some(Kind::Npy));
        assert_eq!(kind("a.npz", b"PK\x03\x04"), Some(Kind::Npz));
        assert_eq!(kind("a.docx", b"PK\x03\x04"), None);
        assert_eq!(kind("a.CSV", b"x,y\n"), Some(Kind::Csv));
        assert_eq!(kind("a.csv", b"x\0y\n"), None);
        assert_eq!(kind("a.txt", b"x,y\n"), None);
    }
}
