from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.elastic.cases import CASES, Case, randomised
from tests.elastic.family_cases import FAMILY_CASES

EVERY_CASE = CASES | FAMILY_CASES


@pytest.fixture(scope="session", name="randomised")
def _randomised() -> Callable[..., Any]:
    return randomised


@pytest.fixture(params=EVERY_CASE)
def case(request: pytest.FixtureRequest) -> Case:
    return EVERY_CASE[request.param]
