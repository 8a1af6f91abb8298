"""Training some layers of a network only: these move, the others rest in every respect."""

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet, Rng
from mantrap.errors import UsageError
from mantrap.models import wrap
from mantrap.training import Recipe, fit

LABELS = torch.arange(18) % 3
BODY = {"body.conv.weight", "body.conv.bias"}
BODY_NORM = {"body.norm.weight", "body.norm.bias"}
STATISTICS = {"body.norm.running_mean", "body.norm.running_var", "body.norm.num_batches_tracked"}
HEAD = {f"head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
HEADER = {"header.weight", "header.bias"}


class Parts(nn.Module):
    """A body with batch statistics, a head with dropout, and a layer whose name begins like the head's."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential()
        self.body.add_module("conv", nn.Conv2d(1, 4, 3))
        self.body.add_module("norm", nn.BatchNorm2d(4))
        self.body.add_module("flat", nn.Flatten())
        self.head = nn.Sequential(nn.Linear(16, 8), nn.Dropout(0.9), nn.Linear(8, 6))
        self.header = nn.Linear(6, 3)

    def forward(self, images):
        return self.header(self.head(self.body(images)))


def toy():
    return ImageSet.from_array(torch.rand(18, 1, 4, 4, generator=Rng(0).torch()), LABELS, name="toy")


def model():
    with Rng(0).as_global():
        return wrap(Parts(), input_shape=(1, 4, 4))


def trained(*layers, start=None, **options):
    recipe = Recipe(**{"epochs": 2, "batch_size": 6, "optimizer": "sgd(lr=0.3, momentum=0.9)"} | options, layers=layers)
    return fit(start or model(), toy(), recipe=recipe, rng=Rng(0))


def moved(*layers):
    before, after = model().module.state_dict(), trained(*layers).model.module.state_dict()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (("head",), HEAD),
        (("header",), HEADER),
        (("head.2", "header"), {"head.2.weight", "head.2.bias"} | HEADER),
        (("body.norm",), BODY_NORM | STATISTICS),
        (("body.conv", "head.0"), BODY | {"head.0.weight", "head.0.bias"}),
        (("body", "body.conv"), BODY | BODY_NORM | STATISTICS),
        ((), BODY | BODY_NORM | STATISTICS | HEAD | HEADER),
    ],
    ids=lambda value: " ".join(sorted(value)) or "all",  # workers must agree on the order
)
def test_only_these_weights_and_statistics_move(layers, expected):
    found = moved(*layers)
    # The bias before batch normalisation has no gradient but what rounding leaves.
    assert found | {"body.conv.bias"} == expected | {"body.conv.bias"}
    assert found <= expected


def test_layers_at_rest_are_as_in_use_and_a_trained_layer_is_not():
    def first_loss(*layers):
        return trained(*layers, epochs=1, batch_size=18).record.epochs[0].loss

    start = model()
    with start.frozen():
        used = float(nn.functional.cross_entropy(start.logits(toy().images()), LABELS))
    assert first_loss("header") == pytest.approx(used, rel=1e-5)  # neither dropout nor the statistics of the batch
    assert first_loss("head", "header") != pytest.approx(used, rel=1e-3)


def test_the_weights_that_come_back_want_gradients_as_they_did():
    start = model()
    start.module.head[0].weight.requires_grad_(False)
    start.module.body.conv.bias.requires_grad_(False)
    wanted = [p.requires_grad for p in start.module.parameters()]
    after = trained("head", start=start).model.module
    assert [p.requires_grad for p in after.parameters()] == wanted
    assert [p.requires_grad for p in start.module.parameters()] == wanted
    assert torch.equal(after.head[0].weight, start.module.head[0].weight)
    assert not torch.equal(after.head[2].weight, start.module.head[2].weight)
    assert not any(part.training for part in after.modules())


def test_a_finished_checkpoint_gives_the_same_and_wants_gradients_again(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    recipe = Recipe(epochs=2, batch_size=6, layers=("head",))
    first, second = (fit(model(), toy(), recipe=recipe, rng=Rng(0), checkpoint=checkpoint) for _ in range(2))
    assert first.model.digest() == second.model.digest()
    assert all(p.requires_grad for p in second.model.module.parameters())


def test_the_choice_is_part_of_the_recipe():
    assert trained("head", "header").record.recipe.endswith("layers=('head', 'header'))")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (("head", "tail"), r"layers out of body, body\.conv, .*, header, got \['tail'\]"),
        (("hea",), r"got \['hea'\]"),
        (("body.flat",), r"layers with weights in \('body\.flat',\), got none that has any"),
        (("body.flat", "head.1"), "got none that has any"),
    ],
    ids=str,
)
def test_layers_that_are_not_there_or_have_no_weights_are_refused(layers, words):
    with pytest.raises(UsageError, match=words):
        trained(*layers)
