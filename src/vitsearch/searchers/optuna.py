"""A bridge to Optuna: any of its samplers proposes, by ask and tell; scoring stays here.

Conditions are respected: a trial defines its choices as it runs, in the order of the space, and is
asked for active ones alone. Options that are numbers are suggested by their position, which is
ordered and of one scale in all choices; others are categories.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from vitsearch.costs import Constraint
from vitsearch.costs.measure import Measures
from vitsearch.errors import ConfigError, MissingExtraError
from vitsearch.errors.checks import check_whole
from vitsearch.searchers.base import Candidate
from vitsearch.searchers.budget import Allowed
from vitsearch.searchers.generations import GenerationalSearcher
from vitsearch.spaces import Architecture, Choice, SearchSpace, Value

_TRIES = 10  # trials for each candidate, before a random architecture takes its place
_SUFFIX = "Sampler"
# They wrap another, or end the study themselves when they have listed a space.
_UNFIT = ("BaseSampler", "BaseGASampler", "BruteForceSampler", "GridSampler", "PartialFixedSampler")
_NEEDS = {"CmaEsSampler": "cmaes", "GPSampler": "scipy"}  # they miss it at their first suggestion


class OptunaSearcher(GenerationalSearcher):
    """A random first generation, then what a sampler of Optuna suggests.

    A suggestion that lies outside the budget, is not allowed, or was proposed before is no
    candidate: its trial ends as *pruned*, without a value. TPE counts pruned trials among the bad
    ones and so learns where the budget ends; samplers that look at values alone (GP, CMA-ES)
    ignore them. A penalty would need a number that nobody knows, and failed trials would teach TPE
    nothing. Candidates that are dropped early are pruned, too.

    The sampler is made anew for each generation, with a seed that follows from the search's and
    from the generation; all that it knows is in the study. `state_dict` holds the study: trials
    with a score, pruned ones, and what samplers note beside them. So a search that goes on from it,
    or is told the same scores again from the start, suggests the same as one that never stopped.
    That is so for every sampler that remembers nothing outside its study, as Optuna's own do.

    Attributes:
        sampler: Its name in lower case, without "Sampler"; of one's own sampler, what made it.
        sampler_settings: Its further arguments.
        batch: Architectures in each later generation.
    """

    def __init__(
        self,
        space: SearchSpace,
        constraint: Constraint | None = None,
        *,
        sampler: str | Callable[..., Any] = "tpe",
        sampler_settings: Mapping[str, Any] | None = None,
        population: int = 50,
        generations: int = 20,
        batch: int = 10,
        seed: int = 0,
        num_classes: int = 1000,
        measure: Measures | None = None,
        initial: Sequence[Architecture] = (),
        allowed: Allowed | None = None,
    ) -> None:
        """Set up a search.

        Args:
            space: Where to search.
            constraint: The budget; none by default.
            sampler: A class of `optuna.samplers` by name (`TPESampler`, or `tpe`, `random`, `gp`,
                `cmaes`, `qmc`, `nsgaii`, ...), or any function `(*, seed, ...)` that makes one.
            sampler_settings: Its arguments but for the seed, such as `{"multivariate": True}`.
            population: Random architectures in the first generation, which every sampler sees.
            generations: Generations in all, the random one included; 1 is random search.
            batch: Architectures in each later generation.
            seed: Start of the random numbers.
            num_classes: Of the classifier, whose cost counts.
            measure: For each measured cost in the budget, what measures an architecture.
            initial: Architectures to begin with; those inside the budget are the first of the
                first generation, and as many fewer are random.
            allowed: A further condition that every candidate meets.

        Raises:
            ConfigError: A number is out of range, or there is no such sampler.
            ConstraintError: The space does not reach the budget.
            MissingExtraError: Optuna is not installed, or a package that the sampler needs.
        """
        self.batch = check_whole("searcher.batch", batch, 1)
        self._optuna = _import_optuna()
        self._make = _find_sampler(self._optuna, sampler)
        self.sampler = _short(sampler) if isinstance(sampler, str) else sampler
        if not isinstance(sampler_settings, Mapping | None):
            raise ConfigError(
                f"searcher.sampler_settings={sampler_settings} must be arguments by name, or null"
            )
        self.sampler_settings = dict(sampler_settings or {})
        super().__init__(
            space,
            constraint,
            population=population,
            generations=generations,
            seed=seed,
            num_classes=num_classes,
            measure=measure,
            initial=initial,
            allowed=allowed,
        )
        self._distributions = {
            choice.name: self._distribution(choice)
            for choice in space.choices
            if len(choice.options) > 1
        }
        self._study = self._open_study([], {})
        # What generations before have left: so many trials, and the notes beside them.
        self._told, self._notes = 0, dict[str, Any]()
        self._trials: dict[Architecture, Any] = {}

    @property
    def num_candidates(self) -> int:
        """How many candidates a full search scores, at most."""
        first = max(self.population, len(self._initial))
        return first + (self.generations - 1) * self.batch

    def tell(self, scores: Sequence[float | None]) -> None:
        """Scores of the generation last asked for; larger is better, `None` was dropped early."""
        asked = [candidate.architecture for candidate in self._asked or ()]
        super().tell(scores)
        pruned = self._optuna.trial.TrialState.PRUNED
        with _quietly(self._optuna):
            for architecture, score in zip(asked, scores, strict=True):
                trial = self._trials.pop(architecture, None)
                if trial is None:  # no suggestion of the sampler's
                    state = "PRUNED" if score is None else "COMPLETE"
                    params = self._params(architecture)
                    self._study.add_trial(self._frozen(params, state, score, {}))
                else:
                    self._study.tell(trial, score, state=pruned if score is None else None)
        self._told = len(self._study.get_trials(deepcopy=False))
        self._notes = dict(self._storage.get_study_system_attrs(self._study_id))

    def state_dict(self) -> dict[str, Any]:
        """Scores so far, the generation to come, what was measured, and the trials of the study."""
        trials = self._study.get_trials(deepcopy=False)[: self._told]
        listed = [[dict(t.params), t.state.name, t.value, dict(t.system_attrs)] for t in trials]
        return {**super().state_dict(), "trials": listed, "notes": dict(self._notes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        self._study = self._open_study(state["trials"], state["notes"])
        self._told, self._notes = len(state["trials"]), dict(state["notes"])
        self._trials = {}

    def _children(self, rng: random.Random) -> list[Candidate]:
        known = self._scores.keys()
        with _quietly(self._optuna):
            self._study.sampler = self._new_sampler(rng.getrandbits(31))
            for _ in range(_TRIES * self.batch):
                if len(self._trials) == self.batch:
                    break
                trial = self._study.ask()
                found = self.space.complete(partial(_pick, trial))
                is_new = found not in known and found not in self._trials
                if is_new and self.budget.holds(found):
                    self._trials[found] = trial
                else:
                    self._study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
        missing = self.batch - len(self._trials)
        drawn: list[Architecture] = []
        if missing:
            drawn = self.budget.draw(missing, rng, known={*known, *self._trials})
        return self._new("sampler", self._trials) + self._new("random", drawn)

    def _new_sampler(self, seed: int) -> Any:
        try:
            return self._make(**self.sampler_settings, seed=seed)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"searcher.sampler={self.sampler} refuses: {reason}") from error

    def _open_study(self, trials: Sequence[Sequence[Any]], notes: Mapping[str, Any]) -> Any:
        with _quietly(self._optuna):
            self._storage = self._optuna.storages.InMemoryStorage()
            study = self._optuna.create_study(
                storage=self._storage, direction="maximize", sampler=self._new_sampler(0)
            )
            self._study_id = self._storage.get_study_id_from_name(study.study_name)
            study.add_trials([self._frozen(*trial) for trial in trials])
            for key, value in notes.items():
                self._storage.set_study_system_attr(self._study_id, key, value)
        return study

    def _frozen(
        self,
        params: Mapping[str, Any],
        state: str,
        score: float | None,
        notes: Mapping[str, Any],
    ) -> Any:
        """A trial that has ended; `notes` are the sampler's."""
        return self._optuna.create_trial(
            state=self._optuna.trial.TrialState[state],
            value=score,
            params=dict(params),
            distributions={name: self._distributions[name] for name in params},
            system_attrs=dict(notes),
        )

    def _params(self, architecture: Architecture) -> dict[str, Any]:
        """What a trial that suggests the architecture would hold."""
        return {
            name: choice.options.index(architecture[name]) if _is_ordered(choice) else value
            for name, value in architecture.items()
            if name in self._distributions and (choice := self.space.choice(name))
        }

    def _distribution(self, choice: Choice) -> Any:
        if _is_ordered(choice):
            return self._optuna.distributions.IntDistribution(0, len(choice.options) - 1)
        return self._optuna.distributions.CategoricalDistribution(choice.options)


