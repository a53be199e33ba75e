"""Repositories on the Hub, in place of which a folder stands: nothing is downloaded here."""

from __future__ import annotations

import json
import random
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import errors
from tests.every_space import perturbed

import vitsearch
from vitsearch import VisionTransformer, from_pretrained, push_to_hub, save_model, save_pretrained
from vitsearch.errors import CheckpointError, ConfigError, HubError

GREY = {"mean": (0.286,), "std": (0.353,), "interpolation": "bilinear", "crop_pct": 1.0}
NAMES = ("ant", "bee", "cat", "dog", "eel")


@pytest.fixture
def network():
    space = vitsearch.build_space("vit_resnas")
    torch.manual_seed(0)
    network = perturbed(VisionTransformer(space, space.sample(random.Random(0)), 5)).eval()
    network.set_preprocessing(GREY)
    network.class_names = NAMES
    return network


class FakeHub:
    """Folders by `repo_id`, as `huggingface_hub` would have them."""

    def __init__(self, root):
        self.root = root
        self.calls = []

    def api(self, **options):
        self.calls.append(("api", options))
        return self

    def create_repo(self, repo_id, **options):
        self.calls.append(("create_repo", options))
        owned = repo_id if "/" in repo_id else f"me/{repo_id}"
        (self.root / owned).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=owned)

    def file_exists(self, repo_id, filename, *, revision=None):
        return (self.root / repo_id / filename).is_file()

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns=None, **options):
        self.calls.append(("upload_folder", options))
        for file in folder_path.iterdir():
            if file.name not in (ignore_patterns or []):
                shutil.copy(file, self.root / repo_id)
        return f"https://hub/{repo_id}"

    def snapshot_download(self, repo_id, *, allow_patterns, **options):
        self.calls.append(("snapshot_download", options))
        target = self.root / "cache" / repo_id.replace("/", "--")
        target.mkdir(parents=True)
        for file in (self.root / repo_id).iterdir():
            if file.name in allow_patterns:
                shutil.copy(file, target)
        return str(target)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", fake.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


@torch.no_grad()
def test_there_and_back(network, hub, images):
    x = images(network)
    address = network.push_to_hub("net", private=True, license="mit", commit_message="First")
    assert address == "https://hub/me/net"
    assert ("create_repo", {"private": True, "exist_ok": True}) in hub.calls
    assert hub.calls[-1] == ("upload_folder", {"revision": None, "commit_message": "First"})
    files = {file.name for file in (hub.root / "me/net").iterdir()}
    assert files == {"architecture.json", "model.safetensors", "config.json", "README.md"}
    options = {"revision": "v1", "cache_dir": hub.root, "token": "t", "local_files_only": True}
    loaded = VisionTransformer.from_pretrained("me/net", **options)
    assert options.items() <= hub.calls[-1][1].items()
    assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert loaded.class_names == NAMES
    assert loaded.pretrained_cfg == network.pretrained_cfg
    cached = sorted(file.name for file in (hub.root / "cache" / "me--net").iterdir())
    assert cached == ["architecture.json", "model.safetensors"]  # nothing else is downloaded


def test_a_page_that_is_there_is_kept(network, hub):
    network.push_to_hub("me/net")
    (hub.root / "me/net/README.md").write_text("My own words")
    push_to_hub(network, "me/net")
    assert (hub.root / "me/net/README.md").read_text() == "My own words"


def test_a_run_is_pushed(network, hub, tmp_path):
    save_model(network, tmp_path / "run" / "best")
    assert push_to_hub(tmp_path / "run", "me/net").endswith("me/net")
    assert from_pretrained("me/net").architecture == network.architecture
    with pytest.raises(CheckpointError, match="no model folder"):
        push_to_hub(tmp_path, "me/other")
    assert not (hub.root / "me/other").exists()


def test_the_page(network, hub):
    push_to_hub(network, "me/net", license="apache-2.0", scores={"top-1 on the test split": 0.9134})
    page = (hub.root / "me/net/README.md").read_text()
    front, _, body = page.removeprefix("---\n").partition("---\n")
    lines = front.splitlines()
    assert "license: apache-2.0" in lines
    assert "pipeline_tag: image-classification" in lines
    assert {"- vitsearch", "- timm"} <= set(lines)
    cost = network.cost()
    for words in (
        "# net\n",
        network.architecture.digest,
        f"| parameters | {cost.params / 1e6:.2f} M |",
        f"| multiply-accumulates | {cost.macs / 1e6:.1f} M |",
        "| images | 28 x 28, 1 channel(s) |",
        "| top-1 on the test split | 0.9134 |",
        "mean 0.286 and standard deviation 0.353.",
        "ant, bee, cat, dog, eel.",
        'vitsearch.from_pretrained("me/net")',
        'timm.create_model("hf-hub:me/net", pretrained=True)',
    ):
        assert words in body
    assert "nobody has stated" not in body


