"""FTrojan as an attack: its trigger on a share of the images, which get the target's label."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import Frequency
from mantrap.poison.triggers.spectrum import Spectrum


@pytest.mark.parametrize(
    ("attack", "trigger"),
    [
        (Frequency(target=3, rate=0.1), Spectrum()),
        (Frequency(target=3, rate=0.1, magnitude=80, planes="yuv"), Spectrum(magnitude=80, planes="yuv")),
    ],
    ids=str,
)
def test_a_share_of_the_images_gets_trigger_and_label(attack, trigger):
    labels = torch.arange(40) % 4
    data = ImageSet.from_array(torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)), labels)
    result = attack.apply(data, rng=Rng(0))
    (backdoor,) = result.truth.backdoors
    chosen = list(backdoor.poisoned)
    expected = data.images()
    expected[chosen] = trigger(expected[chosen], rng=Rng(0))
    assert len(chosen) == 4
    assert torch.equal(result.data.images(), expected)
    assert 3 not in labels[chosen].tolist()
    assert result.data.labels[chosen].tolist() == [3] * 4
    assert backdoor.trigger == backdoor.training_trigger


@pytest.mark.parametrize("spec", ["frequency(magnitude=-1)", "frequency(rate=2)", "frequency(planes='hsv')"])
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        ATTACKS.create(spec)
