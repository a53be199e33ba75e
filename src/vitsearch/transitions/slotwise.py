"""Transitions slot by slot: each block may become what a rule lets its own option become.

Nothing depends on what other slots take, so what holds for every slot holds for the network: under
`cheaper` no output has more MACs or parameters than its input.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vitsearch.spaces import Architecture, SearchSpace, Value
from vitsearch.spaces.bodies.base import Ends
from vitsearch.spaces.bodies.slots import Key, PieceOption, Slot, SlotOption
from vitsearch.spaces.extent import Step
from vitsearch.spaces.flow import Seen
from vitsearch.spaces.parts.base import Values
from vitsearch.transitions.decision import Decision, Walk
from vitsearch.transitions.source import Block, Costing, Costs, Run, Source, SourceStage, Spent

_MOST_KNOWN = 64
Valid = npt.NDArray[np.bool_]
Chosen = dict[str, Value | None]
Answers = Generator[Decision, int, None]


class SlotwiseTransitions:
    """What a given architecture may become under a rule for single slots.

    Blocks go, or stay with another option; empty slots stay empty. Where one goes, those behind it
    in the same run move up (and use the weights of their new slots), as far as slots are alike;
    elsewhere only the last ones go. Shared choices (widths, depths, patch sizes) move where the
    frame and every block that stays as it is may follow.
    """

    rule: ClassVar[str]

    def __init__(self, space: SearchSpace, *, num_classes: int = 1000) -> None:
        self.space = space
        self._costing = Costing(space, num_classes)
        self._known: dict[Architecture, tuple[Source, list[dict[Ends, list[Step]]]]] = {}

    @abstractmethod
    def _frame_may(self, before: SourceStage, step: Step, cost: Spent) -> bool:
        """Whether the shared choices of a stage may become those of a step."""

    @abstractmethod
    def _may(self, block: Block, group: int, options: Sequence[PieceOption], costs: Costs) -> Valid:
        """Which options (n,) of a group of pieces a block's own one may become."""

    @abstractmethod
    def _block_may(self, block: Block, own: Spent, following: Mapping[str, Spent]) -> bool:
        """Whether what a block costs beside its groups may become this."""

    @abstractmethod
    def _may_go(self, block: Block) -> bool:
        """Whether a block may go."""

    # Walking

    def walk(self, given: Architecture) -> Walk:
        """The decisions of a transformation; see `Walk`.

        Raises:
            SpaceError: The architecture is not legal in the space.
        """
        source, ways = self._read(given)
        steps: list[Step] = []
        before: Ends = ()
        for stage, own in enumerate(source.stages):
            possible = ways[stage][before]
            prefix = f"stages.{stage}"
            options = [self._costing.shown(stage, step) for step in possible]
            stay = possible.index(own.step) if own.step in possible else None
            number = 0
            if len(possible) > 1:
                number = yield Decision(prefix, options, tuple(range(len(possible))), stay)
            steps.append(possible[number])
            before = possible[number].segment.after
        values: Chosen = {}
        for step in steps:
            values |= step.values
        for stage, step in enumerate(steps):
            for run in self._costing.runs(stage):
                yield from self._run(source.stages[stage], step, stage, run, values)
        return self.space.complete(lambda choice: _there(values[choice.name]))

    def _read(self, given: Architecture) -> tuple[Source, list[dict[Ends, list[Step]]]]:
        """An architecture, and where its stages may lead; the last ones read are kept."""
        if given not in self._known:
            if len(self._known) == _MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            source = Source(self._costing, given)
            self._known[given] = source, self._ways(source)
        return self._known[given]

    def _ways(self, source: Source) -> list[dict[Ends, list[Step]]]:
        """For each stage, by what comes before it, the steps from which the end is reached."""
        found: list[dict[Ends, list[Step]]] = []
        for stage in reversed(range(len(source.stages))):
            own: dict[Ends, list[Step]] = {}
            for step, cost in self._costing.steps(stage):
                goes_on = not found or step.segment.after in found[-1]
                if goes_on and self._step_may(source.stages[stage], stage, step, cost):
                    own.setdefault(step.before, []).append(step)
            found.append(own)
        return found[::-1]

    def _step_may(self, before: SourceStage, stage: int, step: Step, cost: Spent) -> bool:
        if not self._frame_may(before, step, cost):
            return False
        runs = self._costing.runs(stage)
        return all(self._run_may(before, step, self._costing.slots(stage), run) for run in runs)

    def _run_may(self, before: SourceStage, step: Step, slots: Sequence[Slot], run: Run) -> bool:
        """Whether the blocks of a run may stay as they are where they can come to stand."""
        blocks = before.of_run(run)
        known = _kept(slots, run, step.values)
        room = self._room(step, slots, run, len(blocks))
        if room > len(blocks) or (room < len(blocks) and not all(map(self._may_go, blocks))):
            return False
        moves = _is_alike(slots, run, step, len(blocks))
        for place, block in enumerate(blocks if moves else blocks[:room]):
            target = slots[run.slots[min(place, max(room - 1, 0))]]
            if room and self._stay(block, target, known, step) is None:
                return False
        return True

    @staticmethod
    def _room(step: Step, slots: Sequence[Slot], run: Run, blocks: int) -> int:
        """How many blocks a run must keep; all of them where each may go by itself."""
        if run.is_free:
            return blocks
        return sum(slots[slot].stage.within_depth(slot, step.values) for slot in run.slots)

    def _stay(
        self, block: Block, target: Slot, known: Values, step: Step
    ) -> tuple[Key, SlotOption, Seen, list[int]] | None:
        """The positions of a block's options at a slot; `None` if it may not stand there."""
        found = self._costing.with_block(target, known)
        if found is None:
            return None
        key, option = found
        seen = step.segment.flow.seen(target.index)
        following = self._costing.following(target, seen)
        there = {role: following[role] for role in block.following}
        if not self._block_may(block, self._costing.own(target, seen), there):
            return None
        places = []
        for group, costs in enumerate(self._costing.of_groups(target, key, option, seen)):
            chosen = block.chosen[group]
            place = self._costing.place(key, option, group, chosen.values)
            if place is None or not self._may(block, group, [chosen], costs[[place]])[0]:
                return None
            places.append(place)
        return key, option, seen, places

    def _run(
        self, before: SourceStage, step: Step, stage: int, run: Run, values: Chosen
    ) -> Answers:
        """The decisions of a run; what is taken is put into `values`."""
        slots = self._costing.slots(stage)
        blocks = before.of_run(run)
        kept = yield from self._kept(blocks, slots, run, step)
        known = _kept(slots, run, step.values)
        for slot in run.slots:
            name = slots[slot].stage.keep_name(slot)
            if name is not None:
                values[name] = run.slots.index(slot) < len(kept)
        for block, slot in zip(kept, run.slots, strict=False):
            yield from self._block(block, slots[slot], known, step, values)

    def _kept(
        self, blocks: list[Block], slots: Sequence[Slot], run: Run, step: Step
    ) -> Generator[Decision, int, list[Block]]:
        """The blocks that stay."""
        room = self._room(step, slots, run, len(blocks))
        moves = _is_alike(slots, run, step, len(blocks))
        if not run.is_free and not moves:
            return blocks[:room]
        may_go = len(blocks) if run.is_free else len(blocks) - room
        kept: list[Block] = []
        for number, block in enumerate(blocks):
            gone = number - len(kept)
            if (gone and not moves) or (len(kept) == room and not run.is_free):
                continue
            stays = 1
            going = (block,) if moves else blocks[number:]
            if gone < may_go and all(map(self._may_go, going)):
                stays = yield Decision(block.node, _KEEP, (0, 1), 1)
            if stays:
                kept.append(block)
        return kept

    def _block(
        self, block: Block, target: Slot, known: Values, step: Step, values: Chosen
    ) -> Answers:
        """The decisions of a block that stays."""
        found = self._stay(block, target, known, step)
        assert found is not None, (block.node, target.index)
        key, option, seen, places = found
        prefix = target.stage.block_prefix(target.index)
        for group, costs in enumerate(self._costing.of_groups(target, key, option, seen)):
            options = option.groups[group]
            valid = _positions(self._may(block, group, options, costs))
            number = places[group]
            if len(valid) > 1:
                listed = [one.active for one in options]
                number = yield Decision(block.node, listed, valid, number)
            for name, value in options[number].values.items():
                values[f"{prefix}.{name}"] = value

    # Asking

    def allows(self, given: Architecture, other: Architecture) -> bool:
        """Whether some walk leads from a given architecture to another one of the space."""
        source, ways = self._read(given)
        wanted = Source(self._costing, other)
        before: Ends = ()
        for stage, (own, goal) in enumerate(zip(source.stages, wanted.stages, strict=True)):
            if goal.step not in ways[stage].get(before, ()):
                return False
            before = goal.step.segment.after
            slots = self._costing.slots(stage)
            for run in self._costing.runs(stage):
                if not self._run_leads(own, goal, slots, run):
                    return False
        return True

    def _run_leads(
        self, own: SourceStage, goal: SourceStage, slots: Sequence[Slot], run: Run
    ) -> bool:
        """Whether the blocks of a run can become those of another one."""
        have = own.of_run(run)
        want = goal.of_run(run)
        if len(want) > len(have):
            return False
        known = _kept(slots, run, goal.step.values)
        if not _is_alike(slots, run, goal.step, len(have)):
            if not all(map(self._may_go, have[len(want) :])):
                return False
            pairs = zip(have, want, strict=False)
            return all(self._leads(a, b, known, goal.step) for a, b in pairs)
        reached = {0}  # how many of those wanted are matched by the blocks so far
        for block in have:
            stays = {
                n + 1
                for n in reached
                if n < len(want) and self._leads(block, want[n], known, goal.step)
            }
            reached = stays | (reached if self._may_go(block) else set())
        return len(want) in reached

    def _leads(self, block: Block, goal: Block, known: Values, step: Step) -> bool:
        found = self._stay(block, goal.slot, known, step)
        if found is None:
            return False
        key, option, seen, _ = found
        for group, costs in enumerate(self._costing.of_groups(goal.slot, key, option, seen)):
            place = self._costing.place(key, option, group, goal.chosen[group].values)
            if place is None or not self._may(block, group, option.groups[group], costs)[place]:
                return False
        return True


_KEEP: tuple[Values, Values] = ({"keep": False}, {"keep": True})


def _positions(valid: Valid) -> tuple[int, ...]:
    return tuple(np.flatnonzero(valid).tolist())


def _is_alike(slots: Sequence[Slot], run: Run, step: Step, count: int) -> bool:
    """Whether the first `count` slots of a run see the same and offer the same."""
    own = [slots[slot] for slot in run.slots[:count]]
    looks = {
        (slot.looks, slot.stage.block.alike(slot.index), step.segment.flow.seen(slot.index))
        for slot in own
    }
    return len(looks) <= 1


def _kept(slots: Sequence[Slot], run: Run, shared: Values) -> Values:
    """The shared choices, and that every slot of a run has a block."""
    names = filter(None, (slots[slot].stage.keep_name(slot) for slot in run.slots))
    return {**shared, **dict.fromkeys(names, True)}


def _there(value: Value | None) -> Value:
    assert value is not None
    return value
