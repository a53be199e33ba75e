from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitsearch import Architecture, build_space

SPACES = {
    "glit": build_space("glit"),
    "grid": build_space("glit", **{"mixer.local": "grid"}),
    "two widths, two patches": build_space(
        "glit", num_blocks=2, embed_dims=[24, 48], **{"patch_sizes": [4, 7]}
    ),
    "restricted": build_space("glit").restrict({"*.global_heads": [0, 3], "*.mlp_ratio": 4}),
    "attention": build_space("glit", mixer="attention"),
    "glit_tiny": build_space("glit_tiny"),
}
a_space = st.sampled_from(sorted(SPACES)).map(SPACES.__getitem__)
a_seed = st.integers(0, 2**32)
some = settings(max_examples=40, deadline=None)


def genotype(space, rng, architecture=()):
    """A value for every choice, active or not; those of an architecture where it has them."""
    drawn = {choice.name: rng.choice(choice.options) for choice in space.choices}
    return {**drawn, **dict(architecture)}


def check(space, architecture):
    """An architecture is legal and canonical."""
    space.validate(architecture)
    assert space.canonical(architecture) == architecture


@some
@given(a_space, a_seed)
def test_samples_are_legal_and_canonical(space, seed):
    architecture = space.sample(random.Random(seed))
    check(space, architecture)
    assert space.sample(random.Random(seed)) == architecture


@some
@given(a_space, a_seed)
def test_inactive_genes_do_not_matter(space, seed):
    rng = random.Random(seed)
    architecture = space.sample(rng)
    first, second = genotype(space, rng, architecture), genotype(space, rng, architecture)
    one, other = space.canonical(first), space.canonical(second)
    assert one == other == architecture
    assert hash(one) == hash(other) == hash(architecture)
    assert one.digest == other.digest == architecture.digest
    assert space.plan(one) == space.plan(other)


@some
@given(a_space, a_seed)
def test_changing_one_gene_changes_the_architecture_only_where_it_is_active(space, seed):
    rng = random.Random(seed)
    genes = genotype(space, rng)
    architecture = space.canonical(genes)
    choice = rng.choice([c for c in space.choices if len(c.options) > 1])
    changed = rng.choice([o for o in choice.options if o != genes[choice.name]])
    other = space.canonical({**genes, choice.name: changed})
    assert (other == architecture) == (choice.name not in architecture)
    assert (other.digest == architecture.digest) == (choice.name not in architecture)
    check(space, other)


@some
@given(a_space, a_seed)
def test_different_architectures_are_different_networks(space, seed):
    rng = random.Random(seed)
    one = space.sample(rng)
    other = space.mutate(one, 0.1, rng)
    assert (one == other) == (space.plan(one) == space.plan(other))


@some
@given(a_space, a_seed, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_mutation_is_legal(space, seed, prob):
    rng = random.Random(seed)
    architecture = space.sample(rng)
    before = architecture.to_json()
    check(space, space.mutate(architecture, prob, rng))
    assert architecture.to_json() == before


@some
@given(a_space, a_seed)
def test_mutation_with_probability_0_changes_nothing(space, seed):
    rng = random.Random(seed)
    architecture = space.sample(rng)
    assert space.mutate(architecture, 0.0, rng) == architecture


def test_mutation_with_probability_1_forgets_the_parent():
    space, rng = SPACES["glit"], random.Random(0)
    parent = space.largest()
    name = "stages.0.blocks.2.global_heads"
    drawn = Counter(space.mutate(parent, 1.0, rng)[name] for _ in range(2000))
    assert set(drawn) == {0, 1, 2, 3}
    assert all(abs(count / 2000 - 0.25) < 0.05 for count in drawn.values())


def test_mutation_changes_about_the_share_it_says():
    space, rng = SPACES["glit_tiny"], random.Random(0)
    names = [f"stages.0.blocks.{slot}.global_heads" for slot in range(12)]
    changed = total = 0
    for _ in range(500):
        parent = space.sample(rng)
        child = space.mutate(parent, 0.1, rng)
        changed += sum(parent[name] != child[name] for name in names)
        total += len(names)
    # A gene drawn again is another one in three of four cases.
    assert changed / total == pytest.approx(0.1 * 3 / 4, abs=0.015)


@some
@given(a_space, a_seed)
def test_crossover_is_legal_and_takes_from_its_parents(space, seed):
    rng = random.Random(seed)
    first, second = space.sample(rng), space.sample(rng)
    child = space.crossover(first, second, rng)
    check(space, child)
    for name, value in child.items():
        offered = [parent[name] for parent in (first, second) if name in parent]
        assert value in (offered or space.choice(name).options)


@some
@given(a_space, a_seed)
def test_crossover_with_itself_is_itself(space, seed):
    rng = random.Random(seed)
    architecture = space.sample(rng)
    assert space.crossover(architecture, architecture, rng) == architecture


def test_crossover_takes_from_both():
    space, rng = SPACES["glit_tiny"], random.Random(0)
    first, second = space.smallest(), space.largest()
    names = [f"stages.0.blocks.{slot}.global_heads" for slot in range(12)]
    children = [space.crossover(first, second, rng) for _ in range(200)]
    from_first = sum(child[name] == first[name] for child in children for name in names)
    assert from_first / 2400 == pytest.approx(0.5, abs=0.05)


def test_sampling_is_uniform_over_options():
    space, rng = SPACES["two widths, two patches"], random.Random(1)
    counts = Counter()
    for _ in range(4000):
        counts.update(space.sample(rng).items())
    for choice in space.choices:
        total = sum(counts[choice.name, option] for option in choice.options)
        for option in choice.options:
            assert counts[choice.name, option] / total == pytest.approx(
                1 / len(choice.options), abs=0.06
            )


def test_every_architecture_of_a_small_space_is_drawn():
    space, rng = build_space("glit", num_blocks=1), random.Random(0)
    assert len({space.sample(rng) for _ in range(1500)}) == space.size() == 36


def test_operators_leave_global_randomness_alone():
    space, rng = SPACES["glit"], random.Random(0)
    random.seed(5)
    state = random.getstate()
    one, other = space.sample(rng), space.sample(rng)
    space.mutate(one, 0.5, rng)
    space.crossover(one, other, rng)
    assert random.getstate() == state


def test_canonical_form_of_the_paper():
    space = SPACES["glit"]
    block = "stages.0.blocks.1"
    full = {choice.name: choice.options[-1] for choice in space.choices}
    active = {
        0: {"global_heads", "kernel_size", "local_expansion"},
        1: {"global_heads", "local_expansion", "mlp_ratio"},
        2: {"global_heads", "local_expansion", "mlp_ratio"},
        3: {"global_heads", "qkv_expansion", "mlp_ratio"},
    }
    for thirds, names in active.items():
        architecture = space.canonical({**full, f"{block}.global_heads": thirds})
        found = {name.removeprefix(f"{block}.") for name in architecture if name.startswith(block)}
        assert found == names
        assert isinstance(architecture, Architecture)
