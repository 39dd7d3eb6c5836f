//! A small picture of how the bins of a feature moved: no text in it, readable on white and on black.

use tiny_skia::{Color, Paint, Pixmap, Rect, Transform};

use crate::alert::BinMove;

/// Width at which it is shown, in CSS pixels; half of what is drawn, for sharp screens.
pub(super) const WIDTH: u32 = 560;

/// Height at which it is shown, in CSS pixels.
const HEIGHT: u32 = 120;

/// Pixels drawn per CSS pixel.
const SCALE: u16 = 2;

/// Colours of the baseline, the window and the ground line, on white and on black.
const COLOURS: [(u8, u8, u8); 3] = [(0x94, 0xa3, 0xb8), (0xea, 0x58, 0x0c), (0x80, 0x80, 0x80)];

/// A PNG with two bars per bin, the baseline's share at the left and the window's at the right; nothing without bins.
pub(super) fn png(bins: &[BinMove]) -> Option<Vec<u8>> {
    let scale = f32::from(SCALE);
    let mut pixmap = Pixmap::new(WIDTH * u32::from(SCALE), HEIGHT * u32::from(SCALE))?;
    let (width, height) = (scale * WIDTH as f32, scale * HEIGHT as f32);
    let shares = bins.iter().flat_map(|bin| [bin.reference, bin.current]);
    let widest = shares.filter(|share| share.is_finite()).fold(0.0, f64::max);
    if bins.is_empty() || widest <= 0.0 {
        return None;
    }
    let mut fill = |left: f32, top: f32, wide: f32, high: f32, (red, green, blue): (u8, u8, u8)| {
        let mut paint = Paint { anti_alias: false, ..Paint::default() };
        paint.set_color(Color::from_rgba8(red, green, blue, 0xff));
        if let Some(rectangle) = Rect::from_xywh(left.round(), top.round(), wide.round(), high.round()) {
            pixmap.fill_rect(rectangle, &paint, Transform::identity(), None);
        }
    };
    let line = 2.0 * scale;
    let ground = height - line;
    let step = width / bins.len() as f32;
    // Few bins make no wide blocks.
    let bar = (0.36 * step).min(48.0 * scale);
    for (index, bin) in bins.iter().enumerate() {
        let middle = step * (index as f32 + 0.5);
        for (share, left, colour) in
            [(bin.reference, middle - bar - scale, COLOURS[0]), (bin.current, middle + scale, COLOURS[1])]
        {
            let share = if share.is_finite() { (share / widest).clamp(0.0, 1.0) } else { 0.0 };
            // A bin that nothing fell into still shows where it is.
            #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
            let high = (share as f32 * (ground - scale)).max(2.0 * scale);
            fill(left, ground - high, bar, high, colour);
        }
    }
    fill(0.0, ground, width, line, COLOURS[2]);
    pixmap.encode_png().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bins(shares: &[(f64, f64)]) -> Vec<BinMove> {
        let bin = |(reference, current): &(f64, f64)| BinMove {
            label: "x".to_owned(),
            reference: *reference,
            current: *current,
        };
        shares.iter().map(bin).collect()
    }

    #[test]
    fn bars_are_as_high_as_their_shares() {
        let png = png(&bins(&[(0.5, 0.25), (0.0, 0.5)])).unwrap();
        let drawn = Pixmap::decode_png(&png).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (1120, 240));
        let count = |(red, green, blue): (u8, u8, u8)| {
            let same = |pixel: &&tiny_skia::PremultipliedColorU8| {
                (pixel.red(), pixel.green(), pixel.blue(), pixel.alpha()) == (red, green, blue, 255)
            };
            drawn.pixels().iter().filter(same).count() as f64
        };
        let (was, is) = (count(COLOURS[0]), count(COLOURS[1]));
        assert!((was / is - 0.5 / 0.75).abs() < 0.03, "{was} of the baseline, {is} of the window");
        let corner = drawn.pixel(0, 0).unwrap();
        assert_eq!(corner.alpha(), 0, "the ground shows through");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(png(&[]), None);
        assert_eq!(png(&bins(&[(0.0, 0.0)])), None);
        assert_eq!(png(&bins(&[(f64::NAN, f64::INFINITY)])), None);
        assert!(png(&bins(&[(f64::NAN, 0.1); 500])).is_some());
    }
}
