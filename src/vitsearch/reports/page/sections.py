"""What the report of one run says, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any
from urllib.parse import quote

from vitsearch.costs import human
from vitsearch.costs.metrics import cost_metrics, named, percent
from vitsearch.reports.facts.architecture_rows import Row, architecture_rows
from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.reports.page.audit_section import audit_section
from vitsearch.reports.page.page import Facts, Link, Page, Part, Section, Table, Text
from vitsearch.reports.page.repeat_section import repeat_section
from vitsearch.reports.page.time_section import duration, time_section, total_seconds
from vitsearch.reports.pictures.accuracy_cost import accuracy_cost_pictures
from vitsearch.reports.pictures.architecture import architecture_picture
from vitsearch.reports.pictures.base import Picture
from vitsearch.reports.pictures.options import options_picture
from vitsearch.reports.pictures.progress import progress_picture
from vitsearch.reports.pictures.training import training_picture
from vitsearch.reports.terminal.front_table import evenly
from vitsearch.reports.terminal.panels import size_in_words
from vitsearch.runs.layout import PHASES_FOLDER, REPORT_FILE

_TOP = 10


def run_page(record: RunRecord) -> Page:
    """The page of one run."""
    return Page(title=run_title(record), lead=lead(record), sections=list(_sections(record)))


def _sections(record: RunRecord) -> Iterator[Section]:
    if record.best is not None:
        yield Section(
            title=f"The best{'' if record.is_searched else ' so far'}: {record.best.digest}",
            parts=[Facts(pairs=key_figures(record), prominent=True)],
            wide=True,
        )
    yield from _with_picture(architecture_picture(record), *_architecture_table(record))
    yield from _with_picture(progress_picture(record))
    for picture in accuracy_cost_pictures(record):
        yield from _with_picture(picture)
    yield from _with_picture(options_picture(record))
    if record.whole:
        yield _candidates(record)
    yield from _with_picture(training_picture(record))
    if record.audit is not None:
        yield audit_section(record.audit, record.folder)
    if record.phases:
        yield _phases(record)
    yield time_section(record)
    yield repeat_section(record)


def _with_picture(picture: Picture | None, *more: Part) -> Iterator[Section]:
    if picture is not None:
        yield Section(title=picture.title, parts=[picture, *more])


def run_title(record: RunRecord) -> str:
    """The space and the data."""
    space = record.space.name if record.space is not None else record.name
    data = data_name(record.config)
    return f"{space} on {data}" if data else space


def data_name(config: Mapping[str, Any]) -> str:
    """The data module's class; empty if nothing says."""
    target = (config.get("data") or {}).get("_target_", "")
    return str(target).rpartition(".")[2]


def lead(record: RunRecord) -> str:
    """The run in a sentence or two."""
    best = record.best
    if best is None:
        return "This run was trained without a search; it has no candidates to show."
    first = [100 * trial.top1 for trial in record.whole if trial.generation == 0]
    text = (
        f"The best of {len(record.trials)} candidates classifies {100 * best.top1:.1f} % of "
        f"{record.num_images:,} images that training did not see, at {human(best.costs['macs'])} "
        f"MACs, with weights that all architectures share."
    )
    if first and record.is_searched:
        text += f" The median of {len(first)} random ones is {median(first):.1f} %."
    if not record.is_searched:
        text += " The search is not finished: this is how far it came."
    return text


def key_figures(record: RunRecord) -> list[tuple[str, str]]:
    """The best architecture in numbers."""
    best = record.best
    assert best is not None
    tested = (record.networks.get("best") or {}).get("test_top1")
    pairs = [("top-1, search split", percent(best.top1))]
    if tested is not None:
        pairs.append(("top-1, test split", percent(tested)))
    pairs += [(named(name).heading, cost_text(best, name)) for name in best.costs]
    pairs.append(("candidates", f"{len(record.trials):,}"))
    seconds = total_seconds(record)
    if seconds:
        pairs.append(("time spent", duration(seconds)))
    return pairs


def cost_text(trial: Trial, name: str) -> str:
    """A cost as people read it."""
    return named(name).text(trial.costs[name])


def _architecture_table(record: RunRecord) -> list[Part]:
    if record.best is None or record.space is None:
        return []
    rows = architecture_rows(record.space, record.best.architecture, record.num_classes)
    cells = [
        (row.name, *_row_words(row), human(row.cost.macs), human(row.cost.params))
        for row in rows
        if row.kind not in ("stage", "left out")
    ]
    size = size_in_words(record.space.size())
    return [
        Text(text=f"One of {size} architectures of the space {record.space.name}."),
        Table(
            headings=("", "what it is", "MACs", "params"),
            rows=cells,
            words=2,
            folded="The same in words",
        ),
    ]


def _row_words(row: Row) -> tuple[str]:
    if row.kind != "block":
        return (row.text,)
    return (f"{row.words}; MLP {row.hidden_text}; {row.place}",)


def _candidates(record: RunRecord) -> Section:
    """The front of a search for one, the best ten of the others."""
    known = [metric.name for metric in cost_metrics()]
    names = [name for name in known if all(name in trial.costs for trial in record.whole)]
    if record.front:
        shown, title = evenly(record.front), f"The front: {len(record.front)} networks"
        hidden = len(record.front) - len(shown)
        caption = f"{hidden} more between these in search/front.json." if hidden else ""
    else:
        ranked = sorted(record.whole, key=lambda t: (-t.top1, t.costs["macs"], t.digest))
        shown, title = ranked[:_TOP], f"The best {min(_TOP, len(ranked))} candidates"
        error = shown[0].standard_error
        caption = (
            f"The standard error of one accuracy from {record.num_images:,} images is "
            f"{100 * error:.1f} points. All {len(record.trials)} candidates are in "
            f"search/history.jsonl."
        )
    rows = [
        (
            trial.digest,
            percent(trial.top1),
            *(cost_text(trial, name) for name in names),
            str(trial.generation),
        )
        for trial in shown
    ]
    headings = ("architecture", "top-1", *(named(n).narrow_heading for n in names), "gen.")
    parts: list[Part] = [Table(headings=headings, rows=rows, caption=caption)]
    return Section(title=title, parts=parts + _networks(record))


def _networks(record: RunRecord) -> list[Part]:
    """The best network beside the largest, on both splits."""
    if not record.networks:
        return []
    rows = [
        (
            name,
            human(network["macs"]),
            percent(network["search_top1"]),
            "-" if network["test_top1"] is None else percent(network["test_top1"]),
        )
        for name, network in record.networks.items()
    ]
    headings = ("network", "MACs", "search split", "test split")
    caption = "Top-1 with weights of the supernet, not retrained. The test split is read once."
    return [Table(headings=headings, rows=rows, caption=caption)]


def _phases(record: RunRecord) -> Section:
    parts: list[Part] = []
    rows: list[Sequence[str]] = []
    for phase in (*record.phases, record):
        best = phase.best
        rows.append(
            (
                "last" if phase is record else phase.name,
                f"{len(phase.trials):,}",
                "-" if best is None else percent(best.top1),
                "-" if best is None else cost_text(best, "macs"),
            )
        )
    headings = ("phase", "candidates", "best top-1", "MACs")
    caption = "Each phase decides some choices; the next goes on from its best architecture."
    parts.append(Table(headings=headings, rows=rows, caption=caption))
    for phase in record.phases:
        place = PHASES_FOLDER / phase.folder.name / REPORT_FILE
        if (record.folder / place).is_file():
            parts.append(Link(text=f"Report of phase {phase.name}", href=quote(place.as_posix())))
    return Section(title="Phases", parts=parts)
