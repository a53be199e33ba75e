"""The files of a run folder: their names, relative to it. This is the one list of them.

supernet.ckpt | network.ckpt   what training goes on from
config.yaml, finished.json     which run this is, and that nothing is left to do
search/                        history, settings, measurements, best, front, result, shrinks,
                               transformations
original/                      the pretrained network that a training began with
best/ | model/                 the network that was found, or trained alone
models/<name>/                 the networks that a shrinking chose, repaired, by budget; what a
                               transformation made of several architectures, by their digests
policy/                        what a transformation has learned
elastic/                       weights, calibration and front for every budget
audit/                         networks trained alone beside their inherited scores
phases/<name>/                 run folders of phases
evaluation/                    how good the network is, in figures and pictures
report.html, report/           what `vitsearch.report` makes of all this
"""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE = Path("config.yaml")
FINISHED_FILE = Path("finished.json")
LOCK_FILE = Path(".lock")
HYPERPARAMETERS_FILE = Path("hparams.yaml")
METRICS_FILE = Path("metrics.csv")
NETWORK_FILE = Path("network.ckpt")
SUPERNET_FILE = Path("supernet.ckpt")
TIMING_FILE = Path("timing.json")

BEST_FILE = Path("search") / "best.json"
FINALISTS_FILE = Path("search") / "finalists.json"
FRONT_FILE = Path("search") / "front.json"
HISTORY_FILE = Path("search") / "history.jsonl"
MEASURED_FILE = Path("search") / "measured.json"
RESULT_FILE = Path("search") / "result.json"
SETTINGS_FILE = Path("search") / "settings.json"
SHRINK_FILE = Path("search") / "shrink.json"
SHRINKS_FILE = Path("search") / "shrinks.json"
START_FILE = Path("search") / "start.json"
TRANSFORMED_FILE = Path("search") / "transformed.json"

AUDIT_FILE = Path("audit") / "audit.json"
TRAININGS_FILE = Path("audit") / "trainings.jsonl"

EVALUATION_FILE = Path("evaluation") / "evaluation.json"

NETWORK_RESULT_FILE = Path("result.json")
REPORT_FILE = Path("report.html")

BEST_FOLDER = Path("best")
ELASTIC_FOLDER = Path("elastic")
MODEL_FOLDER = Path("model")
MODELS_FOLDER = Path("models")
ORIGINAL_FOLDER = Path("original")
PHASES_FOLDER = Path("phases")
PICTURES_FOLDER = Path("report")
POLICY_FOLDER = Path("policy")

WRITTEN = (
    CONFIG_FILE,
    FINISHED_FILE,
    HYPERPARAMETERS_FILE,
    METRICS_FILE,
    NETWORK_FILE,
    SUPERNET_FILE,
    TIMING_FILE,
    BEST_FILE,
    FINALISTS_FILE,
    FRONT_FILE,
    HISTORY_FILE,
    MEASURED_FILE,
    RESULT_FILE,
    SETTINGS_FILE,
    SHRINK_FILE,
    SHRINKS_FILE,
    START_FILE,
    TRANSFORMED_FILE,
    AUDIT_FILE,
    TRAININGS_FILE,
    NETWORK_RESULT_FILE,
    REPORT_FILE,
    BEST_FOLDER,
    ELASTIC_FOLDER,
    MODEL_FOLDER,
    ORIGINAL_FOLDER,
    PICTURES_FOLDER,
    POLICY_FOLDER,
)
"""All that a run writes, most of it under a temporary name first, which a kill can leave behind."""


def run_of_model(folder: Path) -> Path | None:
    """The run folder that a model folder lies in: in it, or in its `models`; `None` elsewhere."""
    above = folder.absolute().parent
    for place in (above, above.parent) if above.name == MODELS_FOLDER.name else (above,):
        if (place / CONFIG_FILE).is_file():
            return place
    return None
