"""What `architecture=` may name: every form leads to the same network, every mistake is a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import vitsearch
from tests.commands.running import Outcome, read_history, small_space
from vitsearch.commands.architecture_source import data_of_run, find_source
from vitsearch.errors import VitSearchError
from vitsearch.spaces import build_space


@pytest.fixture
def run(trained: Outcome, tmp_path: Path) -> Path:
    """A copy of a searched run."""
    shutil.copytree(trained.run, tmp_path / "run")
    return tmp_path / "run"


def test_every_form_of_a_run_names_the_same_architecture(run: Path, tmp_path: Path) -> None:
    best = json.loads((run / "search" / "best.json").read_text())
    digest, values = best["digest"], tmp_path / "choices.json"
    values.write_text(json.dumps(best["architecture"]))
    copied = tmp_path / "best.json"
    shutil.copy(run / "search" / "best.json", copied)
    for given, settings, has_run in (
        (run, {}, True),
        (run / "search" / "best.json", {}, True),
        (f"{run}:{digest}", {}, True),
        (f"{run}:{digest[:11]}", {}, True),
        (digest, {"run": run}, True),
        (run / "best", {}, True),
        (run / "best" / "architecture.json", {}, True),
        (copied, {}, False),
        (values, {"space": small_space()}, False),
    ):
        source = find_source(str(given), **settings)  # type: ignore[arg-type]
        assert source.architecture.digest == digest, given
        assert source.space == small_space(), given
        assert (source.run == run) == has_run, given
        assert source.has_weights(None) == has_run, given
        again = find_source(source.given, space=settings.get("space"))  # type: ignore[arg-type]
        assert again == source, given
    assert data_of_run(run).batch_size == 16


def test_weights_are_those_of_the_supernet(run: Path) -> None:
    net, images = vitsearch.load_supernet(run), torch.rand(2, 1, 28, 28)
    digests = [record["digest"] for record in read_history(run)]
    best = find_source(str(run)).architecture.digest
    other = next(digest for digest in digests if digest != best)
    source = find_source(f"{run}:{other}")
    assert source.model is None
    taken = source.network(None)
    assert torch.equal(taken(images), net.extract(source.architecture)(images))
    assert find_source(str(run)).model == run / "best"
    shutil.rmtree(run / "best")
    assert find_source(str(run)).supernet == run / "supernet.ckpt"


def test_a_search_of_another_run_s_supernet(run: Path, tmp_path: Path) -> None:
    """`vitsearch.search` leaves no supernet, but says which one it searched."""
    other = tmp_path / "other"
    shutil.copytree(run / "search", other / "search")
    config = (run / "config.yaml").read_text().replace(f"run_dir: {run}", f"run_dir: {other}")
    (other / "config.yaml").write_text(f"{config}\ncheckpoint: {run}/supernet.ckpt\n")
    assert find_source(str(other)).supernet == run / "supernet.ckpt"


def test_published_networks_have_a_space_but_no_data() -> None:
    source = find_source("vit_resnas_tiny")
    assert (source.space, source.architecture) == vitsearch.published("vit_resnas_tiny")
    assert source.run is None
    assert not source.has_weights(None)
    with pytest.raises(VitSearchError, match="needs checkpoint=<the authors' file>"):
        source.network(None)


def lines_of(run: Path, tmp_path: Path) -> list[tuple[str, dict[str, object], tuple[str, ...]]]:
    (tmp_path / "empty").mkdir()
    damaged, choices = tmp_path / "damaged.json", tmp_path / "choices.json"
    damaged.write_text('{"architecture": {"a": 1}, "space": {"name": "glit"}}')
    choices.write_text('{"stem.patch_size": 4}')
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    front = tmp_path / "front.json"
    front.write_text('{"front": [{"digest": "abc"}, {"digest": "def"}]}')
    digest = read_history(run)[0]["digest"]
    return [
        (None, {}, ("add architecture=<a run folder",)),  # type: ignore[list-item]
        ("glit_tinny", {}, ("glit_tinny is unknown", "did you mean glit_tiny?", "best.json")),
        (str(tmp_path / "gone"), {}, ("gone is unknown",)),
        (digest, {}, (digest, "add run=<folder>")),
        (digest, {"run": "gone"}, ("run=gone is no folder",)),
        (f"{run}:zzz", {}, ("digest zzz is not in", "which has 8", "near it: ")),
        (f"{run}:", {}, ("no digest after the colon", "has 8")),
        (f"{run}:0123456789ab", {}, ("0123456789ab is not in",)),
        (f"{tmp_path / 'empty'}:abc", {}, ("has no search/history.jsonl",)),
        (1e5, {}, ("is read as a number",)),  # type: ignore[list-item]
        (str(tmp_path / "empty"), {}, ("neither search/best.json", "architecture.json")),
        (str(damaged), {}, ("damaged.json: space.image_size is missing",)),
        (str(tmp_path / "no.json"), {}, ("no.json is damaged",)),
        (str(tmp_path / "list.json"), {}, ("is no JSON object",)),
        (str(front), {}, ("has 2 architectures", "abc, def")),
        (str(choices), {}, ("has choices but no space", "+space=<name>")),
        (str(choices), {"space": build_space("glit")}, ("stages.0",)),
    ]


def test_every_mistake_is_one_line_that_says_what_is_wrong(run: Path, tmp_path: Path) -> None:
    for given, settings, words in lines_of(run, tmp_path):
        with pytest.raises(VitSearchError) as caught:
            find_source(given, **settings)  # type: ignore[arg-type]
        line = str(caught.value)
        assert "\n" not in line, given
        for word in words:
            assert word in line, (given, line)


def test_an_ambiguous_digest_names_those_that_it_may_be(run: Path) -> None:
    digests = [record["digest"] for record in read_history(run)]
    file = run / "search" / "history.jsonl"
    lines = file.read_text().splitlines()
    twin = {**json.loads(lines[0]), "digest": digests[0][:6] + "ffffff"}
    file.write_text("\n".join([*lines, json.dumps(twin), '{"torn']))
    with pytest.raises(VitSearchError, match=f"beginning of 2 .*{digests[0]}"):
        find_source(f"{run}:{digests[0][:6]}")


def test_runs_that_have_nothing_to_retrain_say_what_to_do(run: Path) -> None:
    (run / "search" / "best.json").unlink()
    with pytest.raises(VitSearchError, match="search has not ended; name a candidate as"):
        find_source(str(run))
    source = find_source(f"{run}:{read_history(run)[0]['digest']}")
    assert source.space == small_space()  # from config.yaml
    shutil.rmtree(run / "search")
    with pytest.raises(VitSearchError, match=r"python -m vitsearch\.search checkpoint="):
        find_source(str(run))
    (run / "network.ckpt").touch()
    with pytest.raises(VitSearchError, match=r"python -m vitsearch\.retrain resume="):
        find_source(str(run))
