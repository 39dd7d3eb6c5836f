"""How did retraining go? The queue, the run under way, what the gate decided, and the registry."""

from panels import annotation, dashboard, from_sql, label_values, lines, override, panel, prom, row, sql, stat, steps, table

M = '{model="$model"}'
STATES = {"succeeded": "green", "rejected": "orange", "failed": "red", "cancelled": "purple", "running": "blue"}


def state_cells(name="state"):
    options = {state: {"text": state, "color": colour, "index": i} for i, (state, colour) in enumerate(STATES.items())}
    return override(name, mappings=[{"type": "value", "options": options}], custom__cellOptions={"type": "color-text"},
                    custom__width=130)


def curve(title, description, where, empty):
    """A value per epoch, one series per candidate and part of the data."""
    return panel("trend", title, description,
                 sql(f"""select epoch, max(value) filter (where split = 'train') as train,
                                max(value) filter (where split = 'validation') as validation
                         from dashboard.run_metric m where run = ${{run:sqlstring}}::uuid and {where}
                           and attempt = (select max(attempt) from dashboard.run_metric where run = m.run)
                         group by epoch order by epoch"""),
                 h=9, decimals=4, empty=empty, custom={"drawStyle": "line", "lineWidth": 2, "showPoints": "auto", "spanNulls": True},
                 options={"xField": "epoch", "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["min"]},
                          "tooltip": {"mode": "multi", "sort": "none"}})


def made():
    return dashboard(
        "driftline-training", "driftline: how did retraining go?",
        "Runs from request to registry: why they were asked for, how they trained, what the gate decided, what serves now.",
        [label_values("model", "Model", "label_values(driftline_predictions_seen_total, model)", many=False, every=False),
         from_sql("run", "Run", """select id::text as __value, to_char(created_at, 'YYYY-MM-DD HH24:MI') || ' ' || state as __text
                                   from dashboard.run where model = '${model}' order by created_at desc limit 50""",
                  "the newest first")],
        [
            stat("In production", "Number of the registered version.", prom(f"max(driftline_model_version{M})", instant=True),
                 empty="no version registered"),
            stat("For", "How long it has been in production.",
                 prom(f"time() - max(driftline_model_promoted_timestamp_seconds{M})", instant=True), unit="s", decimals=0,
                 empty="no version registered"),
            stat("Under way", "Runs that have not ended.", prom(f"sum(max by (state) (driftline_training_open_runs{M})) or vector(0)", instant=True)),
            stat("Waits for a worker", "The oldest queued run.", prom(f"max(driftline_training_queue_oldest_seconds{M})", instant=True),
                 unit="s", decimals=0, thresholds=steps("green", (600, "orange"), (3600, "red"))),
            stat("Last run took", "From its first claim to its end.",
                 prom(f"max(driftline_training_last_duration_seconds{M})", instant=True), unit="s", decimals=1, empty="no run has ended"),
            stat("Labelled", "Share of the kept rows that have a label; without labels there is nothing to train on.",
                 prom(f"max(driftline_label_coverage_ratio{M})", instant=True), unit="percentunit", decimals=1,
                 empty="no row is kept"),
            row("The newest run that a worker has begun"),
            stat("Epoch", "Done, of the most there will be; it stops earlier when validation no longer gains.",
                 prom(f"max(driftline_training_epoch{M})", "done", instant=True),
                 prom(f"max(driftline_training_epoch_limit{M})", "at most", instant=True), w=6, h=5, empty="no deep model was trained"),
            stat("Rows per second", "Of the training loop.", prom(f"max(driftline_training_rows_per_second{M})", instant=True), w=6, h=5,
                 unit="rowsps", decimals=0, empty="no deep model was trained"),
            stat("At most so long", "Until the last epoch; 0 when the run has ended.",
                 prom(f"max(driftline_training_eta_seconds{M})", instant=True), w=6, h=5, unit="s", empty="no deep model was trained"),
            stat("Last loss", "Of the last epoch.", prom(f"max by (split) (driftline_training_loss{M})", "{{split}}", instant=True), w=6,
                 h=5, decimals=4, empty="no deep model was trained"),
            lines("Loss, as it came", "As Prometheus saw it; short runs leave few points, the curve below has all.",
                  prom(f"max by (split) (driftline_training_loss{M})", "{{split}}"), decimals=4, empty="no deep model was trained"),
            lines("Runs under way", "By where they stand; `suggested` and `awaiting_approval` wait for a person.",
                  prom(f"max by (state) (driftline_training_open_runs{M})", "{{state}}"), decimals=0, min=0, stacked=True, fill=40,
                  empty="no run is under way"),
            row("Runs"),
            lines("Runs that ended", "Within a day before each time.",
                  prom(f"sum by (state) (max by (state) (increase(driftline_training_runs_total{M}[1d])))", "{{state}}"), decimals=0, min=0,
                  draw="bars", stacked=True, empty="no run has ended"),
            lines("Versions in production", "Each step is a deployment.",
                  prom(f"max by (kind) (driftline_model_version{M})", "{{kind}}"), decimals=0, min=0, empty="no version registered"),
            table("Runs", "Why each was asked for, and how it ended. `retrain show RUN` has the rest.",
                  sql("""select created_at as asked, state, reason_kind as by, reason, outcome, version, attempt, worker,
                                extract(epoch from coalesce(finished_at, now()) - started_at)::float as took, id as run
                         from dashboard.run where model = '${model}' and $__timeFilter(created_at) order by created_at desc limit 100"""),
                  h=9, overrides=[state_cells(), override("took", unit="s", decimals=1), override("run", custom__width=120)],
                  empty="no run was asked for in this time"),
            row("The chosen run"),
            curve("Loss by epoch", "Mean loss of the deep model on the training and the validation part.",
                  "name = 'loss' and epoch >= 0", "the run trained no deep model"),
            table("On the held-out rows", "Every candidate on the same newest rows; the gate compares these.",
                  sql("""select candidate, split, name as metric, value from dashboard.run_metric m
                         where run = ${run:sqlstring}::uuid and epoch = -1
                           and attempt = (select max(attempt) from dashboard.run_metric where run = m.run)
                         order by split, name, candidate"""), w=12, h=9, overrides=[override("value", decimals=4)],
                  empty="the run has not evaluated yet"),
            table("Log", "What the run told.",
                  sql("""select at as time, level, message from dashboard.run_log where run = ${run:sqlstring}::uuid
                         order by seq desc limit 500"""), h=9, overrides=[override("level", custom__width=80), override("time", custom__width=190)],
                  empty="the run has told nothing yet"),
            row("Registry"),
            table("Versions", "Each with the run that made it, the baseline that goes with it, and why.",
                  sql("""select version, state, kind, created_at as registered, promoted_at as promoted, parent, baseline, snapshot_rows as rows,
                                reason, run from dashboard.version where model = '${model}' order by version desc limit 100"""),
                  h=8, overrides=[override("version", decimals=0, custom__width=80), override("parent", decimals=0, custom__width=80)],
                  empty="no version registered"),
        ],
        [annotation("Deployments", "green", """select promoted_at as time, 'version ' || version || ' (' || kind || ') in production' as text,
                                                 'deployment' as tags from dashboard.version
                                               where model = '${model}' and promoted_at is not null and $__timeFilter(promoted_at)"""),
         annotation("Runs", "purple", """select started_at as time, finished_at as timeend, state || ': ' || coalesce(outcome, reason) as text,
                                           'run' as tags from dashboard.run
                                         where model = '${model}' and started_at is not null and $__timeFilter(started_at)""")],
        page_path="/models/${model}/runs",
    )
