"""What the report of one run says, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any
from urllib.parse import quote

from vitsearch.costs import human
from vitsearch.costs.metrics import cost_metrics, named
from vitsearch.reports.facts.architecture_rows import Row, architecture_rows
from vitsearch.reports.facts.run_record import RunRecord, Trial
from vitsearch.reports.page.audit_section import audit_section
from vitsearch.reports.page.descent_section import descent_lead, descent_section
from vitsearch.reports.page.masks_section import masks_section
from vitsearch.reports.page.page import Facts, Link, Page, Part, Section, Table, Text
from vitsearch.reports.page.repeat_section import repeat_section
from vitsearch.reports.page.shrink_section import shrink_lead, shrink_sections
from vitsearch.reports.page.time_section import duration, time_section, total_seconds
from vitsearch.reports.page.transform_section import transform_lead, transform_sections
from vitsearch.reports.pictures.accuracy_cost import accuracy_cost_pictures
from vitsearch.reports.pictures.architecture import architecture_picture
from vitsearch.reports.pictures.base import Picture
from vitsearch.reports.pictures.options import options_picture
from vitsearch.reports.pictures.progress import progress_picture
from vitsearch.reports.pictures.training import training_picture
from vitsearch.reports.terminal.front_table import evenly
from vitsearch.reports.terminal.panels import size_in_words
from vitsearch.reports.words.figure import TOP1, capital
from vitsearch.runs.layout import PHASES_FOLDER, REPORT_FILE

_TOP = 10


def run_page(record: RunRecord) -> Page:
    """The page of one run."""
    return Page(title=run_title(record), lead=lead(record), sections=list(_sections(record)))


def _sections(record: RunRecord) -> Iterator[Section]:
    if record.shrunk is not None:
        yield from shrink_sections(record, record.shrunk)
    elif record.transformed:
        yield from transform_sections(record, record.transformed)
    elif record.best is not None:
        yield Section(
            title=f"The best{'' if record.is_searched else ' so far'}: {record.best.digest}",
            parts=[Facts(pairs=key_figures(record), prominent=True)],
            wide=True,
        )
    yield from _with_picture(architecture_picture(record), *_architecture_table(record))
    if record.shrinks is None:
        yield from _candidate_sections(record)
    else:
        found = descent_section(record)
        yield Section(title=found.title, parts=[*found.parts, *_networks(record)])
    yield from _with_picture(training_picture(record))
    if (record.evaluation or {}).get("task") == "segmentation":
        yield masks_section(record.evaluation or {}, record.folder)
    if record.audit is not None:
        yield audit_section(record.audit, record.folder)
    if record.phases:
        yield _phases(record)
    yield time_section(record)
    yield repeat_section(record)


def _candidate_sections(record: RunRecord) -> Iterator[Section]:
    """What the candidates of a search say together."""
    yield from _with_picture(progress_picture(record))
    for picture in accuracy_cost_pictures(record):
        if record.shrunk is None or picture.name != "accuracy_macs":  # it has one of its own
            yield from _with_picture(picture)
    if record.shrunk is None:  # too few of its candidates are random
        yield from _with_picture(options_picture(record))
    if record.whole:
        yield _candidates(record)


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
    if record.shrunk is not None:
        return shrink_lead(record.shrunk)
    if record.transformed:
        return transform_lead(record, record.transformed)
    best = record.best
    if best is None:
        return "This run was trained without a search; it has no candidates to show."
    if record.shrinks is not None:
        return descent_lead(record)
    figure = record.figure
    first = [trial.score for trial in record.whole if trial.generation == 0]
    reached = f"classifies {figure.text(best.score)} of"
    if figure != TOP1:
        reached = f"has {figure.label} {figure.text(best.score)} on"
    text = (
        f"The best of {len(record.trials)} candidates {reached} {record.num_images:,} images that "
        f"training did not see, at {human(best.costs['macs'])} MACs, with weights that all "
        f"architectures share."
    )
    if first and record.is_searched:
        text += f" The median of {len(first)} random ones is {figure.text(median(first))}."
    if not record.is_searched:
        text += " The search is not finished: this is how far it came."
    return text


def key_figures(record: RunRecord) -> list[tuple[str, str]]:
    """The best architecture in numbers."""
    best = record.best
    assert best is not None
    figure = record.figure
    tested = (record.networks.get("best") or {}).get(f"test_{figure.name}")
    pairs = [(f"{figure.label}, search split", figure.text(best.score))]
    if tested is not None:
        pairs.append((f"{figure.label}, test split", figure.text(tested)))
    pairs += [(named(name).heading, cost_text(best, name)) for name in best.costs]
    if record.shrinks is None:
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
    figure = record.figure
    known = [metric.name for metric in cost_metrics()]
    names = [name for name in known if all(name in trial.costs for trial in record.whole)]
    if record.front:
        shown, title = evenly(record.front), f"The front: {len(record.front)} networks"
        hidden = len(record.front) - len(shown)
        caption = f"{hidden} more between these in search/front.json." if hidden else ""
    else:
        ranked = sorted(record.whole, key=lambda t: (-t.score, t.costs["macs"], t.digest))
        shown, title = ranked[:_TOP], f"The best {min(_TOP, len(ranked))} candidates"
        caption = f"All {len(record.trials)} candidates are in search/history.jsonl."
        error = figure.standard_error(shown[0].score, shown[0].total)
        if error is not None:
            caption = (
                f"The standard error of one {figure.noun} from {record.num_images:,} images is "
                f"{100 * error:.1f} points. {caption}"
            )
    rows = [
        (
            trial.digest,
            figure.text(trial.score),
            *(cost_text(trial, name) for name in names),
            str(trial.generation),
        )
        for trial in shown
    ]
    headings = ("architecture", figure.label, *(named(n).narrow_heading for n in names), "gen.")
    parts: list[Part] = [Table(headings=headings, rows=rows, caption=caption)]
    networks = _networks(record) if record.shrunk is None else []
    return Section(title=title, parts=parts + networks)


def _networks(record: RunRecord) -> list[Part]:
    """The best network beside the largest, on both splits."""
    if not record.networks:
        return []
    figure = record.figure
    rows = [
        (
            name,
            human(network["macs"]),
            figure.text(network[f"search_{figure.name}"]),
            "-"
            if network[f"test_{figure.name}"] is None
            else figure.text(network[f"test_{figure.name}"]),
        )
        for name, network in record.networks.items()
    ]
    headings = ("network", "MACs", "search split", "test split")
    caption = (
        f"{capital(figure.label)} with weights of the supernet, not retrained. The test split is "
        f"read once."
    )
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
                "-" if best is None else record.figure.text(best.score),
                "-" if best is None else cost_text(best, "macs"),
            )
        )
    headings = ("phase", "candidates", f"best {record.figure.label}", "MACs")
    caption = "Each phase decides some choices; the next goes on from its best architecture."
    parts.append(Table(headings=headings, rows=rows, caption=caption))
    for phase in record.phases:
        place = PHASES_FOLDER / phase.folder.name / REPORT_FILE
        if (record.folder / place).is_file():
            parts.append(Link(text=f"Report of phase {phase.name}", href=quote(place.as_posix())))
    return Section(title="Phases", parts=parts)
