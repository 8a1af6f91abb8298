"""What the suite promises of itself: shapes are checked, warnings are errors, one thread, one entry point."""

import subprocess
import warnings
from typing import Self

import hypothesis
import pytest
import torch
from jaxtyping import TypeCheckError

from mantrap.core import Rng
from mantrap.ops.stamp import stamp
from tools.shapecheck import check


def test_a_wrong_shape_is_caught():
    images, mask = torch.zeros(2, 1, 4, 4), torch.zeros(4, 4)

    assert stamp(images, mask, torch.ones(1, 4, 4)).shape == images.shape
    with pytest.raises(TypeCheckError):
        stamp(images, mask[None], torch.ones(1, 4, 4))


def test_a_wrong_type_is_caught():
    with pytest.raises(TypeCheckError):
        Rng(0).child(3)


def test_an_integer_does_for_a_float():
    def half(number: float) -> float:
        return number / 2

    assert check(half)(3) == 1.5


def test_a_method_that_returns_self_is_left_as_it_is():
    def again(self) -> Self:
        return self

    assert check(again) is again


def test_a_warning_is_an_error():
    with pytest.raises(UserWarning, match="mind the gap"):
        warnings.warn("mind the gap", stacklevel=1)


def test_one_thread():
    assert torch.get_num_threads() == 1


def test_no_deadlines():
    assert hypothesis.settings().deadline is None


def test_one_command_checks_everything_and_the_tests_come_last(root):
    done = subprocess.run(["make", "--dry-run", "check"], cwd=root, capture_output=True, text=True, check=True)
    steps = ["ruff check", "ruff format --check", "/mypy", "lint-imports", "ratchet.py", "zensical build", "pytest"]
    places = [done.stdout.rfind(step) for step in steps]

    assert -1 not in places
    assert places == sorted(places)


def test_ci_runs_the_same_command(root):
    assert "\nmake check" in (root / ".ci" / "run").read_text()
