"""Names of the files that a report reads and writes, relative to the run folder."""

from __future__ import annotations

from pathlib import Path

AUDIT_FILE = Path("audit") / "audit.json"
BEST_FILE = Path("search") / "best.json"
CONFIG_FILE = Path("config.yaml")
FINISHED_FILE = Path("finished.json")
FRONT_FILE = Path("search") / "front.json"
HISTORY_FILE = Path("search") / "history.jsonl"
METRICS_FILE = Path("metrics.csv")
PHASES_FOLDER = Path("phases")
RESULT_FILE = Path("search") / "result.json"
SETTINGS_FILE = Path("search") / "settings.json"
SUPERNET_FILE = Path("supernet.ckpt")
TIMING_FILE = Path("timing.json")

REPORT_FILE = Path("report.html")
PICTURES_FOLDER = Path("report")
