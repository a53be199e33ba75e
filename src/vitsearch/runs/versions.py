"""The versions of the packages that a result depends on, as they are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str) -> str | None:
    """The version of a package; `None` if it is not installed, but run from its sources."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str | None]:
    """The versions of the packages that a result depends on most, by name."""
    packages = ("vitsearch", "torch", "pytorch-lightning")
    return {package: installed_version(package) for package in packages}
