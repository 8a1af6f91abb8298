"""With what an attack of a grid begins."""

import pytest

from mantrap.models import open_model
from mantrap.poison import BadNets
from mantrap.workflow.benchmark import Benchmarking, benchmark
from mantrap.workflow.zoo_plan import RETRAINING
from tests import gridding


@pytest.fixture
def ground(tmp_path):
    """The images, where attacks and defences have their names."""
    with gridding.registered():
        yield gridding.write_images(tmp_path)


def run(data, out, *, only, **changes):
    return benchmark(Benchmarking(plan=gridding.plan(data, **changes), only=only), out)


@pytest.mark.parametrize("begun", [True, False])
def test_an_attack_on_a_trained_model_begins_with_the_clean_one_and_others_with_fresh_weights(
    ground, tmp_path, monkeypatch, begun
):
    given, plan = [], gridding.plan(ground)
    implant = gridding.Wired.implant

    def noting(self, model, images, *, recipe, **more):
        given.append((model.digest(), recipe))
        return implant(self, model, images, recipe=recipe, **more)

    monkeypatch.setattr(gridding.Wired, "implant", noting)
    if begun:
        monkeypatch.setitem(RETRAINING, "wired", "recipe")
    record = run(ground, tmp_path / "out", attacks=[gridding.WIRED], only="*/wired/idle/*")
    clean = open_model(tmp_path / "out" / record.models[0].file)

    assert [(digest == clean.digest(), recipe) for digest, recipe in given] == [
        (begun, plan.retraining if begun else plan.recipe)
    ]


def test_an_attacker_has_the_clean_model(ground, tmp_path, monkeypatch):
    given, apply = [], BadNets.apply

    def noting(self, images, *, model, **more):
        given.append(model.digest())
        return apply(self, images, model=model, **more)

    monkeypatch.setattr(BadNets, "apply", noting)
    record = run(ground, tmp_path / "out", attacks=[gridding.PATCHED], only="*badnets*/white/*")

    assert set(given) == {open_model(tmp_path / "out" / record.models[0].file).digest()}
    assert len(given) == 2  # to train, and to screen what was trained on
