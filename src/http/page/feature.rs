//! One column of one window: both distributions, how it went over time, every number, and how the verdict came about.

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::charts::{self, Dot};
use super::layout::{PageError, Place, Tab, View, crumbs, scrolling, tabs};
use super::model::{name, standing};
use super::words::{self, encode, sentence};
use crate::drawing::{self, Shape, grouped, percent, rounded, short, short_p};
use crate::drift::{DriftReport, FeatureReport, Verdict};
use crate::http::{ApiError, AppState};
use crate::profile::{self, format_number};
use crate::store;
use crate::store::drift_series;
use crate::window::Window;

/// Windows of the line.
const WINDOWS: i64 = 120;

/// Columns times parts that are decoded for a finer drawing; beyond, the bins of the report are drawn.
const MAX_DECODED: usize = 60_000;

#[derive(Deserialize)]
pub(super) struct Wanted {
    name: String,
    /// The report; the newest when left out.
    window: Option<Uuid>,
}

/// The view of one column.
pub(super) async fn show(
    State(app): State<AppState>,
    Path(model): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<View, PageError> {
    let (model, now) = (name(&model)?, (app.now)());
    let standing = standing(&app, &model).await?;
    let column = wanted.name.as_str();
    let not_there = || ApiError::NotFound(format!("column `{column}` of model `{model}` in this window"));
    let report = wanted.window.or(standing.last.as_ref().map(|last| last.report)).ok_or_else(not_there)?;
    let found = store::drift_report::column(&app.db, report, column).await?;
    let (window, feature) = found.filter(|(found, _)| found.model == model).ok_or_else(not_there)?;
    let feature = feature.ok_or_else(not_there)?;
    let points = drift_series::of_column(&app.db, &model, column, WINDOWS).await?;
    let (shape, moments) = detail(&app, &window, &feature).await?;
    let dots: Vec<Dot> = points
        .iter()
        .map(|point| Dot {
            at: point.start,
            value: point.statistic.map(f64::from),
            verdict: point.verdict,
            here: point.report == report,
        })
        .collect();
    let place = points.iter().position(|point| point.report == report);
    let before = place.and_then(|place| place.checked_sub(1)).and_then(|place| points.get(place));
    let after = place.and_then(|place| points.get(place + 1));
    let statistic = feature.deciding.as_ref().map_or("psi", |deciding| deciding.statistic.as_str());
    let floor = feature.deciding.as_ref().map_or(window.criteria.psi_floor, |deciding| deciding.floor);
    let address = |report: Uuid| format!("/models/{model}/feature?name={}&window={report}", encode(column));
    let model_address = format!("/models/{model}");
    let body = html! {
        (crumbs(&[("/", "Models"), (&model_address, model.as_str())]))
        div.title {
            h1 { (column) }
            (words::verdict(feature.verdict))
            span.kind { (feature.kind.as_str()) ", " (feature.role.as_str()) }
        }
        (tabs(&model, Tab::Drift))
        p.lead { (sentence(&feature.reason)) }
        p { (changed(&feature, moments.as_ref())) }
        nav.steps aria-label="Windows" {
            @if let Some(before) = before { a rel="prev" href=(address(before.report)) { "← earlier" } }
            span { (words::window(window.window_start, window.window_end)) }
            @if let Some(after) = after { a rel="next" href=(address(after.report)) { "later →" } }
        }
        section {
            h2 { "Baseline and window over one another" }
            (charts::distribution(&shape, column, "this window"))
        }
        section {
            h2 { (statistic.to_uppercase()) " over time, against its floor" }
            (charts::history(&dots, floor, statistic))
        }
        div.two {
            section { h2 { "Both sides" } (sides(&feature, moments.as_ref())) }
            section { h2 { "Statistics" } (statistics(&feature)) }
        }
        section { h2 #bins { "Bins, and what each adds to PSI" } (bins(&feature)) }
        (explain(report, &window, &feature))
    };
    Ok(View { title: format!("{column} of {model}"), place: Place::Models, body, now })
}

/// Means, deviations and ends of both sides.
struct Moments {
    reference: [Option<f64>; 4],
    current: [Option<f64>; 4],
}

fn of_moments(moments: &crate::stats::Moments) -> [Option<f64>; 4] {
    let there = moments.count() > 0;
    let held = |value: f64| there.then_some(value);
    [held(moments.mean()), moments.deviation(), held(moments.min()), held(moments.max())]
}

/// What is drawn: from the cells of the window's parts where they are still there, from the report's bins otherwise.
async fn detail(
    app: &AppState,
    report: &DriftReport,
    feature: &FeatureReport,
) -> Result<(Shape, Option<Moments>), ApiError> {
    let of_bins = || {
        let bars = drawing::changes(feature).into_iter().map(|change| drawing::Bar {
            label: change.label,
            reference: change.reference,
            current: change.current,
        });
        (Shape::Bars(bars.filter(|bar| bar.reference + bar.current > 0.0).collect()), None)
    };
    let window = Window { start: report.window_start, end: report.window_end };
    let Some(baseline) = store::baseline::get(&app.db, &report.model, &report.baseline).await? else {
        return Ok(of_bins());
    };
    let Some(place) = baseline.columns().iter().position(|column| column.layout.name == feature.name) else {
        return Ok(of_bins());
    };
    let parts = store::profile_part::profiles(&app.db, &report.model, baseline.version(), window).await?;
    if parts.is_empty() || parts.len().saturating_mul(baseline.columns().len()) > MAX_DECODED {
        return Ok(of_bins());
    }
    let feature = feature.clone();
    let drawn = tokio::task::spawn_blocking(move || {
        let merged = profile::merge_stored(baseline.layout(), &parts).ok()?;
        let (column, current) = (baseline.columns().get(place)?, merged.columns().get(place)?);
        let moments =
            Moments { reference: of_moments(&column.profile.moments), current: of_moments(&current.moments) };
        Some((drawing::shape(&feature, column, current), Some(moments)))
    });
    let drawn = drawn.await.map_err(|error| ApiError::internal(&error))?;
    Ok(drawn.unwrap_or_else(of_bins))
}

/// What changed, for somebody who does not know the statistics.
fn changed(feature: &FeatureReport, moments: Option<&Moments>) -> Markup {
    let number = |value: f64| format_number(rounded(value));
    let means = moments.and_then(|moments| moments.reference[0].zip(moments.current[0]));
    let numeric = feature.kind == crate::model::FeatureKind::Numeric;
    let largest = drawing::largest_change(feature);
    let shares = [
        ("out_of_range_share", "lie outside of the range of the baseline"),
        ("unseen_share", "have a value that the baseline never had"),
        ("wrong_type_share", "have a value of another kind"),
    ];
    html! {
        @if let Some((before, now)) = means.filter(|_| numeric) {
            "The mean went from " b { (number(before)) } " to " b { (number(now)) }
            @if let Some(shift) = feature.statistics.get("mean_shift") {
                " (" (if *shift < 0.0 { "−" } else { "+" }) (short(shift.abs())) " standard deviations)"
            }
            ". "
        }
        @if let Some(change) = &largest {
            "What moved most is " b { (change.label) } ": " (percent(change.reference)) " of the rows before, "
            (percent(change.current)) " now. "
        } @else { "Hardly anything moved. " }
        @for (statistic, text) in shares {
            @if let Some(share) = feature.statistics.get(statistic).filter(|share| **share > 0.0) { (percent(*share)) " of the rows " (text) ". " }
        }
        @if !feature.unseen.is_empty() {
            "Never seen before: "
            @for (place, unseen) in feature.unseen.iter().take(5).enumerate() {
                @if place > 0 { ", " }
                b { (unseen.value) } " (" (grouped(unseen.rows)) ")"
            }
            "."
        }
    }
}

fn sides(feature: &FeatureReport, moments: Option<&Moments>) -> Markup {
    let numeric = feature.kind == crate::model::FeatureKind::Numeric;
    let cell =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format_number(rounded(value)));
    scrolling(
        "Rows and moments of both sides",
        &html! {
            table {
                thead { tr { th scope="col" { span.hidden { "what" } } th.n scope="col" { "baseline" } th.n scope="col" { "window" } } }
                tbody {
                    tr { th scope="row" { "rows with a value" } td.n { (grouped(feature.n_reference)) } td.n { (grouped(feature.n_current)) } }
                    tr { th scope="row" { "missing" } td.n { (grouped(feature.missing_reference)) } td.n { (grouped(feature.missing_current)) } }
                    @if let Some(moments) = moments.filter(|_| numeric) {
                        @for (place, name) in ["mean", "standard deviation", "least", "greatest"].into_iter().enumerate() {
                            tr { th scope="row" { (name) } td.n { (cell(moments.reference[place])) } td.n { (cell(moments.current[place])) } }
                        }
                    }
                }
            }
        },
    )
}

/// The statistics that people look for, in the order in which they do.
const STATISTICS: [(&str, &str); 14] = [
    ("psi", "PSI"),
    ("ks", "Kolmogorov–Smirnov"),
    ("chi2", "χ²"),
    ("js", "Jensen–Shannon distance"),
    ("hellinger", "Hellinger distance"),
    ("kl", "Kullback–Leibler"),
    ("tvd", "total variation"),
    ("linf", "largest difference of a bin"),
    ("wasserstein", "Wasserstein"),
    ("wasserstein_norm", "Wasserstein / standard deviation"),
    ("missing_delta", "more missing, share"),
    ("out_of_range_share", "out of range, share"),
    ("unseen_share", "unseen, share"),
    ("wrong_type_share", "of another kind, share"),
];

fn statistics(feature: &FeatureReport) -> Markup {
    scrolling(
        "Statistics of the column",
        &html! {
            table {
                thead { tr { th scope="col" { "statistic" } th.n scope="col" { "value" } th.n scope="col" { "p" } } }
                tbody {
                    @for (key, label) in STATISTICS {
                        @if let Some(value) = feature.statistics.get(key) {
                            tr {
                                th scope="row" { (label) }
                                td.n { (short(*value)) }
                                td.n { @if let Some(p) = feature.p_values.get(key) { (short_p(*p)) } }
                            }
                        }
                    }
                    @if let Some(p) = feature.p_adjusted {
                        tr { th scope="row" { b { "p that decides, adjusted" } } td.n {} td.n { b { (short_p(p)) } } }
                    }
                }
            }
        },
    )
}

fn bins(feature: &FeatureReport) -> Markup {
    let changes = drawing::changes(feature);
    let most = changes.iter().map(|change| change.reference.max(change.current)).fold(0.0, f64::max);
    let total: f64 = changes.iter().map(|change| change.psi).sum();
    let filled = changes.iter().filter(|change| change.reference + change.current > 0.0);
    scrolling(
        "Bins of the column",
        &html! {
            table.bars {
                thead { tr {
                    th scope="col" { "bin" } th.pair scope="col" { "baseline over window" } th.n scope="col" { "baseline p" }
                    th.n scope="col" { "window q" } th.n scope="col" { "(q − p) · ln(q / p)" }
                } }
                tbody {
                    @for change in filled {
                        tr {
                            th scope="row" { (change.label) }
                            td.pair { (maud::PreEscaped(drawing::pair(change.reference, change.current, most))) }
                            td.n { (percent(change.reference)) }
                            td.n { (percent(change.current)) }
                            td.n { @if total > 0.0 && change.psi > 0.25 * total { b { (short(change.psi)) } } @else { (short(change.psi)) } }
                        }
                    }
                }
                tfoot { tr { th scope="row" { "PSI, the sum" } td.pair {} td.n {} td.n {} td.n { b { (short(total)) } } } }
            }
        },
    )
}

/// The formula with the numbers in it, step by step.
fn explain(id: Uuid, report: &DriftReport, feature: &FeatureReport) -> Markup {
    let criteria = &report.criteria;
    let deciding = feature.deciding.as_ref();
    let yes = |holds: bool| {
        words::badge(
            if holds { words::Tone::Bad } else { words::Tone::Good },
            if holds { "yes" } else { "no" },
        )
    };
    html! {
        section.explain {
            details #explain open {
                summary { h2 { "Explain: how this verdict came about" } }
                ol {
                    li {
                        b { "Is there enough to say anything? " }
                        (grouped(report.rows)) " rows in the window, at least " (grouped(criteria.min_rows)) " are needed; "
                        (percent(report.losses.share())) " lost on the way, up to " (percent(criteria.loss_limit)) " is trusted."
                    }
                    @if let Some(deciding) = deciding {
                        li {
                            b { "Is the effect large enough to matter? " }
                            @if deciding.statistic == "psi" {
                                "PSI = Σ (q − p) · ln(q / p) over the " a href="#bins" { "bins" } ", where p is the share of the baseline and q that of the window: "
                            } @else {
                                "KS = the largest gap between the two cumulative distributions: "
                            }
                            (deciding.statistic.to_uppercase()) " = " b { (short(deciding.value)) } ", its floor is " (short(deciding.floor)) ": "
                            (yes(deciding.value >= deciding.floor))
                        }
                        li {
                            b { "Is it more than chance explains? " }
                            @if let Some(p) = feature.p_values.get(&deciding.statistic) { "p = " (short_p(*p)) ". " }
                            @match &feature.natural_variation {
                                Some(variation) => {
                                    "The baseline's own blocks differ from one another by " (short(variation.between)) " in the mean, learned from "
                                    (short(variation.effective_blocks)) " blocks, and p takes that into account. "
                                }
                                None => "The baseline knows no natural variation, so rows count as independent. ",
                            }
                            @if let Some(p) = feature.p_adjusted {
                                "Adjusted for all columns (" (criteria.correction.as_str().replace('_', "–")) ") it is " b { (short_p(p)) }
                                ", the budget is α = " (short(criteria.alpha)) ": " (yes(p <= criteria.alpha))
                            }
                        }
                    }
                    li {
                        b { "So the verdict is " } (words::verdict(feature.verdict)) ". "
                        @if feature.verdict == Verdict::Ok { "Drift needs a yes to both." } @else { (sentence(&feature.reason)) }
                        @if let Some(slots) = &feature.slots { " Compared with " (slots) "." }
                    }
                }
                p { "Every number again, from what is stored: " code.command tabindex="0" { "driftline drift explain " (id) } }
            }
        }
    }
}
