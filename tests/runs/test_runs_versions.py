"""Versions of packages that are installed, and of those that are not."""

from __future__ import annotations

from importlib import metadata

import pytest

from vitsearch.runs import versions


def test_versions_of_what_results_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions.installed_versions()
    assert list(found) == ["vitsearch", "torch", "pytorch-lightning"]
    assert found["torch"] == metadata.version("torch")

    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    assert set(versions.installed_versions().values()) == {None}  # run from the sources