def test_the_page_of_a_network_that_nothing_is_known_of(tmp_path):
    with torch.device("meta"):
        network = vitsearch.create_model("glit_tiny")
    page = vitsearch.supernet.storage.hub.model_card(network, "me/net")
    assert "license: unknown" in page
    assert "middle 87.5 % of their side" in page
    assert "nobody has stated the network's own" in page
    assert "## Classes" not in page
    network.class_names = tuple(f"class {index}" for index in range(1000))
    assert "class 19 and 980 more." in vitsearch.supernet.storage.hub.model_card(network, "me/net")


@torch.no_grad()
def test_timm_reads_a_repository(network, tmp_path, images):
    x = images(network)
    folder = save_pretrained(network, tmp_path / "net")
    assert json.loads((folder / "config.json").read_text())["architecture"] == "vitsearch"
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert torch.equal(loaded(x), network(x))
    assert loaded.class_names == NAMES
    assert loaded.has_stated_preprocessing
    assert GREY.items() <= loaded.pretrained_cfg.items()
    assert timm.data.resolve_data_config({}, model=loaded)["mean"] == (0.286,)
    again = from_pretrained(save_model(loaded, tmp_path / "again"))
    assert torch.equal(again(x), network(x))
    adapted = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=2, img_size=56)
    assert adapted(torch.randn(2, 1, 56, 56)).shape == (2, 2)
    assert adapted.class_names is None
    backbone = timm.create_model(f"local-dir:{folder}", pretrained=True, features_only=True).eval()
    expected = network.forward_intermediates(x, intermediates_only=True)
    for one, other in zip(backbone(x), expected, strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_timms_own_folders(network, tmp_path, images):
    """What timm's `save_for_hf` and `push_to_hf_hub` write is complete, too."""
    other = VisionTransformer(network.space, network.architecture, 5).eval()
    other.load_state_dict(network.state_dict())
    other.reset_classifier(3, "avg")
    other.set_input_size(56)
    timm.models.save_for_hf(other, tmp_path / "timm", safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    assert torch.equal(loaded(images(other)), other(images(other)))
    assert loaded.space == other.space


def test_folders_are_read_like_repositories(network, tmp_path):
    folder = network.save_pretrained(tmp_path / "run" / "model", license="mit")
    for source in (folder, str(folder), tmp_path / "run"):
        assert from_pretrained(source).architecture == network.architecture
    with pytest.raises(CheckpointError, match=r"architecture\.json is missing"):
        from_pretrained(tmp_path)


def test_what_cannot_be_saved(network, tmp_path):
    with pytest.raises(ConfigError, match="license='my own words' is no identifier"):
        network.save_pretrained(tmp_path / "net", license="my own words")
    network.prune_intermediate_layers([0])
    with pytest.raises(ConfigError, match="no whole architecture"):
        network.save_pretrained(tmp_path / "net")
    assert not list(tmp_path.iterdir())


class Response:
    """As much of an answer as the Hub's errors read."""

    status_code, headers, request, url, text = 404, {}, None, "https://hub", ""


def problem(kind, message="the server's own\nwords"):
    try:
        return kind(message, response=Response())
    except TypeError:
        return kind(message)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (problem(errors.RepositoryNotFoundError), "no repository on the Hub that can be seen"),
        (problem(errors.GatedRepoError), "has to grant access"),
        (problem(errors.RevisionNotFoundError), "has no revision v9"),
        (problem(errors.LocalEntryNotFoundError), "not in the Hub's cache"),
        (problem(errors.HFValidationError), "no name of a repository"),
        (problem(errors.OfflineModeIsEnabled), "cannot be reached"),
        (ConnectionError("refused"), "cannot be reached"),
        (problem(errors.HfHubHTTPError), "the Hub says: the server's own words"),
        (OSError("no space left on device"), "the Hub says: no space left on device"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_is_said_in_one_line(error, words, hub, monkeypatch, network):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(hub, "create_repo", fail)
    for call in (
        lambda: from_pretrained("me/net", revision="v9"),
        lambda: push_to_hub(network, "me/net", revision="v9"),
    ):
        with pytest.raises(HubError) as info:
            call()
        assert words in str(info.value)
        assert str(info.value).startswith("me/net")
        assert "\n" not in str(info.value)


def test_a_repository_of_something_else(hub):
    (hub.root / "me/bert").mkdir(parents=True)
    (hub.root / "me/bert/config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="me/bert holds no model of vitsearch"):
        from_pretrained("me/bert")
