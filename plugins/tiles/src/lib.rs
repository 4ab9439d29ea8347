//! Splits a picture into tiles of one size, row by row, wherever the tiles begin this time: the grid is moved by as much as the
//! random bits say. What is left over at the edges is lost, and a picture smaller than a tile is dropped.
#![forbid(unsafe_code)]

use zenith_plugin_guest::{Error, Layout, Picture, Result, Tensor, View, config, plugin};

plugin! {
    name: "tiles",
    version: env!("CARGO_PKG_VERSION"),
    description: "Splits pictures of any element type into tiles: 224, or 224x320 (height, width)",
    config: Tile::parse,
    process: split,
}

#[derive(Debug, PartialEq)]
struct Tile {
    height: usize,
    width: usize,
}

impl Tile {
    fn parse(text: &str) -> Result<Self> {
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        let tile = Self { height: config::value("height", height)?, width: config::value("width", width)? };
        if tile.height == 0 || tile.width == 0 {
            return Err(Error::config("a tile has at least one pixel"));
        }
        Ok(tile)
    }
}

fn split(input: &mut View, tile: &Tile, random: u64) -> Result<Vec<Tensor>> {
    let picture = Picture::of(input.shape())?;
    let shift = |length: usize, tile: usize, random: u32| random as usize % (length % tile + 1);
    let top = shift(picture.height, tile.height, random as u32);
    let left = shift(picture.width, tile.width, (random >> 32) as u32);
    let rows = (top..picture.height).step_by(tile.height).take(picture.height / tile.height);
    let corners = rows.flat_map(|y| {
        (left..picture.width).step_by(tile.width).take(picture.width / tile.width).map(move |x| (x, y))
    });
    corners.map(|corner| cut(input, picture, tile, corner)).collect()
}

/// The tile whose first pixel is (`x`, `y`).
fn cut(input: &View, picture: Picture, tile: &Tile, (x, y): (usize, usize)) -> Result<Tensor> {
    let size = input.dtype().size();
    // With its channels first a picture is as many pictures of one channel each.
    let (planes, pixel) = match picture.layout {
        Layout::Chw => (picture.channels, size),
        _ => (1, picture.channels * size),
    };
    let mut output = picture
        .resized(tile.height, tile.width)
        .with_shape(|shape| Tensor::empty_of(input.dtype(), shape))?;
    let mut to = output.bytes_mut().chunks_exact_mut(tile.width * pixel);
    for plane in 0..planes {
        for row in 0..tile.height {
            let from = ((plane * picture.height + y + row) * picture.width + x) * pixel;
            if let Some(to) = to.next() {
                to.copy_from_slice(&input.bytes()[from..from + tile.width * pixel]);
            }
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zenith_plugin_guest::testing;

    fn tiles(config: &str, shape: &[usize], random: u64) -> Vec<Vec<i16>> {
        let numbers: Vec<i16> = (0..shape.iter().product::<usize>() as i16).collect();
        let input = Tensor::from_slice(shape, &numbers).unwrap();
        let tiles = testing::call(split, &mut Tile::parse(config).unwrap(), input, random).unwrap();
        tiles.iter().map(|tile| tile.as_slice::<i16>().unwrap().to_vec()).collect()
    }

    #[test]
    fn tiles_follow_each_other_row_by_row() {
        assert_eq!(tiles("1x2", &[2, 4], 0), [[0, 1], [2, 3], [4, 5], [6, 7]]);
        assert_eq!(tiles("2", &[2, 5], 0), [[0, 1, 5, 6], [2, 3, 7, 8]]);
        assert_eq!(tiles("1", &[1, 2, 3], 0), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!(tiles("2x2", &[3, 2, 2], 0), [(0..12).collect::<Vec<_>>()]);
        assert!(tiles("3", &[2, 5], 0).is_empty());
    }

    #[test]
    fn random_bits_move_the_grid_within_the_picture() {
        assert_eq!(tiles("2", &[2, 5], 1 << 32), [[1, 2, 6, 7], [3, 4, 8, 9]]);
        assert_eq!(tiles("2", &[3, 2], 1), [[2, 3, 4, 5]]);
        for random in [u64::MAX, 0x1234_5678_9abc_def0] {
            assert_eq!(tiles("3x2", &[11, 7], random).len(), 9);
        }
    }

    #[test]
    fn misfits_are_refused() {
        for text in ["", "0", "2x0", "2x2x2", "-1"] {
            assert_eq!(Tile::parse(text).unwrap_err().code(), Error::CONFIG, "{text}");
        }
    }
}
