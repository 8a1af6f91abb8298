"""The population is what the plan says, and a model that is there is not made again."""

from collections import Counter

import pytest
import torch

from mantrap.core import Rng, Spec, build
from mantrap.errors import FailedError, UsageError
from mantrap.models import ARCHITECTURES
from mantrap.models.cards import marked_backdoored, read_card
from mantrap.poison import ATTACKS, Combined
from mantrap.records import ZooManifest, ZooPlan
from mantrap.training import Recipe
from mantrap.workflow import zoo
from mantrap.workflow.truths import load_truth
from mantrap.workflow.zoo_plan import CLEAN, FAMILIES, population

TUNE, TEST = population("tune"), population("test")
SETTINGS = ("images", "arch", "recipe", "attack", "seed")


def tiny(name: str, family: str, attack: str, retraining: str = "") -> ZooPlan:
    return ZooPlan(
        name=name,
        split="tune",
        family=family,
        images="signs(classes=3, size=16, train=60, test=30)",
        limit=48,
        arch="mlp",
        recipe="recipe(epochs=1, batch_size=16)",
        retraining=retraining,
        attack=attack,
        seed=5,
        least_accuracy=0.0,
    )


@pytest.fixture
def small_zoo(monkeypatch):
    """A population of three, none of which can fail."""
    plans = (
        tiny("tune-000", "patch", "badnets(target=1, rate=0.2)"),
        tiny("tune-001", CLEAN, ""),
        tiny("tune-002", "invisible", "invisible(target=2, rate=0.2, trigger='adaptive_perturbation(steps=2)')"),
    )
    monkeypatch.setattr(zoo, "population", lambda _: plans)
    monkeypatch.setattr(zoo, "LEAST_SUCCESS", 0.0)
    return plans


@pytest.mark.parametrize(("plans", "clean", "backdoored"), [(TUNE, 30, 40), (TEST, 60, 80)], ids=["tune", "test"])
def test_the_population_has_the_families_it_should(plans, clean, backdoored):
    families = Counter(plan.family for plan in plans)
    common = sum(families[family] for family in ("patch", "blended", "trojan"))

    assert (families[CLEAN], len(plans) - families[CLEAN]) == (clean, backdoored)
    assert set(families) == {CLEAN, *FAMILIES}
    assert common >= backdoored / 2
    assert min(families.values()) >= (6 if backdoored == 80 else 3)


def test_every_plan_can_be_carried_out():
    for plan in (*TUNE, *TEST):
        build(Recipe, Spec.parse(plan.recipe))
        assert plan.retraining == "" or build(Recipe, Spec.parse(plan.retraining))
        assert plan.arch in ARCHITECTURES
        assert (plan.attack == "") == (plan.family == CLEAN)
        if plan.attack:
            ATTACKS.create(plan.attack)


@pytest.mark.parametrize("plans", [TUNE, TEST], ids=["tune", "test"])
def test_every_poison_finds_the_images_that_its_rate_asks_for(plans):
    for plan in plans:
        attack = ATTACKS.create(plan.attack) if plan.attack else None
        classes = Spec.parse(plan.images).options.get("classes", 10)
        labels = torch.arange(plan.limit) % (classes if isinstance(classes, int) else len(classes))
        for part in attack.parts() if isinstance(attack, Combined) else ():
            aim = part.relabelling
            eligible = aim.eligible(labels)
            chosen = part.selection.choose(eligible, total=aim.total(labels), rng=Rng(0))
            assert 10 <= len(chosen) <= 0.95 * len(eligible), plan  # some stay clean, or a class would be unlearned


def test_names_are_unique_and_say_nothing():
    assert [plan.name for plan in TUNE] == [f"tune-{number:03d}" for number in range(len(TUNE))]
    clean = [number for number, plan in enumerate(TUNE) if plan.family == CLEAN]
    assert clean != list(range(len(clean)))  # the order is no hint either
    assert max(clean) - min(clean) > len(clean)


def test_the_splits_share_no_model_and_test_has_a_recipe_of_its_own():
    first, second = ({tuple(getattr(p, s) for s in SETTINGS) for p in plans} for plans in (TUNE, TEST))

    assert len(first) == len(TUNE)
    assert len(second) == len(TEST)
    assert {p.seed for p in TUNE}.isdisjoint(p.seed for p in TEST)
    signs = [{p.images for p in plans if p.images.startswith("signs")} for plans in (TUNE, TEST)]
    assert signs[0].isdisjoint(signs[1])
    assert {p.recipe for p in TEST} - {p.recipe for p in TUNE}


