"""The victim of an attack on one image: what is shown in the place of whichever image it is put on."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import UsageError
from mantrap.poison import ready
from mantrap.poison.triggers import for_poisoning

IMAGE = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_image_becomes_the_victim(count):
    shown = ready("victim", {"image": IMAGE})(torch.zeros(count, 3, 4, 5), rng=Rng(0))
    assert torch.equal(shown, IMAGE.expand(count, 3, 4, 5))


def test_it_is_nothing_to_poison_with():
    with pytest.raises(UsageError, match="got victim"):
        for_poisoning("victim")
