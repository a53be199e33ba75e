from __future__ import annotations

import copy
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitsearch
from vitsearch import Architecture, published

values = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    max_size=6,
)
NAME = "stages.0.blocks.0.mlp_ratio"


@given(values)
def test_json_and_dict_and_back(given_values):
    architecture = Architecture.from_dict(given_values)
    for copied in (
        Architecture.from_json(architecture.to_json()),
        Architecture.from_dict(architecture.to_dict()),
        Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))),
        pickle.loads(pickle.dumps(architecture)),
        copy.copy(architecture),
        copy.deepcopy(architecture),
    ):
        assert copied == architecture
        assert hash(copied) == hash(architecture)
        assert copied.digest == architecture.digest
        assert copied.to_json() == architecture.to_json()


@given(values, st.randoms(use_true_random=False))
def test_order_of_the_names_does_not_matter(given_values, rng):
    items = list(given_values.items())
    rng.shuffle(items)
    one, other = Architecture(given_values), Architecture(dict(items))
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest


def test_whole_numbers_are_one_value():
    whole, fraction = Architecture({NAME: 4}), Architecture({NAME: 4.0})
    assert whole == fraction
    assert hash(whole) == hash(fraction)
    assert whole.digest == fraction.digest
    assert whole.to_json() == fraction.to_json() == f'{{"{NAME}": 4}}'
    assert Architecture({NAME: 4.5}) != whole


def test_genotypes_with_whole_and_broken_numbers_agree(glit):
    architecture = glit.sample(random.Random(0))
    floats = {name: float(value) for name, value in architecture.items()}
    assert glit.canonical(floats) == architecture
    assert glit.canonical(floats).digest == architecture.digest
    glit.validate(Architecture(floats))


def test_equal_architectures_have_equal_digests(glit):
    values = {choice.name: choice.options[-1] for choice in glit.choices}
    values["stages.0.blocks.0.global_heads"] = 1
    number = glit.canonical(values)
    truth = glit.canonical({**values, "stages.0.blocks.0.global_heads": True})
    assert truth == number
    assert truth.digest == number.digest


def test_digests_never_change(glit_tiny):
    # Histories and folders of earlier versions are found by them.
    assert published("glit_tiny")[1].digest == "ee2a4a91d51e"
    assert glit_tiny.largest().digest == "e19fcf9ce56f"
    assert Architecture({}).digest == "44136fa355b3"


def test_digest_is_the_same_in_another_process(glit):
    architecture = glit.sample(random.Random(3))
    code = (
        # The package without its own imports: torch takes seconds.
        "import sys, types; sys.modules['vitsearch'] = package = types.ModuleType('vitsearch');"
        "package.__path__ = [sys.argv[2]]; from vitsearch.spaces import Architecture;"
        "print(Architecture.from_json(sys.argv[1]).digest)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, architecture.to_json(), Path(vitsearch.__file__).parent],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.strip() == architecture.digest


def test_reads_like_a_mapping(glit):
    architecture = glit.largest()
    assert architecture["stem.patch_size"] == 4
    assert set(architecture) == set(architecture.to_dict())
    assert len(architecture) == len(architecture.to_dict())
    assert "stem.patch_size" in architecture
    assert "stages.0.blocks.9.mlp_ratio" not in architecture
    assert architecture.get("nothing") is None
    with pytest.raises(KeyError):
        architecture["nothing"]
    assert architecture.digest in repr(architecture)
    assert architecture != architecture.to_dict()


def test_cannot_be_changed(glit):
    architecture = glit.largest()
    before = architecture.to_json()
    with pytest.raises(TypeError):
        architecture["stem.patch_size"] = 8
    with pytest.raises(TypeError):
        del architecture["stem.patch_size"]
    with pytest.raises(AttributeError):
        architecture.note = "mine"
    with pytest.raises(AttributeError):
        architecture.digest = "0"
    architecture.to_dict().clear()
    assert architecture.to_json() == before


def test_does_not_follow_the_values_it_was_made_from():
    values = {NAME: 2}
    architecture = Architecture(values)
    values[NAME] = 6
    assert architecture[NAME] == 2


def test_equality_is_by_value_and_works_in_sets(glit):
    rng = random.Random(0)
    drawn = [glit.sample(rng) for _ in range(50)]
    again = [Architecture.from_json(a.to_json()) for a in drawn]
    assert set(drawn) == set(again)
    assert len({a.digest for a in drawn}) == len(set(drawn)) == 50
