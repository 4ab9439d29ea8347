//! What a file's name promises. Only the listing of folders goes by names; what is in a file is decided by its content.

/// Endings of pictures, as `torchvision.datasets.folder.IMG_EXTENSIONS` lists them.
const PICTURES: [&[u8]; 9] =
    [b".jpg", b".jpeg", b".png", b".ppm", b".bmp", b".pgm", b".tif", b".tiff", b".webp"];

/// Endings of tables.
const TABLES: [&[u8]; 10] =
    [b".parquet", b".pq", b".arrow", b".arrows", b".feather", b".ipc", b".csv", b".tsv", b".npy", b".npz"];

/// Whether a file of this name is taken for a picture.
#[must_use]
pub fn is_picture_name(name: &[u8]) -> bool {
    ends_with_any(name, &PICTURES)
}

/// Whether a file of this name is taken for a table.
#[must_use]
pub fn is_table_name(name: &[u8]) -> bool {
    ends_with_any(name, &TABLES)
}

/// The endings of pictures, for messages.
#[must_use]
pub fn picture_endings() -> String {
    let endings: Vec<_> = PICTURES.iter().map(|e| String::from_utf8_lossy(e)).collect();
    endings.join(", ")
}

fn ends_with_any(name: &[u8], endings: &[&[u8]]) -> bool {
    let Some(dot) = name.iter().rposition(|&b| b == b'.') else {
        return false;
    };
    endings.iter().any(|ending| name[dot..].eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_in_any_case() {
        for name in ["a.jpg", "a.JPEG", ".png", "a.b.WebP", "a.TIFF"] {
            assert!(is_picture_name(name.as_bytes()), "{name}");
        }
        for name in ["", "jpg", "a.jpg.txt", "a.jpg~", "a.gif", "a."] {
            assert!(!is_picture_name(name.as_bytes()), "{name}");
        }
        assert!(is_table_name(b"x.Parquet") && !is_table_name(b"x.json"));
    }
}
