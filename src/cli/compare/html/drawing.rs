//! The drawings of the report, as SVG in the page.

use std::fmt::Write;

use super::super::report::Feature;
use crate::drawing::{Bar, Curve, Shape, coordinate, escape, outline, pair, percent, tick};

use crate::model::FeatureKind;

pub(super) fn heights(shape: &Shape) -> f64 {
    let of = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
    match shape {
        Shape::Curve(curve) => of(&curve.reference).max(of(&curve.current)),
        Shape::Bars(bars) => bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.0, f64::max),
    }
}

/// The drawing in the closed row: shapes only, no words.
pub(super) fn write_small(page: &mut String, shape: &Shape) -> std::fmt::Result {
    let most = heights(shape);
    page.push_str("<svg class=\"small-chart\" viewBox=\"0 0 100 30\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    match shape {
        Shape::Curve(curve) => {
            let halved = |shares: &[f64]| -> Vec<f64> {
                shares.chunks(2).map(|pair| pair.iter().sum::<f64>() / 2.0).collect()
            };
            let (reference, current) = (halved(&curve.reference), halved(&curve.current));
            let most = reference.iter().chain(&current).copied().fold(0.0, f64::max);
            write!(
                page,
                "<path class=\"r\" d=\"{}\"/><path class=\"c\" d=\"{}\"/>",
                outline(&reference, most, 100.0, 30.0),
                outline(&current, most, 100.0, 30.0)
            )?;
        }
        Shape::Bars(bars) => {
            let slot = 100.0 / bars.len().max(1) as f64;
            for (index, bar) in bars.iter().enumerate() {
                let x = index as f64 * slot;
                for (class, share, at) in [("rb", bar.reference, 0.12), ("cb", bar.current, 0.5)] {
                    if share > 0.0 {
                        let height = (share / most * 29.0).max(0.5);
                        write!(
                            page,
                            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                            coordinate(x + at * slot),
                            coordinate(30.0 - height),
                            coordinate((0.36 * slot).max(0.4)),
                            coordinate(height)
                        )?;
                    }
                }
            }
        }
    }
    page.push_str("</svg>");
    Ok(())
}

pub(super) fn write_chart(page: &mut String, feature: &Feature, shape: &Shape) -> std::fmt::Result {
    match shape {
        Shape::Curve(curve) => write_curve(page, feature, curve),
        // The bins of categories are drawn with their table.
        Shape::Bars(bars) if bars.is_empty() || feature.report.kind != FeatureKind::Numeric => Ok(()),
        Shape::Bars(bars) => write_bars(page, feature, bars),
    }
}

pub(super) fn write_curve(page: &mut String, feature: &Feature, curve: &Curve) -> std::fmt::Result {
    let most = curve.reference.iter().chain(&curve.current).copied().fold(0.0, f64::max);
    let ticks: Vec<String> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| tick(curve, share)).into();
    write!(
        page,
        "<figure><svg class=\"chart\" viewBox=\"0 0 640 160\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Distribution of {}: reference as a filled area, current as a dashed line, from {} to {}\">\
         <path class=\"r\" d=\"{}\"/><path class=\"c\" d=\"{}\"/></svg>\n<div class=\"axis\">",
        escape(&feature.report.name),
        ticks[0],
        ticks[4],
        outline(&curve.reference, most, 640.0, 160.0),
        outline(&curve.current, most, 640.0, 160.0)
    )?;
    for tick in &ticks {
        write!(page, "<span>{tick}</span>")?;
    }
    page.push_str("</div>");
    let (reference, current) = curve.outside;
    if reference > 5e-4 || current > 5e-4 {
        write!(
            page,
            "<figcaption>Not drawn, because they lie far out: {} of the reference, {} of the current rows.</figcaption>",
            percent(reference),
            percent(current)
        )?;
    }
    page.push_str("</figure>\n");
    Ok(())
}

pub(super) fn write_bars(page: &mut String, feature: &Feature, bars: &[Bar]) -> std::fmt::Result {
    let most = bars.iter().map(|bar| bar.reference.max(bar.current)).fold(0.0, f64::max);
    write!(
        page,
        "<figure><div class=\"scroll\"><table aria-label=\"Distribution of {}\"><thead><tr><th scope=\"col\">value</th>\
         <th scope=\"col\" class=\"pair\">reference over current</th><th scope=\"col\" class=\"n\">reference</th>\
         <th scope=\"col\" class=\"n\">current</th></tr></thead><tbody>",
        escape(&feature.report.name)
    )?;
    for bar in bars {
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"pair\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&bar.label),
            pair(bar.reference, bar.current, most),
            percent(bar.reference),
            percent(bar.current)
        )?;
    }
    page.push_str("</tbody></table></div></figure>\n");
    Ok(())
}
