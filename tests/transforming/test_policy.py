"""The policy: its probabilities, what it sees, and that it learns."""

from __future__ import annotations

import random

import pytest
import torch

from tests.every_space import perturbed
from tests.transitions.test_transitions import SMALL
from tests.walks import all_walks
from vitsearch import Architecture, SearchSpace, build_space
from vitsearch.errors import CheckpointError, ConfigError
from vitsearch.transforming import Policy, TransformerSearcher, load_policy, save_policy
from vitsearch.transforming.learning import Group, objective
from vitsearch.transforming.policy import STAY_PROB, Draws
from vitsearch.transforming.searcher import distinct
from vitsearch.transitions import Decision, make_transitions

ENCODERS = ["attention", "gcn"]


def make_policy(space: SearchSpace, encoder: str = "attention", rule: str = "cheaper") -> Policy:
    transitions = make_transitions(space, rule, num_classes=10)
    return perturbed(Policy(transitions, encoder=encoder, num_classes=10, seed=1))


def forced(policy: Policy, given: Architecture, answers, monkeypatch):
    left = list(answers)
    monkeypatch.setattr(Draws, "_taken", lambda *_: left.pop(0))
    found = policy.draws(given)(None)
    assert not left
    return found


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("rule", ["cheaper", "within"])
@pytest.mark.parametrize("name", SMALL)
def test_probabilities_of_all_walks_add_up_to_one(
    name: str, rule: str, encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(SMALL[name], encoder, rule)
    given = SMALL[name].largest()
    walks = [
        forced(policy, given, answers, monkeypatch)
        for answers, _ in all_walks(policy.transitions, given)
    ]
    with torch.no_grad():
        log_probs, entropies = policy.log_probs(walks)
    assert float(log_probs.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert (entropies >= 0).all()


def test_draws_have_the_probabilities_that_are_learned_from() -> None:
    space = SMALL["empty slots side by side"]
    policy, rng = make_policy(space), random.Random(0)
    draw = policy.draws(space.largest())
    found = [draw(rng) for _ in range(3000)]
    counts: dict[Architecture, int] = {}
    for one in found:
        counts[one.architecture] = counts.get(one.architecture, 0) + 1
    sequences = {tuple(a.taken for a in one.answers): one for one in found}
    with torch.no_grad():
        log_probs, _ = policy.log_probs(list(sequences.values()))
    expected: dict[Architecture, float] = {}
    for one, log_prob in zip(sequences.values(), log_probs, strict=True):
        mass = float(log_prob.exp())
        expected[one.architecture] = expected.get(one.architecture, 0) + mass
    for architecture, mass in expected.items():
        error = 4 * (mass * (1 - mass) / len(found)) ** 0.5
        assert counts[architecture] / len(found) == pytest.approx(mass, abs=error + 1e-3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_before_it_learns_most_decisions_stay(encoder: str) -> None:
    space = build_space("glit")
    transitions = make_transitions(space, num_classes=10)
    policy = Policy(transitions, encoder=encoder, num_classes=10)
    draw, rng = policy.draws(space.largest()), random.Random(0)
    answers = [answer for _ in range(200) for answer in draw(rng).answers]
    stayed = sum(answer.taken == answer.stay for answer in answers) / len(answers)
    assert stayed == pytest.approx(STAY_PROB, abs=0.05)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_slot_sees_its_own_option_and_its_place(encoder: str) -> None:
    space = build_space("glit")
    policy = make_policy(space, encoder)
    given = space.largest()
    name = "stages.0.blocks.1.kernel_size"
    other = space.canonical({**given, name: 9})

    def of_slot(architecture: Architecture, slot: int) -> torch.Tensor:
        with torch.no_grad():
            table = policy.tables([policy.state(architecture)])
        nodes = policy._states.nodes
        return table.unflatten(1, (len(nodes), -1))[0, nodes.index(f"stages.0.blocks.{slot}")]

    assert (of_slot(given, 1) - of_slot(other, 1)).abs().max() > 1e-6
    swapped = {
        n.replace("blocks.0", "blocks.x")
        .replace("blocks.1", "blocks.0")
        .replace("blocks.x", "blocks.1"): v
        for n, v in other.items()
    }
    swapped_space = space.canonical(swapped)
    assert (of_slot(other, 1) - of_slot(swapped_space, 0)).abs().max() > 1e-6


def test_more_weight_on_entropy_raises_it() -> None:
    space = SMALL["conditions"]
    policy, rng = make_policy(space), random.Random(0)
    draw = policy.draws(space.largest())
    walks = [draw(rng) for _ in range(8)]
    group = Group(walks, [0.0] * len(walks))
    before = float(policy.log_probs(walks)[1].mean())
    objective(policy, [group], entropy_weight=1.0).backward()
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.grad is not None:
                parameter += 1e-3 * parameter.grad
    assert float(policy.log_probs(walks)[1].mean()) > before


def values_of(space: SearchSpace, seed: int) -> dict[tuple[str, object], float]:
    rng = random.Random(seed)
    return {(c.name, option): rng.gauss(0, 1) for c in space.choices for option in c.options}


def search(searcher: TransformerSearcher, score) -> TransformerSearcher:
    while asked := searcher.ask():
        searcher.tell([score(candidate.architecture) for candidate in asked])
    return searcher


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_finds_what_is_best_for_architectures_that_it_has_not_seen(encoder: str) -> None:
    space = SMALL["empty slots side by side"]
    worth = values_of(space, 0)

    def score(architecture: Architecture) -> float:
        return sum(worth[item] for item in architecture.items())

    rng = random.Random(1)
    given = list(dict.fromkeys(space.sample(rng) for _ in range(12)))
    searcher = TransformerSearcher(
        space,
        encoder=encoder,
        learning=60,
        given=given,
        candidates=3,
        num_classes=10,
        entropy_weight=0.01,
        lr=0.01,
    )
    search(searcher, score)
    reached = [
        max(score(found) for _, found in all_walks(searcher.policy.transitions, one))
        for one in given
    ]
    made = [
        max(score(one.architecture) for one in distinct(searcher.policy, a, 3, rng)) for a in given
    ]
    own = [score(one) for one in given]
    possible = sum(best - start for best, start in zip(reached, own, strict=True))
    gained = sum(max(best - start, 0) for best, start in zip(made, own, strict=True))
    assert gained >= 0.9 * possible


def test_without_rewards_it_does_not_drift() -> None:
    space = build_space("glit", num_blocks=2)
    searcher = TransformerSearcher(space, learning=20, num_classes=10, entropy_weight=0.0)
    before = [parameter.clone() for parameter in searcher.policy.parameters()]
    search(searcher, lambda _: 0.5)
    for old, new in zip(before, searcher.policy.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_search_that_goes_on_learns_the_same() -> None:
    space = build_space("vit_resnas")
    worth = values_of(space, 1)

    def score(architecture: Architecture) -> float:
        return round(sum(worth[item] for item in architecture.items()), 3)

    def make() -> TransformerSearcher:
        return TransformerSearcher(space, learning=4, given=[space.largest()], num_classes=10)

    whole, parts = make(), make()
    asked: list[list[Architecture]] = [[], []]
    while candidates := whole.ask():
        asked[0] += [candidate.architecture for candidate in candidates]
        whole.tell([score(candidate.architecture) for candidate in candidates])
    while candidates := parts.ask():
        asked[1] += [candidate.architecture for candidate in candidates]
        parts.tell([score(candidate.architecture) for candidate in candidates])
        state = parts.state_dict()
        parts = make()
        parts.load_state_dict(state)
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == len(asked[0])
    for one, other in zip(whole.policy.parameters(), parts.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    different = TransformerSearcher(space, learning=4, num_classes=10, seed=1)
    assert [c.architecture for c in different.ask()] != asked[0][: len(different.ask())]


def test_distinct_transformations() -> None:
    space = build_space("glit")
    policy = make_policy(space)
    given = space.largest()
    found = [one.architecture for one in distinct(policy, given, 8, random.Random(0))]
    assert len(set(found)) == 8
    assert given not in found
    nothing = distinct(policy, space.smallest(), 8, random.Random(0))
    assert [one.architecture for one in nothing] == [space.smallest()]


def test_a_policy_is_saved_and_refused_elsewhere(tmp_path) -> None:
    space = build_space("glit")
    policy = make_policy(space, "gcn")
    save_policy(policy, tmp_path / "policy", weights="one")
    again = load_policy(tmp_path / "policy", policy.transitions, weights="one", num_classes=10)
    for a, b in zip(policy.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    load_policy(tmp_path / "policy", policy.transitions, weights=None, num_classes=10)
    with pytest.raises(CheckpointError, match=r"another supernet's weights.*any_weights"):
        load_policy(tmp_path / "policy", policy.transitions, weights="two", num_classes=10)
    elsewhere = make_transitions(build_space("vitas"))
    with pytest.raises(CheckpointError, match="another space"):
        load_policy(tmp_path / "policy", elsewhere, weights=None, num_classes=10)
    within = make_transitions(space, "within")
    with pytest.raises(CheckpointError, match="another rule: cheaper, not within"):
        load_policy(tmp_path / "policy", within, weights=None, num_classes=10)
    (tmp_path / "policy" / "policy.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_policy(tmp_path / "policy", policy.transitions, weights=None, num_classes=10)
    with pytest.raises(CheckpointError, match=r"no policy\.json"):
        load_policy(tmp_path, policy.transitions, weights=None, num_classes=10)


def test_encoders_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"encoder=lstm.*gcn, attention"):
        Policy(make_transitions(build_space("glit")), encoder="lstm")


def test_decisions_have_two_ways_at_least() -> None:
    space = build_space("autoformer")
    walk = make_transitions(space).walk(space.largest())
    decision: Decision = next(walk)
    assert len(decision.valid) >= 2