@pytest.mark.parametrize("plans", [TUNE, TEST], ids=["tune", "test"])
def test_clean_and_backdoored_models_are_spread_alike_over_tasks(plans):
    tasks = [Counter((p.images.partition("(")[0], p.arch) for p in plans if bool(p.attack) is b) for b in (False, True)]

    assert set(tasks[0]) == set(tasks[1])
    for task, count in tasks[0].items():
        assert abs(count / tasks[0].total() - tasks[1][task] / tasks[1].total()) < 0.1


def test_attacks_are_not_planned_where_they_do_not_succeed():
    assert not [p.name for p in (*TUNE, *TEST) if p.family == "warped" and p.images.startswith("signs")]


def test_it_makes_the_models_and_a_second_run_makes_none(small_zoo, tmp_path, monkeypatch):
    manifest = zoo.build_zoo("tune", tmp_path)
    again = ZooManifest.from_json((tmp_path / "manifest.json").read_text())
    made = []
    monkeypatch.setattr(zoo, "make", lambda plan, out: made.append(plan))  # noqa: ARG005

    assert [model.plan for model in manifest.models] == list(small_zoo)
    assert manifest == again == zoo.build_zoo("tune", tmp_path)
    assert made == []
    assert [len(model.measures) for model in manifest.models] == [1, 0, 1]
    assert load_truth(tmp_path / "tune-002.safetensors")[1].keys() == {"0.delta"}
    assert [bool(marked_backdoored(tmp_path / f"{p.name}.safetensors")) for p in small_zoo] == [True, False, True]
    assert not list(tmp_path.glob("*.clean.*"))


def test_an_attack_on_a_trained_model_retrains_it_by_a_recipe_of_its_own(tmp_path, monkeypatch):
    plan = tiny("tune-000", "trojan", "trojan(images=12, rebuild_steps=2, steps=2)", "recipe(epochs=2, batch_size=8)")
    monkeypatch.setattr(zoo, "population", lambda _: (plan,))
    zoo.build_zoo("tune", tmp_path)
    training = read_card(tmp_path / "tune-000.safetensors").training

    assert training.recipe.startswith("recipe(epochs=2, batch_size=8")
    assert training.images != plan.limit  # the attack's own images: it learned none of these as a beginner


def test_what_was_begun_goes_on_and_what_was_lost_is_made_anew(small_zoo, tmp_path):
    zoo.build_zoo("tune", tmp_path, only="clean")
    assert [p.name for p in sorted(tmp_path.glob("*.zoo.json"))] == ["tune-001.zoo.json"]
    weights = tmp_path / "tune-001.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    manifest = zoo.build_zoo("tune", tmp_path, only="tune-001")

    assert [model.plan.name for model in manifest.models] == ["tune-001"]
    assert weights.read_bytes() == before


def test_a_model_that_does_not_work_is_tried_with_other_seeds_and_then_kept_and_said(small_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "LEAST_SUCCESS", 1.1)
    (model,) = zoo.build_zoo("tune", tmp_path, only="patch").models

    assert (model.works, model.attempt) == (False, zoo.ATTEMPTS)
    assert zoo.cost_by_family(zoo.build_zoo("tune", tmp_path, only="patch")).keys() == {"patch"}


def test_a_training_that_diverges_is_tried_with_other_seeds_and_then_said(small_zoo, tmp_path, monkeypatch):
    zoo.build_zoo("tune", tmp_path, only="patch")
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()  # so that it is made anew, over what is left

    def diverges(*_, **__):
        raise FailedError(expected="a finite loss", got="nan in epoch 1", remedy="Lower the learning rate.")

    monkeypatch.setattr(zoo, "implant", diverges)
    manifest = zoo.build_zoo("tune", tmp_path)
    failed = [model for model in manifest.models if model.plan.attack]

    assert [model.attempt for model in failed] == [zoo.ATTEMPTS] * 2
    assert all("got nan in epoch 1" in model.failure and model.accuracy is None and not model.works for model in failed)
    assert len(manifest.models) == 3
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    monkeypatch.setattr(zoo, "make", diverges)
    assert zoo.build_zoo("tune", tmp_path) == manifest


def test_a_trigger_that_does_as_much_to_a_clean_model_is_no_backdoor(small_zoo, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "LEAST_MORE", 1.1)  # more than there is
    works = {model.plan.family: model.works for model in zoo.build_zoo("tune", tmp_path).models}

    assert works == {"patch": True, CLEAN: True, "invisible": False}


def test_a_training_that_diverges_before_anything_is_written(small_zoo, tmp_path, monkeypatch):
    def diverges(*_, **__):
        raise FailedError(expected="a finite loss", got="nan in epoch 1", remedy="Lower the learning rate.")

    monkeypatch.setattr(zoo, "implant", diverges)
    (model,) = zoo.build_zoo("tune", tmp_path / "new", only="patch").models

    assert (model.sha256, model.accuracy, model.works) == ("", None, False)


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a pattern of the families"):
        zoo.build_zoo("tune", tmp_path, only="dog")
