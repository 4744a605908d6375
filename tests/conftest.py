"""Fixtures that all tests share."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("house", deadline=None)  # budgets are steps, never seconds
hypothesis.settings.load_profile("house")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real sequences (DAVIS/, YouTubeVOS/, ...): VOS_TEACH_SHARED_DATA, or beside the checkout."""
    path = Path(os.environ.get("VOS_TEACH_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "DAVIS" / "JPEGImages").is_dir():
        pytest.skip("real sequences absent: set VOS_TEACH_SHARED_DATA to the folder that holds DAVIS/")
    return path


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
