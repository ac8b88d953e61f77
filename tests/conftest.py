"""Shared fixtures: where the real data is."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder that `DANLU_DATA` names; its tests are skipped where it is not set, unless `DANLU_REQUIRE_DATA=1`."""
    folder = os.environ.get("DANLU_DATA", "")
    if not folder:
        if os.environ.get("DANLU_REQUIRE_DATA") == "1":
            pytest.fail("DANLU_DATA is not set")
        pytest.skip("needs DANLU_DATA, a folder of public data sets")
    return Path(folder)
