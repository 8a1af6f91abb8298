"""Triggers are compared on images that the audit has not searched with, where that can be told."""

import pytest

from mantrap.core import Rng
from mantrap.workflow.parting import parted
from mantrap.workflow.unsearched import unsearched
from tests import cleansing, headed, stage
from tests.cleansing import reopened


@pytest.fixture(scope="module", params=[0, 3])
def audited(request, tmp_path_factory):
    return cleansing.audited(tmp_path_factory.mktemp("audited"), seed=request.param)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reopened(headed.write_model(tmp_path_factory.mktemp("model")))


def test_of_the_images_of_the_audit_those_that_it_held_out_are_taken(model, audited):
    found, note = unsearched(model, stage.image_set(), audited)
    searched, _ = parted(stage.image_set(), Rng(audited.reproduction.seed))

    assert found.digest() == audited.data.heldout_digest
    assert not set(found.content_hashes) & set(searched.content_hashes)
    assert note == "The audit searched with 90 of these images, so triggers are compared on the 30 others."


def test_of_held_out_images_nothing_needs_to_be_said(model, audited):
    _, heldout = parted(stage.image_set(), Rng(audited.reproduction.seed))
    found, note = unsearched(model, heldout, audited)

    assert (found.digest(), note) == (heldout.digest(), "")


@pytest.mark.parametrize("count", [60, 90])
def test_of_other_sets_it_says_that_it_cannot_tell(model, audited, count):
    found, note = unsearched(model, stage.image_set(count), audited)

    assert len(found) == count
    assert note == (
        "The audit searched with 90 images of tiles. "
        "Whether any of them are among those that triggers are compared on cannot be told."
    )
