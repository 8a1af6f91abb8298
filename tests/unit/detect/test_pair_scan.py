"""Pairs of classes: one that a small patch takes for another is found, and of who cannot be scanned it is said."""

import itertools

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.detect import DETECTORS
from mantrap.detect.blind_spots import SOME_CLASSES
from mantrap.detect.goals import pair
from mantrap.errors import SpecError
from tests import sourced, stage
from tests.hurried import StopsAfter
from tests.planted import Planted

SHORT = "pair_scan(steps=2, images_per_step=8)"
PLANTED = (sourced.SOURCE, sourced.TARGET)
ALL = set(itertools.permutations(range(stage.CLASSES), 2))


def scan(spec=SHORT, *, model=None, images=None, **options):
    given = images or stage.image_set(60)
    return DETECTORS.create(spec).detect(
        model or sourced.model(), given, heldout=given.subset(range(6)), rng=Rng(0), **options
    )


@pytest.mark.parametrize(("number", "wanted"), [(1, [1, 1, 2]), (2, [2, 1, 2]), (3, [0, 0, 2]), (7, [0, 1, 1])])
def test_a_pair_wants_its_target_of_its_source_and_of_others_what_they_are(number, wanted):
    assert pair(number, 3).tolist() == wanted


def test_the_planted_pair_needs_the_smallest_patch_and_it_is_the_square():
    found = scan(sourced.QUICK, images=stage.image_set(120))
    patch = found.pairs.patches[PLANTED]

    assert set(found.pairs.norms) == ALL
    assert min(found.pairs.norms, key=found.pairs.norms.get) == PLANTED
    assert 2 * found.pairs.norms[PLANTED] < sorted(found.pairs.norms.values())[1]
    assert patch.target == sourced.TARGET
    assert patch.norm == pytest.approx(found.pairs.norms[PLANTED])
    assert float(patch.mask[-2:, -2:].sum()) > 0.9 * patch.norm
    assert (found.labels, found.traits, found.suspects, found.missed) == ((), {}, (), 0)
    assert SOME_CLASSES not in found.blind_spots


def test_every_pair_has_its_own_patch():
    found = scan("pair_scan(steps=40, images_per_step=8)", model=sourced.model(planted=False))
    worked = {p for p, norm in found.pairs.norms.items() if norm < float("inf")}

    assert len(worked) > 20
    assert set(found.pairs.patches) == worked
    for (_, target), patch in found.pairs.patches.items():
        assert patch.target == target


def test_what_one_pair_needs_does_not_depend_on_who_is_searched_beside_it():
    one, other = (scan(f"pair_scan(steps=10, images_per_step=8, labels_at_once={n})") for n in (64, 4))

    assert set(one.pairs.norms) == set(other.pairs.norms)
    assert one.pairs.norms == pytest.approx(other.pairs.norms, rel=1e-3)


def test_of_some_labels_only_they_are_targets_and_all_classes_are_sources():
    found = scan(labels=[4, 0])

    assert set(found.pairs.norms) == {p for p in ALL if p[1] in (0, 4)}


def test_classes_of_too_few_images_are_no_sources_and_it_says_so():
    images = stage.image_set(60)
    few = images.subset([i for i, label in enumerate(images.labels.tolist()) if label not in (0, 3) or i < 18])
    found = scan(images=few)

    assert {source for source, _ in found.pairs.norms} == {1, 2, 4, 5}
    assert {target for _, target in found.pairs.norms} == set(range(6))
    assert found.notes == ("2 classes were no sources: the model takes fewer than 4 images for each.",)
    assert found.missed == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"spec": "pair_scan(most_classes=5)"}, "Pairs are scanned in models of 4 to 5 classes; this one has 6."),
        (
            {"model": Planted(classes=3).model(), "images": Planted(classes=3).images(8, "scan")},
            "Pairs are scanned in models of 4 to 50 classes; this one has 3.",
        ),
        (
            {"images": ImageSet.from_array(stage.pixels(60)[0][torch.arange(60) % 6 < 3])},
            "The model takes the images for 3 of its classes: too few to compare pairs.",
        ),
    ],
    ids=["many", "few", "images of few"],
)
def test_where_there_is_nothing_to_compare_it_says_why_and_sees_nothing(given, said):
    found = scan(**given)

    assert (found.pairs, found.notes, found.missed) == (None, (said,), 0)
    assert SOME_CLASSES in found.blind_spots


def test_when_time_is_over_the_targets_that_were_not_reached_are_missed():
    part = scan("pair_scan(steps=2, images_per_step=8, labels_at_once=1)", progress=StopsAfter(3.0))

    assert set(part.pairs.norms) == {(0, 1), (0, 2), (0, 3)}
    assert part.missed == 3


def test_when_each_target_was_reached_but_not_from_each_source_something_is_missed_all_the_same():
    part = scan("pair_scan(steps=2, images_per_step=8, labels_at_once=1)", progress=StopsAfter(12.0))

    assert {target for _, target in part.pairs.norms} == set(range(6))
    assert part.missed == 1


@pytest.mark.parametrize("field", ["images", "most_classes"])
def test_there_is_at_least_one_of_each(field):
    with pytest.raises(SpecError, match=f"{field} of at least 1, got 0"):
        DETECTORS.create(f"pair_scan({field}=0)")