def _pick(trial: Any, choice: Choice) -> Value:
    if len(choice.options) == 1:
        return choice.options[0]
    if _is_ordered(choice):
        place: int = trial.suggest_int(choice.name, 0, len(choice.options) - 1)
        return choice.options[place]
    value: Value = trial.suggest_categorical(choice.name, choice.options)
    return value


def _is_ordered(choice: Choice) -> bool:
    """Whether options are numbers, which a space lists in ascending order."""
    return all(isinstance(o, int | float) and not isinstance(o, bool) for o in choice.options)


def _import_optuna() -> Any:
    try:
        return import_module("optuna")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "searcher=optuna needs Optuna, which is not installed: pip install 'vitsearch[optuna]'"
        ) from error


def _find_sampler(optuna: Any, sampler: object) -> Callable[..., Any]:
    if callable(sampler):
        return sampler
    legal = {
        _short(name): name
        for name in vars(optuna.samplers)
        if name.endswith(_SUFFIX) and name not in _UNFIT
    }
    name = legal.get(_short(sampler)) if isinstance(sampler, str) else None
    if name is None:
        raise ConfigError(
            f"searcher.sampler={sampler} is unknown; legal: {', '.join(sorted(legal))} (classes "
            f"of optuna.samplers)"
        )
    needed = _NEEDS.get(name)
    if needed is not None and find_spec(needed) is None:
        raise MissingExtraError(
            f"searcher.sampler={sampler} needs {needed}, which is not installed: pip install "
            f"{needed}"
        )
    found: Callable[..., Any] = getattr(optuna.samplers, name)
    return found


def _short(name: str) -> str:
    return name.lower().removesuffix(_SUFFIX.lower())


@contextmanager
def _quietly(optuna: Any) -> Iterator[None]:
    """Without Optuna's messages of trials, of fallbacks, and of what is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
