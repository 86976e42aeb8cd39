//! The chunks of a file.

use super::BeamErrorKind;

/// Four letters and the data behind them.
pub(super) type Chunk<'b> = ([u8; 4], &'b [u8]);

/// The chunks of a whole, unpacked file, in its order.
pub(super) fn chunks(
    bytes: &[u8],
) -> Result<impl Iterator<Item = Result<Chunk<'_>, BeamErrorKind>>, BeamErrorKind> {
    let is_beam = bytes.len() >= 12 && bytes.starts_with(b"FOR1") && &bytes[8..12] == b"BEAM";
    if !is_beam {
        return Err(BeamErrorKind::NotBeam);
    }
    let mut position = 12;
    // After an error nothing can be found any more.
    Ok(std::iter::from_fn(move || {
        if position >= bytes.len() {
            return None;
        }
        let at = position;
        let chunk = chunk(bytes, at);
        position = match &chunk {
            Some((_, data)) => at + 8 + data.len().next_multiple_of(4),
            None => bytes.len(),
        };
        Some(chunk.ok_or(BeamErrorKind::Malformed(at)))
    }))
}

fn chunk(bytes: &[u8], position: usize) -> Option<Chunk<'_>> {
    let (header, rest) = bytes[position..].split_first_chunk::<8>()?;
    let [a, b, c, d, size @ ..] = *header;
    let size = u32::from_be_bytes(size) as usize;
    Some(([a, b, c, d], rest.get(..size)?))
}
