"""Is the model healthy? All models on one page, the worst first."""

from panels import (TRAFFIC_VERDICTS, annotation, dashboard, label_values, lines, override, prom, row, sql, stat, steps,
                    table, timeline, verdict_cells)

M = '{model=~"$model"}'
LINK = [{"title": "What drifted, and since when?", "url": "/d/driftline-drift?var-model=${__data.fields.model}&${__url_time_range}"},
        {"title": "How did retraining go?", "url": "/d/driftline-training?var-model=${__data.fields.model}&${__url_time_range}"}]


def made():
    return dashboard(
        "driftline-models", "driftline: is the model healthy?",
        "Every watched model at a glance: verdict, alerts, traffic, labels and the version in production.",
        [label_values("model", "Model", "label_values(driftline_predictions_seen_total, model)")],
        [
            stat("Models watched", "Models of the settings of all sidecars.",
                 prom(f"count(max by (model) (driftline_predictions_seen_total{M}))", instant=True),
                 empty="no sidecar is scraped"),
            stat("With drift", "Models whose newest window drifted.",
                 prom(f"sum(max by (model) (driftline_window_verdict{M}) == bool 1)", instant=True),
                 thresholds=steps("green", (1, "red")), empty="no window judged"),
            stat("Alerts firing", "Alerts that fire now, driftline's own among them.",
                 prom('sum(max by (model, rule) (driftline_alerts{state="firing", model=~"$model|driftline"})) or vector(0)',
                      instant=True), thresholds=steps("green", (1, "red"))),
            stat("Not recorded", "Share of the answered predictions that the profile lacks, in the worst model; above its limit a "
                 "window is untrusted.", prom(f"max(driftline_window_loss_ratio{M})", instant=True), unit="percentunit",
                 decimals=2, thresholds=steps("green", (0.02, "orange"), (0.05, "red")), empty="no window judged"),
            stat("Training now", "Runs that a worker has.",
                 prom('sum(max by (model) (driftline_training_open_runs{state="running", model=~"$model"})) or vector(0)',
                      instant=True)),
            stat("Oldest verdict", "How long ago the newest window ended, in the model that waits longest. It grows to a "
                 "window's length and starts anew.",
                 prom(f"time() - min(max by (model) (driftline_window_end_timestamp_seconds{M}))", instant=True), unit="s",
                 decimals=0, empty="no window judged"),
            table("Models", "The newest window of each model. A row leads to what drifted and to its retraining.",
                  *[prom(expr, table=True) for expr in (
                      f"max by (model) (driftline_window_verdict{M})",
                      f'max by (model) (driftline_drift_columns{{verdict="drift", model=~"$model"}})',
                      f'sum by (model) (max by (model, rule) (driftline_alerts{{state="firing", model=~"$model"}}))',
                      f"sum by (model) (rate(driftline_predictions_seen_total{M}[$__rate_interval]))",
                      f"max by (model) (driftline_window_loss_ratio{M})",
                      f"max by (model) (driftline_traffic_verdict{M})",
                      f"max by (model) (driftline_model_version{M})",
                      f"max by (model) (driftline_label_coverage_ratio{M})",
                      f"time() - max by (model) (driftline_window_end_timestamp_seconds{M})",
                  )], h=9,
                  transformations=[
                      {"id": "merge", "options": {}},
                      {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {
                          "Value #A": "verdict", "Value #B": "drifted", "Value #C": "firing", "Value #D": "predictions",
                          "Value #E": "not recorded", "Value #F": "traffic", "Value #G": "version",
                          "Value #H": "labelled", "Value #I": "last window"}}},
                      {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "drifted", "desc": True}]}}],
                  overrides=[
                      verdict_cells(), verdict_cells("traffic", TRAFFIC_VERDICTS),
                      override("model", links=LINK, custom__minWidth=160),
                      override("predictions", unit="reqps", decimals=1), override("not recorded", unit="percentunit", decimals=2),
                      override("labelled", unit="percentunit", decimals=1), override("last window", unit="s", decimals=0),
                      override("drifted", decimals=0), override("version", decimals=0),
                      override("firing", thresholds=steps("text", (1, "red")), custom__cellOptions={"type": "color-text"})],
                  empty="no model is watched: see `driftline check`"),
            row("Over time"),
            timeline("Verdict", "What the newest window of each model was found to be.",
                     prom(f"max by (model) (driftline_window_verdict{M})", "{{model}}"), w=24, h=7,
                     empty="no window judged: is there a baseline?"),
            lines("Drifted columns", "Columns of the newest window that drifted; which ones is on the next dashboard.",
                  prom('max by (model) (driftline_drift_columns{verdict="drift", model=~"$model"})', "{{model}}"), decimals=0,
                  min=0, empty="no window judged"),
            lines("Alerts firing", "By model and rule; `driftline` are alerts about the watch itself.",
                  prom('sum by (model, rule) (max by (model, rule) (driftline_alerts{state="firing", model=~"$model|driftline"}))',
                       "{{model}} {{rule}}"), decimals=0, min=0, stacked=True, fill=40, empty="nothing fires"),
            lines("Predictions", "Exchanges recognised as predictions of the model.",
                  prom(f"sum by (model) (rate(driftline_predictions_seen_total{M}[$__rate_interval]))", "{{model}}"),
                  unit="reqps", min=0, empty="no prediction yet"),
            lines("Answers that are errors", "Share of the answers with a status of 400 or more, 499 where the client left.",
                  prom('sum by (model) (rate(driftline_prediction_answers_total{code=~"[45]..", model=~"$model"}[$__rate_interval]))'
                       " / sum by (model) (rate(driftline_prediction_answers_total{model=~\"$model\"}[$__rate_interval]))"
                       " or 0 * sum by (model) (rate(driftline_prediction_answers_total{model=~\"$model\"}[$__rate_interval]))",
                       "{{model}}"), unit="percentunit", min=0, empty="no answer yet"),
            lines("Latency of the model server", "99 of 100 answers begin within this time; windows are judged against earlier ones.",
                  prom(f"histogram_quantile(0.99, sum by (le, model) (rate(driftline_upstream_duration_seconds_bucket{M}[$__rate_interval])))",
                       "{{model}}"), unit="s", min=0, empty="no answer yet"),
            timeline("Traffic as it is judged", "Times, errors and sizes of the newest window beside earlier windows; `unknown` until "
                     "there are some.", prom(f"max by (model) (driftline_traffic_verdict{M})", "{{model}}"), words=TRAFFIC_VERDICTS,
                     empty="the tap saw no traffic"),
            lines("Labelled", "Share of the kept rows that have a label.",
                  prom(f"max by (model) (driftline_label_coverage_ratio{M})", "{{model}}"), unit="percentunit", min=0, max=1,
                  empty="no model keeps rows for labels"),
            lines("Time to a label", "Half of the labels, and 95 of 100, came within this time after their predictions.",
                  prom(f"max by (model, share) (driftline_label_delay_seconds{M})", "{{model}} {{share}}"), unit="s", min=0,
                  empty="no label yet"),
            row("Evidence"),
            table("Alerts that have not ended", "From the database; `driftline alerts show ID` has an alert's life.",
                  sql("""select a.model, a.rule, a.subject, a.state, a.severity, c.created_at as changed, a.summary
                         from dashboard.alert a
                         left join lateral (select max(created_at) as created_at from dashboard.alert_change c
                           where c.fingerprint = a.fingerprint) c on true
                         where a.state in ('pending', 'firing') and (a.model in (${model:sqlstring}) or a.model = 'driftline')
                         order by a.state, c.created_at desc limit 200"""), h=8,
                  overrides=[override("model", links=LINK)], empty="no alert is pending or firing"),
            table("Newest windows", "The verdict on each window, and why.",
                  sql("""select window_end, model, verdict, drifted, columns, row_count as rows, reason, baseline
                         from dashboard.report where model in (${model:sqlstring}) and $__timeFilter(window_end)
                         order by window_end desc limit 200"""), h=10,
                  overrides=[verdict_cells(), override("model", links=LINK)], empty="no window judged in this time"),
        ],
        [annotation("Alerts", "red", """select created_at as time, model || ': ' || coalesce(summary, rule) as text, rule as tags
                                        from dashboard.alert_change
                                        where to_state = 'firing' and model in (${model:sqlstring}) and $__timeFilter(created_at)"""),
         annotation("Deployments", "green", """select promoted_at as time, model || ' version ' || version || ' (' || kind || ') in production'
                                                 as text, 'deployment' as tags from dashboard.version
                                               where promoted_at is not null and model in (${model:sqlstring})
                                                 and $__timeFilter(promoted_at)""")],
    )
