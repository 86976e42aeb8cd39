//! Identicons: a picture for a name, always the same.
//!
//! SHA-256 of the input decides: its first 15 bits are the cells of the left three columns of a grid
//! of 5x5, mirrored to the right two, and the next four bytes are the colour, as hue, saturation and
//! lightness within bounds that stay readable on a light ground.

use std::fmt::Write;

use crate::digest::{Algorithm, of_bytes};

/// Width and height in pixels when none is given.
pub const DEFAULT_SIZE: u32 = 64;

const CELLS: usize = 5;
/// Columns that are drawn from the hash; the others mirror them.
const DRAWN: usize = 3;
const GROUND: &str = "#f0f0f0";
const URI_PREFIX: &[u8] = b"data:image/svg+xml;base64,";

/// The picture as an SVG document of `size` by `size` pixels.
pub fn svg(input: &[u8], size: u32) -> String {
    let hash = of_bytes(Algorithm::Sha256, input);
    let [red, green, blue] = colour(&hash);
    let mut svg = String::with_capacity(1600);
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" \
         viewBox=\"0 0 {CELLS} {CELLS}\" shape-rendering=\"crispEdges\">\
         <rect width=\"{CELLS}\" height=\"{CELLS}\" fill=\"{GROUND}\"/>\
         <g fill=\"#{red:02x}{green:02x}{blue:02x}\">"
    );
    for (y, row) in grid(&hash).iter().enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, filled)| **filled) {
            cell(&mut svg, x, y);
        }
    }
    svg.push_str("</g></svg>");
    svg
}

/// The picture as a `data:` URI, to be put into a page; all of it is ASCII.
pub fn data_uri(input: &[u8], size: u32) -> Vec<u8> {
    let svg = svg(input, size);
    let mut uri = Vec::with_capacity(URI_PREFIX.len() + svg.len().div_ceil(3) * 4);
    uri.extend_from_slice(URI_PREFIX);
    push_base64(&mut uri, svg.as_bytes());
    uri
}

fn grid(hash: &[u8; 32]) -> [[bool; CELLS]; CELLS] {
    let mut grid = [[false; CELLS]; CELLS];
    let mut bits = u16::from_be_bytes([hash[0], hash[1]]) >> 1;
    if bits == 0 {
        bits = 1 << (CELLS / 2 * DRAWN + DRAWN - 1); // the middle: no picture is empty
    }
    for (y, row) in grid.iter_mut().enumerate() {
        for x in 0..DRAWN {
            let filled = bits >> (y * DRAWN + x) & 1 == 1;
            row[x] = filled;
            row[CELLS - 1 - x] = filled;
        }
    }
    grid
}

fn cell(svg: &mut String, x: usize, y: usize) {
    let digit = |number: usize| char::from(b'0' + number as u8);
    svg.push_str("<rect x=\"");
    svg.push(digit(x));
    svg.push_str("\" y=\"");
    svg.push(digit(y));
    svg.push_str("\" width=\"1\" height=\"1\"/>");
}

fn colour(hash: &[u8; 32]) -> [u8; 3] {
    let hue = f64::from(u16::from_be_bytes([hash[2], hash[3]])) / 65536.0 * 6.0;
    let saturation = 0.45 + f64::from(hash[4]) / 255.0 * 0.3;
    let lightness = 0.35 + f64::from(hash[5]) / 255.0 * 0.2;
    rgb(hue, saturation, lightness)
}

/// From a hue in sixths of the circle (CSS Color 3, section 4.2.4).
fn rgb(hue: f64, saturation: f64, lightness: f64) -> [u8; 3] {
    let chroma = (1.0 - (2.0 * lightness - 1.0).abs()) * saturation;
    let second = chroma * (1.0 - (hue % 2.0 - 1.0).abs());
    let least = lightness - chroma / 2.0;
    let parts = match hue as u8 {
        0 => [chroma, second, 0.0],
        1 => [second, chroma, 0.0],
        2 => [0.0, chroma, second],
        3 => [0.0, second, chroma],
        4 => [second, 0.0, chroma],
        _ => [chroma, 0.0, second],
    };
    parts.map(|part| ((part + least) * 255.0).round() as u8)
}

/// RFC 4648, section 4.
fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    let (groups, rest) = bytes.as_chunks::<3>();
    groups.iter().for_each(|group| text.extend(digits(*group)));
    if !rest.is_empty() {
        let mut group = [0; 3];
        group[..rest.len()].copy_from_slice(rest);
        text.extend_from_slice(&digits(group)[..=rest.len()]);
        text.extend_from_slice(&b"=="[rest.len() - 1..]);
    }
}

fn digits([first, second, third]: [u8; 3]) -> [u8; 4] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u32::from(first) << 16 | u32::from(second) << 8 | u32::from(third);
    [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quick_xml::{Reader, events::Event};
    use std::collections::BTreeSet;

    /// The cells of a picture as a reader of XML sees them; panics unless it is well-formed.
    fn cells(svg: &str) -> BTreeSet<(u8, u8)> {
        let mut reader = Reader::from_str(svg);
        reader.config_mut().check_end_names = true;
        let mut cells = BTreeSet::new();
        let (mut depth, mut roots) = (0, 0);
        loop {
            match reader.read_event().unwrap() {
                Event::Start(element) => {
                    roots += u32::from(depth == 0 && element.name().as_ref() == "svg");
                    depth += 1;
                }
                Event::End(_) => depth -= 1,
                Event::Empty(element) => {
                    let number = |name: &str| {
                        let value = element.try_get_attribute(name).unwrap()?;
                        value.value.parse::<u8>().ok()
                    };
                    if let (Some(x), Some(y)) = (number("x"), number("y")) {
                        cells.insert((x, y));
                    }
                }
                Event::Eof => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!((depth, roots), (0, 1));
        cells
    }

    #[test]
    fn the_same_name_has_the_same_picture() {
        assert_eq!(svg(b"demo", 64), svg(b"demo", 64));
        assert_ne!(svg(b"demo", 64), svg(b"demo2", 64));
        assert!(svg(b"demo", 128).contains("width=\"128\" height=\"128\""));
    }

    #[test]
    fn a_hash_of_zeros_is_not_empty() {
        let grid = grid(&[0; 32]);
        assert!(grid[2][2]);
        assert_eq!(grid.iter().flatten().filter(|filled| **filled).count(), 1);
    }

    #[test]
    fn base64_agrees_with_the_vectors_of_its_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ];
        for (bytes, expected) in vectors {
            let mut text = Vec::new();
            push_base64(&mut text, bytes.as_bytes());
            assert_eq!(text, expected.as_bytes());
        }
    }

    #[test]
    fn colours_agree_with_css() {
        assert_eq!(rgb(0.0, 1.0, 0.5), [255, 0, 0]);
        assert_eq!(rgb(2.0, 1.0, 0.25), [0, 128, 0]);
        assert_eq!(rgb(4.0, 0.5, 0.5), [64, 64, 191]);
    }

    proptest! {
        #[test]
        fn every_picture_is_a_mirrored_document(input in prop::collection::vec(any::<u8>(), 0..64)) {
            let cells = cells(&svg(&input, DEFAULT_SIZE));
            prop_assert!(!cells.is_empty());
            for (x, y) in &cells {
                prop_assert!(*x < 5 && *y < 5);
                prop_assert!(cells.contains(&(4 - x, *y)));
            }
        }
    }
}
