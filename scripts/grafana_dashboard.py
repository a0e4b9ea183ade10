"""Writes deploy/grafana.json, the dashboard of a service: `python scripts/grafana_dashboard.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

FILE = Path(__file__).parent.parent / "deploy/grafana.json"

_P99: Final = (
    "histogram_quantile(0.99, sum by (le, route) (rate(headwater_request_seconds_bucket[5m])))"
)
_STAGES: Final = (
    "sum by (stage) (rate(headwater_stage_seconds_sum[5m])) / on () group_left "
    "sum(rate(headwater_request_seconds_count[5m]))"
)
_STALE: Final = (
    "sum by (view) (rate(headwater_view_stale_reads_total[1h])) / sum by (view) "
    "(rate(headwater_view_reads_total[1h]))"
)
_BURN: Final = f"{_STALE} / on (view) (1 - max by (view) (headwater_view_slo))"
_COMMITS: Final = (
    "histogram_quantile(0.99, sum by (le, source) (rate(headwater_commit_seconds_bucket[5m])))"
)

# row of the dashboard -> (title, unit of Grafana, [(expression, legend), ...]) of each panel
PANELS: Final = {
    "Is it fresh?": [
        ("Age of what can be read", "s", [(("time() - "
            "headwater_known_timestamp_seconds"), "{{source}}")]),
        ("Burn rate of the freshness objective, 1 h", "none", [(_BURN, "{{view}}")]),
        ("Records not read yet", "short", [("sum by (source) (headwater_lag)", "{{source}}")]),
        ("Time since the last success of a job", "s", [(("time() - "
            "headwater_job_last_success_timestamp_seconds"), "{{job}}")]),
    ],
    "Is it correct?": [
        (
            "Records refused, or unexpected, a minute",
            "short",
            [
                ("sum by (source) (rate(headwater_dead_total[5m])) * 60", "{{source}}, refused"),
                (("sum by (source) (rate(headwater_unexpected_total[5m])) * "
                    "60"), "{{source}}, unexpected"),
            ],
        ),
        (
            "Share of features by status",
            "percentunit",
            [(("sum by (status) (rate(headwater_feature_status_total[5m])) / on () group_left "
                "sum(rate(headwater_feature_status_total[5m]))"), "{{status}}")],
        ),
        (
            "Events late or held, a minute",
            "short",
            [
                ("sum by (source) (rate(headwater_late_total[5m])) * 60", "{{source}}, late"),
                ("sum by (source) (rate(headwater_held_total[5m])) * 60", "{{source}}, held"),
            ],
        ),
        (
            "Distance from training beyond chance (PSI)",
            "none",
            [(("topk(8, headwater_feature_psi - "
                "headwater_feature_psi_limit)"), "{{model}} {{feature}}")],
        ),
    ],
    "Is it fast?": [
        ("Requests a second", "reqps", [(("sum by (route, status) "
            "(rate(headwater_requests_total[5m]))"), "{{route}} {{status}}")]),
        ("Response time, p99", "s", [(_P99, "{{route}}")]),
        ("Where the time of a request goes", "s", [(_STAGES, "{{stage}}")]),
        ("Time of a commit, p99", "s", [(_COMMITS, "{{source}}")]),
    ],
    "Is it worth it?": [
        (
            "Promised and delivered metric",
            "none",
            [("headwater_promised_metric", "{{model}} promised"), ("headwater_delivered_metric", "{{model}} delivered")],
        ),
        ("Predictions by how they were made", "reqps", [(("sum by (how) "
            "(rate(headwater_predictions_total[5m]))"), "{{how}}")]),
    ],
    "Processes": [
        ("Deaths", "short", [(("sum by (process) "
            "(increase(headwater_process_deaths_total[1h]))"), "{{process}}")]),
        ("Entries of the serving log", "short", [(("sum by (outcome) "
            "(rate(headwater_served_log_entries_total[5m]))"), "{{outcome}}")]),
    ],
}  # fmt: skip


def dashboard() -> dict[str, object]:
    """The dashboard as Grafana imports it: a row for each question, panels side by side."""
    panels: list[dict[str, object]] = []
    top = 0
    for row, charts in PANELS.items():
        panels.append(
            {
                "type": "row",
                "title": row,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": 24, "x": 0, "y": top},
            }
        )
        width = 24 // len(charts)
        for place, (title, unit, queries) in enumerate(charts):
            panels.append(
                {
                    "type": "timeseries",
                    "title": title,
                    "datasource": {"type": "prometheus", "uid": "${source}"},
                    "gridPos": {"h": 8, "w": width, "x": place * width, "y": top + 1},
                    "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                    "targets": [
                        {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend}
                        for n, (expr, legend) in enumerate(queries)
                    ],
                }
            )
        top += 9
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "headwater",
        "uid": "headwater",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [source]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, 1)],
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"wrote {FILE.name}\n")
