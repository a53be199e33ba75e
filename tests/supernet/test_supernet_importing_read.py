"""Files of every form as one flat state dict; nothing in them is run."""

from __future__ import annotations

import argparse
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vitsearch.supernet.storage.importing.read import read_state

STATE = {"norm.weight": torch.arange(3.0), "head.module.0.bias": torch.ones(2)}
EMA = {name: tensor + 1 for name, tensor in STATE.items()}


def wrapped(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


FORMS = {
    "flat": STATE,
    "wrapped": wrapped(STATE),
    "model": {"model": STATE, "optimizer": {"state": {}}, "epoch": 3},
    "state_dict": {"epoch": 3, "state_dict": wrapped(STATE)},
    "model_ema": {"model_ema": STATE, "best": 0.8},
    "model first": {"model_ema": EMA, "state_dict": EMA, "model": STATE},
    "state_dict second": {"model_ema": EMA, "state_dict": wrapped(STATE)},
    "no network under model": {"model": "vit", "model_ema": STATE},
    "counters": {**STATE, "bn.num_batches_tracked": torch.tensor(3)},
    "more than tensors": {**STATE, "epoch": 3},
}


def assert_is_state(found):
    assert sorted(found) == sorted(STATE)
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_forms(form, suffix, tmp_path):
    file = tmp_path / f"weights{suffix}"
    torch.save(FORMS[form], file)
    assert_is_state(read_state(file))
    assert_is_state(read_state(str(file)))
    assert_is_state(read_state(FORMS[form]))


def test_old_files_of_torch(tmp_path):
    torch.save({"model": STATE}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_is_state(read_state(tmp_path / "old.pth"))


@pytest.mark.parametrize("form", ["flat", "wrapped", "counters"])
def test_safetensors(form, tmp_path):
    save_file(FORMS[form], tmp_path / "weights.safetensors")
    assert_is_state(read_state(tmp_path / "weights.safetensors"))


def test_a_prefix_that_only_some_names_have_belongs_to_them():
    state = {"module.norm.weight": torch.ones(1), "norm.weight": torch.zeros(1)}
    assert list(read_state(state)) == list(state)


def test_the_source_is_left_alone():
    state = {**wrapped(STATE), "module.bn.num_batches_tracked": torch.tensor(0)}
    before = dict(state)
    read_state(state)
    assert state == before


def test_arguments_of_a_training_script_are_plain_data(tmp_path):
    torch.save({"model": STATE, "args": argparse.Namespace(lr=1)}, tmp_path / "training.pth")
    assert_is_state(read_state(tmp_path / "training.pth"))


class Evil:
    def __reduce__(self):
        return (print, ("code from the file ran",))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"model": nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear"),
        ({"model": STATE, "evil": Evil()}, "print"),
    ],
    ids=["module", "code"],
)
def test_files_that_hold_objects(content, word, tmp_path, damaged, capsys):
    torch.save(content, tmp_path / "objects.pth")
    with damaged(tmp_path / "objects.pth", "cannot be read", word, "save its state dict alone"):
        read_state(tmp_path / "objects.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\nworld\n",
        b"\xff" * 1000,
        pickle.dumps([1, 2]),
        pickle.dumps(print),
        b"PK\x03\x04",
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_something_else(content, suffix, tmp_path, damaged):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with damaged(f"checkpoint {tmp_path / 'x'}{suffix}"):
        read_state(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.999])
def test_truncated(share, tmp_path, damaged):
    state = {"weight": torch.zeros(10_000)}
    torch.save(state, tmp_path / "x.pth")
    save_file(state, tmp_path / "x.safetensors")
    for file in (tmp_path / "x.pth", tmp_path / "x.safetensors"):
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        with damaged(file, "cannot be read"):
            read_state(file)


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), 3, None], ids=str)
def test_files_without_names(content, tmp_path, damaged):
    torch.save(content, tmp_path / "x.pth")
    with damaged(tmp_path / "x.pth", "not tensors by name"):
        read_state(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "found"),
    [({}, "nothing"), ({"net": STATE, "epoch": 3}, "net, epoch"), ({"model": {}}, "model")],
)
def test_no_tensors(content, found, tmp_path, damaged):
    torch.save(content, tmp_path / "x.pth")
    with damaged(tmp_path / "x.pth", "no tensors", "model, state_dict, model_ema", found):
        read_state(tmp_path / "x.pth")
    with damaged("state dict has no tensors", found):
        read_state(content)


def test_no_file(tmp_path, damaged):
    for path in (tmp_path, tmp_path / "nowhere.pth", tmp_path / "nowhere.safetensors"):
        with damaged(f"checkpoint {path} is no file"):
            read_state(path)
    for source in (3, None, nn.Linear(2, 2)):
        with damaged(f"source of type {type(source).__name__}", "state dict or the path"):
            read_state(source)
