//! Cuts a byte range of a stripe into rectangles: rows x strips, each wholly covered by the range.
//!
//! A range that starts inside one strip and ends inside another covers different strips on different
//! rows. Cut at the row where it starts and at the row where it ends, and every part is a rectangle;
//! cut further at multiples of the band height, so that no operation needs more scratch memory than
//! there is (`limits::band_bytes`).
//!
//! Not here: what is done with a rectangle (`plan`), and which stripe it is in (`geometry`).

/// A byte range inside one stripe, data only: strip `i` holds bytes `i * strip_bytes ..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte, counted from the start of the stripe's data.
    pub start: u64,
    /// Length in bytes, not zero.
    pub len: u64,
}

/// A range of rows and of adjacent data strips of one stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// First row, in bytes from the start of each strip.
    pub row: u32,
    /// End of the rows (exclusive).
    pub row_end: u32,
    /// First data strip.
    pub first: u8,
    /// Last data strip (inclusive).
    pub last: u8,
}

impl Rectangle {
    /// Height in bytes.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.row_end - self.row
    }

    /// Whether it has no rows. Never true of a rectangle that [`next`] returns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.row == self.row_end
    }
}

/// The first rectangle of `span` at or after `row`, or `None` when all of it lies before.
/// Repeated with `row` set to the end of the last one it yields every cell of the span exactly once,
/// by ascending rows.
///
/// # Panics
/// If a size is not a power of two, or the span not inside a stripe.
#[must_use]
pub fn next(span: Span, strip_bytes: u32, band_bytes: u32, row: u32) -> Option<Rectangle> {
    debug_assert!(strip_bytes.is_power_of_two() && band_bytes.is_power_of_two());
    let (first, top) = narrow(span.start, strip_bytes);
    let (last, bottom) = narrow(span.start + span.len - 1, strip_bytes);
    let bottom = bottom + 1;
    let mut row = row;
    while row < strip_bytes {
        let band_end = ((row | (band_bytes - 1)) + 1).min(strip_bytes);
        let cut = [top, bottom].into_iter().filter(|&cut| cut > row).fold(band_end, u32::min);
        let from = if row >= top { i16::from(first) } else { i16::from(first) + 1 };
        let to = if cut <= bottom { i16::from(last) } else { i16::from(last) - 1 };
        if from <= to {
            let strips = (u8::try_from(from), u8::try_from(to));
            if let (Ok(first), Ok(last)) = strips {
                return Some(Rectangle { row, row_end: cut, first, last });
            }
        }
        // One strip, and all of its rows seen: nothing can follow.
        if first == last && cut >= bottom {
            return None;
        }
        row = cut;
    }
    None
}

/// (strip, byte inside it) of a byte of the stripe.
fn narrow(byte: u64, strip_bytes: u32) -> (u8, u32) {
    let index = u8::try_from(byte >> strip_bytes.trailing_zeros());
    let row = u32::try_from(byte & u64::from(strip_bytes - 1));
    match (index, row) {
        (Ok(index), Ok(row)) => (index, row),
        _ => panic!("byte {byte} is in no strip of {strip_bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(span: Span, strip: u32, band: u32) -> Vec<Rectangle> {
        let mut found = Vec::new();
        let mut row = 0;
        while let Some(rectangle) = next(span, strip, band, row) {
            row = rectangle.row_end;
            found.push(rectangle);
        }
        found
    }

    /// Goal: for every span of a small stripe the rectangles cover exactly its bytes, once each.
    #[test]
    fn rectangles_partition_every_span() {
        let (strip, strips) = (8u32, 4u64);
        for band in [1, 2, 4, 8] {
            for start in 0..u64::from(strip) * strips {
                for len in 1..=u64::from(strip) * strips - start {
                    let mut hits = vec![0; (u64::from(strip) * strips) as usize];
                    for r in all(Span { start, len }, strip, band) {
                        assert!(r.len() <= band && !r.is_empty());
                        assert_eq!(r.row / band, (r.row_end - 1) / band, "inside one band");
                        for s in r.first..=r.last {
                            for row in r.row..r.row_end {
                                hits[(u32::from(s) * strip + row) as usize] += 1;
                            }
                        }
                    }
                    for (byte, &n) in hits.iter().enumerate() {
                        let inside = (start..start + len).contains(&(byte as u64));
                        assert_eq!(n, u32::from(inside), "start {start} len {len} byte {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_whole_stripe_is_one_rectangle() {
        let whole = all(Span { start: 0, len: 64 << 10 }, 16 << 10, 128 << 10);
        assert_eq!(whole, [Rectangle { row: 0, row_end: 16 << 10, first: 0, last: 3 }]);
    }
}
