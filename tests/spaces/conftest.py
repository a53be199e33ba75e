from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from vitsearch import SearchSpace, build_space
from vitsearch.errors import SpaceError


@contextmanager
def _refused(*words: object) -> Iterator[None]:
    with pytest.raises(SpaceError) as info:
        yield
    message = str(info.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


@pytest.fixture(scope="session")
def refused() -> Callable[..., AbstractContextManager[None]]:
    """Expect a `SpaceError` of one line that holds all the given words."""
    return _refused


@pytest.fixture(scope="session")
def glit() -> SearchSpace:
    return build_space("glit")


@pytest.fixture(scope="session")
def glit_tiny() -> SearchSpace:
    return build_space("glit_tiny")
