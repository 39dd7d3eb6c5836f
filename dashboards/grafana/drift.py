"""What drifted, and since when? One model, its columns over time, and the evidence."""

from panels import (annotation, dashboard, dashed, heat, label_values, lines, mappings, override, panel, prom, row, sql, stat,
                    steps, table, timeline, verdict_cells, VERDICTS)

M = '{model="$model"}'
MF = '{model="$model", feature=~"$feature"}'
NEWEST = "(select id from dashboard.report where model = '${model}' order by window_start desc limit 1)"


def made():
    return dashboard(
        "driftline-drift", "driftline: what drifted, and since when?",
        "The columns of one model: effect as a multiple of its threshold, verdicts, statistics, and the bins behind them.",
        [label_values("model", "Model", "label_values(driftline_predictions_seen_total, model)", many=False, every=False),
         label_values("feature", "Column", 'label_values(driftline_drift_verdict{model="$model"}, feature)',
                      description="an output is output:NAME; (other) is the worst of all columns past metrics.features"),
         label_values("statistic", "Statistic", 'label_values(driftline_drift_statistic{model="$model"}, statistic)',
                      many=False, every=False)],
        [
            stat("Verdict", "On the newest window.", prom(f"max(driftline_window_verdict{M})", instant=True), w=4,
                 mappings=mappings(VERDICTS), empty="no window judged"),
            stat("Drifted columns", "Of the newest window.",
                 prom('max(driftline_drift_columns{model="$model", verdict="drift"})', instant=True), w=4,
                 thresholds=steps("green", (1, "red")), empty="no window judged"),
            stat("Strongest effect", "The largest deciding statistic as a multiple of its threshold. From 1 on it is large enough "
                 "to be called drift, if it is significant too.",
                 prom(f"max(driftline_drift_statistic{M} / on (model, instance, feature, statistic) driftline_drift_threshold{M})",
                      instant=True), w=4, decimals=2, thresholds=steps("green", (1, "orange")), empty="no window judged"),
            stat("Rows", "Of the newest window.", prom(f"max(driftline_window_rows{M})", instant=True), w=4,
                 empty="no window judged"),
            stat("Not recorded", "Share of the answered predictions of the newest window that the profile lacks.",
                 prom(f"max(driftline_window_loss_ratio{M})", instant=True), w=4, unit="percentunit", decimals=2,
                 thresholds=steps("green", (0.02, "orange"), (0.05, "red")), empty="no window judged"),
            stat("Columns shown as one", "Columns past `metrics.features`; the worst of them is the column (other).",
                 prom(f"max(driftline_drift_hidden_columns{M})", instant=True), w=4, empty="no window judged"),
            heat("Effect of each column", "The deciding statistic as a multiple of its threshold, the newest window at each time. "
                 "Orange: large enough to matter; whether it is drift also takes significance, which is the next panel.",
                 prom(f"max by (feature) (driftline_drift_statistic{MF} / on (model, instance, feature, statistic) "
                      f"driftline_drift_threshold{MF})", "{{feature}}"), w=24, h=10, decimals=2,
                 thresholds=steps("green", (0.5, "yellow"), (1, "orange"), (2, "red")), empty="no window judged"),
            timeline("Verdict of each column", "Drift needs both: significance at the false-alarm budget, and an effect over the "
                     "threshold.", prom(f"max by (feature) (driftline_drift_verdict{MF})", "{{feature}}"), w=24, h=9,
                     empty="no window judged"),
            table("Drifted columns, and since when", "Of the newest window: the first of the windows in a row in which the column "
                  "drifted.",
                  sql(f"""with f as (select feature, window_start, window_end, verdict, reason, psi, p_adjusted, value, floor, report
                            from dashboard.feature where model = '${{model}}'),
                          calm as (select feature, max(window_start) as last from f where verdict <> 'drift' group by feature)
                          select n.feature, min(d.window_start) as since, count(*) as windows, n.value / nullif(n.floor, 0) as effect,
                                 n.psi, n.p_adjusted, n.reason
                          from f n
                          left join calm on calm.feature = n.feature
                          join f d on d.feature = n.feature and d.verdict = 'drift' and d.window_start > coalesce(calm.last, '-infinity')
                          where n.report = {NEWEST} and n.verdict = 'drift'
                          group by n.feature, n.value, n.floor, n.psi, n.p_adjusted, n.reason order by effect desc nulls last limit 100"""),
                  h=8, overrides=[override("effect", decimals=2), override("psi", decimals=3),
                                  override("p_adjusted", unit="sci", decimals=1)],
                  empty="no column drifts in the newest window"),
            row("Statistics against their thresholds"),
            lines("PSI", "Population Stability Index; the dashed line is the effect that it has to reach.",
                  prom('max by (feature) (driftline_drift_statistic{model="$model", feature=~"$feature", statistic="psi"})', "{{feature}}"),
                  prom('max(driftline_drift_threshold{model="$model", statistic="psi"})', "threshold"), min=0, decimals=2,
                  overrides=[dashed("threshold")], h=9, empty="no window judged"),
            lines("p-values", "Adjusted for the number of columns; under the dashed line a difference is significant. Axis is "
                  "logarithmic.",
                  prom(f"max by (feature) (clamp_min(driftline_drift_p_value{MF}, 1e-12))", "{{feature}}"),
                  prom(f"max(driftline_drift_alpha{M})", "alpha"), log=True, unit="sci", decimals=1, max=1,
                  overrides=[dashed("alpha")], h=9, empty="no window judged"),
            lines("$statistic", "The statistic chosen above.",
                  prom('max by (feature) (driftline_drift_statistic{model="$model", feature=~"$feature", statistic="$statistic"})',
                       "{{feature}}"), decimals=3, h=9, empty="the statistic does not apply to these columns"),
            lines("Rows per window", "Under `min_rows` a window says nothing.",
                  prom(f"max(driftline_window_rows{M})", "rows"), min=0, h=9, draw="bars", empty="no window judged"),
            row("Beside drift"),
            timeline("Segments", "The verdict on each value of the model's `segments`.",
                     prom(f"max by (segment) (driftline_segment_verdict{M})", "{{segment}}"), empty="the model has no segments"),
            lines("Expectations violated", "Checks that the newest window violated, by kind.",
                  prom(f"sum by (check) (max by (check) (driftline_expectation_violations{M})) > 0", "{{check}}"), decimals=0, min=0,
                  draw="bars", stacked=True, empty="nothing is violated, or nothing expected"),
            lines("Columns other than expected", "New, gone, renamed, of another kind or another width.",
                  prom(f"max by (change) (driftline_schema_changes{M}) > 0", "{{change}}"), decimals=0, min=0, draw="bars",
                  stacked=True, empty="all columns are as expected"),
            table("Segments that drifted", "In the windows of this time.",
                  sql("""select window_end, segment, verdict, row_count as rows, reason from dashboard.segment
                         where model = '${model}' and verdict = 'drift' and $__timeFilter(window_end)
                         order by window_end desc limit 100"""), w=12, overrides=[verdict_cells()], empty="no segment drifted"),
            row("Evidence"),
            panel("barchart", "Bins of the newest window", "Share of the rows per bin, beside the baseline's, of the first chosen "
                  "column.",
                  sql(f"""select b ->> 'label' as bin,
                                 (b ->> 'reference')::float / nullif(sum((b ->> 'reference')::float) over (), 0) as baseline,
                                 (b ->> 'current')::float / nullif(sum((b ->> 'current')::float) over (), 0) as window
                          from (select bins from dashboard.feature
                                where report = {NEWEST} and feature in (${{feature:sqlstring}})
                                order by value / nullif(floor, 0) desc nulls last limit 1) f
                          cross join lateral jsonb_array_elements(f.bins) with ordinality as e (b, position) order by position"""),
                  w=24, h=9, unit="percentunit", empty="no window judged",
                  options={"xField": "bin", "orientation": "auto", "showValue": "never", "stacking": "none", "groupWidth": 0.8,
                           "barWidth": 0.95, "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                           "tooltip": {"mode": "multi", "sort": "none"}, "xTickLabelRotation": -30, "xTickLabelSpacing": 40}),
            table("Columns of the newest window", "Every column, the largest effect first.",
                  sql(f"""select feature, verdict, value / nullif(floor, 0) as effect, psi, ks, mean_shift, p_adjusted, row_count as rows, missing,
                                 reason from dashboard.feature where report = {NEWEST}
                          order by effect desc nulls last limit 1000"""), h=10,
                  overrides=[verdict_cells(), override("effect", decimals=2), override("psi", decimals=3), override("ks", decimals=3),
                             override("mean_shift", decimals=3), override("p_adjusted", unit="sci", decimals=1)],
                  empty="no window judged"),
            table("Changes of alerts", "What began and ended in this time, with the sentence it was told with.",
                  sql("""select created_at as time, rule, subject, from_state as "from", to_state as "to", at as event_time, summary
                         from dashboard.alert_change where model = '${model}' and $__timeFilter(created_at)
                         order by created_at desc limit 200"""), h=8, empty="no alert changed in this time"),
            table("Baselines", "What windows are compared with; the active one is used for new rows.",
                  sql("""select created_at as time, version, active, row_count as rows, source from dashboard.baseline
                         where model = '${model}' order by created_at desc limit 50"""), h=6,
                  empty="no baseline: `driftline baseline build DATA -m MODEL` makes one"),
        ],
        [annotation("Alerts", "red", """select created_at as time, coalesce(summary, rule || ' ' || subject) as text, rule as tags
                                        from dashboard.alert_change
                                        where model = '${model}' and to_state = 'firing' and $__timeFilter(created_at)"""),
         annotation("Baselines", "blue", """select created_at as time, 'baseline ' || version as text, 'baseline' as tags
                                            from dashboard.baseline where model = '${model}' and $__timeFilter(created_at)"""),
         annotation("Deployments", "green", """select promoted_at as time, 'version ' || version || ' (' || kind || ') in production' as text,
                                                 'deployment' as tags from dashboard.version
                                               where model = '${model}' and promoted_at is not null and $__timeFilter(promoted_at)""")],
        page_path="/models/${model}",
    )
