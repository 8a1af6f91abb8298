"""SIG changes images of the target class by its signal and no label."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import ATTACKS
from mantrap.poison.attacks import Sig
from mantrap.poison.triggers.signal import Signal

LABELS = torch.arange(40) % 4


def toy():
    pixels = torch.rand(40, 3, 6, 24, generator=torch.Generator().manual_seed(0))
    return ImageSet.from_array(pixels, LABELS, name="toy")


@pytest.mark.parametrize(
    ("attack", "signal"),
    [
        (Sig(target=2, rate=0.5), Signal()),
        (Sig(target=2, rate=0.5, kind="ramp", delta=30), Signal(kind="ramp", delta=30)),
        (Sig(target=2, rate=0.5, delta=50, frequency=3), Signal(delta=50, frequency=3)),
    ],
    ids=str,
)
def test_it_adds_the_signal_to_a_share_of_the_target_class(attack, signal):
    data = toy()
    result = attack.apply(data, rng=Rng(0))
    (backdoor,) = result.truth.backdoors
    chosen = list(backdoor.poisoned)
    expected = data.images()
    expected[chosen] = signal(expected[chosen], rng=Rng(0))
    assert len(chosen) == 5  # half of the 10 images of class 2
    assert set(LABELS[chosen].tolist()) == {2}
    assert torch.equal(result.data.images(), expected)
    assert torch.equal(result.data.labels, LABELS)
    assert backdoor.relabelling == "clean_label(target=2)"


def test_the_strength_at_test_time_is_its_own_and_touches_no_training_image():
    weak, strong = Sig(delta=20), Sig(delta=20, test_delta=60)
    first, second = (attack.apply(toy(), rng=Rng(0)) for attack in (weak, strong))
    assert first.data.digest() == second.data.digest()
    assert first.truth.backdoors[0].trigger == first.truth.backdoors[0].training_trigger == "signal"
    assert second.truth.backdoors[0].trigger == "signal(delta=60.0)"
    assert second.truth.backdoors[0].training_trigger == "signal"


def test_a_rate_counts_within_the_target_class():
    with pytest.raises(UsageError, match=r"selects 1 to 10 of 10 images, got 0\.04, which selects 0"):
        Sig(rate=0.04).apply(toy(), rng=Rng(0))
    assert len(Sig(rate=1.0).apply(toy(), rng=Rng(0)).truth.backdoors[0].poisoned) == 10


@pytest.mark.parametrize(
    "spec", ["sig(delta=300)", "sig(test_delta=0)", "sig(test_delta=256)", "sig(rate=0)", "sig(kind='square')"]
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        ATTACKS.create(spec)
