"""Weights and network: they fit, or the message says name by name why not."""

import pytest
import torch
from torch import nn

from mantrap.errors import ModelError
from mantrap.models.fitting import load_weights, refuse_non_finite, without_prefix


def network():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def weights(**changes):
    given = {name: torch.full(tensor.shape, 0.5) for name, tensor in network().state_dict().items()}
    given.update({name.replace("__", "."): tensor for name, tensor in changes.items()})
    return {name: tensor for name, tensor in given.items() if tensor is not None}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_a_prefix_that_all_names_carry_is_dropped(prefix):
    given = {prefix + name: tensor for name, tensor in weights().items()}
    module = load_weights(network(), given, tried="a network")
    assert all((tensor == 0.5).all() for tensor in module.parameters())
    assert not module.training


def test_a_prefix_that_belongs_to_the_network_stays():
    given = {"module.weight": torch.zeros(1)}
    assert list(without_prefix(given, ["module.weight"])) == ["module.weight"]
    assert list(without_prefix({**given, "bias": torch.zeros(1)}, ["weight", "bias"])) == ["module.weight", "bias"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_becomes_float32(dtype):
    given = {name: tensor.to(dtype) for name, tensor in weights().items()}
    module = load_weights(network().to(dtype), given, tried="a network")
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert (module[0].weight == 0.5).all()


def test_counters_of_batch_normalisation_may_be_missing_also_without_memory():
    given = {name: tensor for name, tensor in weights().items() if "num_batches" not in name}
    with torch.device("meta"):
        module = network()
    load_weights(module, given, tried="a network")
    assert module[1].num_batches_tracked.item() == 0
    assert (module[2].bias == 0.5).all()


def test_a_misfit_lists_missing_unexpected_and_wrong_shapes_at_once():
    given = weights(**{"0__weight": None, "0__extra\x1b": torch.zeros(1), "2__weight": torch.zeros(7, 3)})
    with pytest.raises(ModelError) as caught:
        load_weights(network(), given, tried="mlp for images of 1x2x2")
    message = str(caught.value)
    assert "weights that fit mlp for images of 1x2x2" in message
    assert "missing: '0.weight'" in message
    assert r"unexpected: '0.extra\x1b'" in message
    assert "of another shape: '2.weight' 7x3 for 2x3" in message
    assert "--arch" in message


def test_long_lists_end_in_a_count():
    with pytest.raises(ModelError) as caught:
        load_weights(network(), {f"layer{i}": torch.zeros(1) for i in range(30)}, tried="a network")
    assert "'layer7' and 22 more" in str(caught.value)
    assert "'layer8'" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_named(value):
    given = weights(**{"2__bias": torch.tensor([0.0, value], dtype=torch.float64)})
    with pytest.raises(ModelError, match=r"NaN or infinite values in: '2\.bias'"):
        load_weights(network(), given, tried="a network")


def test_buffers_count_as_weights():
    module = network()
    module[1].running_var[0] = float("nan")
    with pytest.raises(ModelError, match=r"'1\.running_var'"):
        refuse_non_finite(module)
