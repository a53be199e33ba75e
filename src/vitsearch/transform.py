"""`python -m vitsearch.transform checkpoint=<run> architecture=<one>`: better, and no dearer.

The module can also be called: `vitsearch.transform(network, architecture, score=...)` is the
function of that name whether or not this module has been imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import RenderableType

from vitsearch import search, transforming
from vitsearch.commands.architecture_source import ArchitectureSource, find_source
from vitsearch.commands.command import command
from vitsearch.commands.session import Session
from vitsearch.commands.spec import without_phases
from vitsearch.costs import human
from vitsearch.errors import ConfigError, SpaceError
from vitsearch.errors.checks import check_flag
from vitsearch.lightning.distributed import rank_and_world
from vitsearch.lightning.search.callback import make_report
from vitsearch.lightning.search.fingerprint import weights_digest
from vitsearch.lightning.transforming.run import model_of, run_transform
from vitsearch.reports import facts_panel
from vitsearch.reports.facts.transformed import Transformed
from vitsearch.runs.command_line import command_text, override, shown_path
from vitsearch.runs.layout import BEST_FOLDER, POLICY_FOLDER
from vitsearch.searchers import Searcher
from vitsearch.spaces import Architecture
from vitsearch.transforming import (
    TransformerSearcher,
    load_policy,
    parameters_of,
    save_policy,
    transforming_searcher,
)
from vitsearch.transitions import RULES, Transitions, make_transitions


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformSpec(search.SearchSpec):
    """A transformation of architectures of a trained supernet.

    Attributes:
        sources: What is transformed.
        transitions: What the architectures may become.
        policy: A folder with a policy that has learned; `None` for none.
        any_weights: Whether it may have learned on another supernet.
    """

    sources: Sequence[ArchitectureSource]
    transitions: Transitions
    policy: Path | None
    any_weights: bool

    @property
    def given(self) -> tuple[Architecture, ...]:
        """The architectures, each once."""
        return tuple(dict.fromkeys(source.architecture for source in self.sources))


@command("transform", resumes=True)
def main(config: DictConfig, session: Session) -> None:
    """Resolve the transformation and run it; goes on where the one of the folder has stopped."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    run = resolve(config, session.folder)
    if not session.is_finished(run):
        transform(run, session)


def resolve(config: DictConfig, folder: Path) -> TransformSpec:
    """Load the supernet, find the architectures.

    Raises:
        CheckpointError: There is no supernet, or its data is unknown.
        ConfigError: A setting is out of range, or names nothing.
        ConstraintError: The budget is malformed.
        SpaceError: An architecture is not legal in the supernet's space.
    """
    base = search.resolve(config, folder)
    own = {field.name: getattr(base, field.name) for field in fields(base)}
    table = config.get("table")
    plain = OmegaConf.to_container(table, resolve=True) if OmegaConf.is_config(table) else table
    policy = config.policy.path
    return TransformSpec(
        **own,
        sources=[_source(one, base) for one in _listed(config.architecture)],
        transitions=make_transitions(
            base.net.space,
            str(config.rule),
            constraint=base.constraint,
            table=plain,  # type: ignore[arg-type]
            num_classes=base.net.num_classes,
        ),
        policy=None if policy is None else Path(str(policy)).expanduser(),
        any_weights=check_flag("policy.any_weights", config.policy.any_weights),
    )


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, ListConfig | list) else [given]


def _source(given: Any, base: search.SearchSpec) -> ArchitectureSource:
    source = find_source(given, space=base.net.space)
    try:
        base.net.space.validate(source.architecture)
    except SpaceError as error:
        raise SpaceError(f"architecture={given} is none of the supernet's: {error}") from error
    return source


def transform(run: TransformSpec, session: Session) -> None:
    """Search from the given architectures, write and say what became of each."""
    job, datamodule = search.begin(run, session, _searcher(run), partial(_start, run))
    test = partial(datamodule.test_dataloader, shard=False) if run.config.use_test_split else None
    found = run_transform(job, run.given, run.transitions, test=test)
    if isinstance(job.searcher, TransformerSearcher) and rank_and_world()[0] == 0:
        place, weights = run.folder / POLICY_FOLDER, weights_digest(run.net)
        save_policy(job.searcher.policy, place, weights=weights)
    if run.report:
        make_report(run.folder)
    session.finish(run, partial(next_steps, run, found))


def _searcher(run: TransformSpec) -> Callable[..., Searcher]:
    """What makes the searcher of the configuration begin with the given architectures.

    Raises:
        CheckpointError: The policy cannot be read, or has learned something else.
        ConfigError: The searcher cannot begin with given architectures, or has another rule.
    """
    own_rule = run.config.searcher.get("rule", run.transitions.rule)
    if own_rule != run.transitions.rule:
        raise ConfigError(f"searcher.rule={own_rule}: here it is rule={own_rule}")
    made = instantiate(without_phases(run.config).searcher)
    if run.policy is not None:
        if "policy" not in parameters_of(made):
            raise ConfigError("policy.path is for searcher=transformer")
        policy = load_policy(
            run.policy,
            run.transitions,
            weights=None if run.any_weights else weights_digest(run.net),
            num_classes=run.net.num_classes,
        )
        made = partial(made, policy=policy, learning=0)
    return transforming_searcher(made, run.given, run.transitions)


def _start(run: TransformSpec, datamodule: Any, devices: str) -> RenderableType:
    """The panel at the start."""
    shown = [f"{source.words}: {source.architecture.digest}" for source in run.sources[:3]]
    more = [f"and {len(run.sources) - 3} more"] if len(run.sources) > 3 else []
    costs = [run.net.cost(architecture).macs for architecture in run.given]
    facts = {
        "space": run.net.space.name,
        "supernet": str(run.checkpoint),
        "given": "\n".join([*shown, *more]),
        "MACs": " to ".join(dict.fromkeys((human(min(costs)), human(max(costs))))),
        "rule": f"{run.transitions.rule}: {RULES[run.transitions.rule]}",
        "data": f"{type(datamodule).__name__}, {datamodule.num_classes} classes",
        "devices": devices,
        "run folder": str(run.folder),
    }
    return facts_panel(facts)


def next_steps(run: TransformSpec, found: Sequence[Transformed]) -> str:
    """The exact command that a user may want now."""
    better = [one for one in found if one.gain > 0]
    if not better:
        return (
            "what comes next\n  nothing better was found: rule=within lets slots become dearer, "
            "or raise searcher.candidates"
        )
    place = run.folder / BEST_FOLDER if len(found) == 1 else model_of(run.folder, better[0])
    given = override("architecture", Path(shown_path(place)))
    lines = (("train it alone:", command_text("retrain", given)),)
    return "\n".join(["what comes next", *(f"  {name}  {text}" for name, text in lines)])


class _CallableModule(ModuleType):
    """This module, which is also the function that people call `vitsearch.transform`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Architecture:
        """See `vitsearch.transforming.transform`."""
        return transforming.transform(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    main()
