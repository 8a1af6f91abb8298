"""Where a model computes."""

import pytest
import torch

from mantrap.errors import UsageError
from mantrap.models import device


@pytest.fixture
def accelerators(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(("count", "kind"), [(0, "cpu"), (2, "cuda")])
def test_auto_takes_the_accelerator_where_there_is_one(accelerators, count, kind):
    accelerators(count)
    assert device().type == kind
    assert device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_an_absent_accelerator_is_named(accelerators, name):
    accelerators(0)
    with pytest.raises(UsageError, match=f"'{name}' on a machine with 0 CUDA devices"):
        device(name)


def test_devices_are_counted_from_zero(accelerators):
    accelerators(2)
    assert device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="'cuda:2' on a machine with 2"):
        device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "cpu:0", "meta"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        device(name)
