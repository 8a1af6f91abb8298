"""The key of a piece is the digest of all that it depends on, and of nothing else."""

import pytest

from mantrap.workflow import grid_jobs
from mantrap.workflow.grid_jobs import What, subjects
from tests import gridding, headed

SAME = dict.fromkeys(("training", "defender", "test"), "the same images")
DEFENDER = {"images": gridding.DEFENDED, "triggers": headed.MARGINS}
TRAINING = {"images": gridding.TRAINED, "recipe": "recipe(epochs=2, batch_size=16)"}
MADE = {"clean", "attacked"}
ALL = {*MADE, "measured", "detector", "guard", "repair", "screen"}


@pytest.fixture(autouse=True)
def names():
    with gridding.registered():
        yield


def jobs(digests=SAME, **changes):
    """Every job of a grid whose images have given digests, by what it is."""
    plan = gridding.plan("tiles.npz", **changes)
    every = subjects(plan, {(data, seed): digests for data in plan.data for seed in plan.seeds})
    found = [job for one in every for top in (one.measured, *one.defences.values()) for job in top.below()]
    return {(job.what, job.data, job.model, job.attack, job.defence, job.seed): job for job in found}


def changed(before, after):
    """The kinds of jobs that are in both and have another key."""
    return {
        before[name].what.name.lower() for name in before.keys() & after.keys() if before[name].key != after[name].key
    }


def test_no_two_pieces_share_a_key_though_all_images_are_the_same():
    found = jobs(
        seeds=[0, 1],
        models=[gridding.ARCH, "mlp(hidden=(9,))"],
        data=["tiles.npz", "other.npz"],
        guards=["corner", "strip"],
    )

    assert len({job.key for job in found.values()}) == len(found) == 2 * 2 * 2 * (1 + 2 + 3 + 3 + 6 + 4 + 2)


def test_the_same_grid_has_the_same_keys():
    assert {name: job.key for name, job in jobs().items()} == {name: job.key for name, job in jobs().items()}


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"digests": SAME | {"training": "others"}}, ALL),
        ({"digests": SAME | {"defender": "others"}}, {"detector", "guard", "repair", "screen"}),
        ({"digests": SAME | {"test": "others"}}, {"measured", "guard", "repair"}),
        ({"training": TRAINING | {"recipe": "recipe(epochs=3)"}}, ALL),
        ({"training": TRAINING | {"retraining": "recipe(epochs=3)"}}, set()),
        ({"defender": DEFENDER | {"fpr": 0.2}}, {"guard"}),
        ({"defender": DEFENDER | {"triggers": "mm_bd"}}, set()),  # for no defence here asks for any
        ({"repairs": ["closing"], "guards": []}, set()),
        ({"attacks": [gridding.WIRED]}, set()),
    ],
    ids=["training", "defender", "test", "recipe", "retraining", "fpr", "triggers", "fewer defences", "fewer attacks"],
)
def test_a_change_reaches_what_depends_on_it_and_nothing_else(changes, kinds):
    assert changed(jobs(), jobs(**changes)) == kinds


def test_other_versions_change_everything(monkeypatch):
    before = jobs()
    monkeypatch.setattr(grid_jobs, "versions", lambda: {"torch": "another"})

    assert changed(before, jobs()) == ALL


def test_an_attack_on_a_trained_model_depends_on_the_recipe_of_retraining():
    given = {"attacks": ["trojan"]}
    found = changed(jobs(**given), jobs(**given, training=TRAINING | {"retraining": "recipe(epochs=3)"}))

    assert found == ALL - {"clean", "screen"}


def test_a_file_that_a_spec_names_counts_by_what_is_in_it(tmp_path):
    path = tmp_path / "trigger.png"
    path.write_bytes(b"one")
    before = jobs(attacks=[f"breaking(file={str(path)!r})"])
    path.write_bytes(b"two")

    assert changed(before, jobs(attacks=[f"breaking(file={str(path)!r})"])) == ALL - {"clean", "screen"}


def test_who_asks_for_triggers_begins_with_the_audit_that_is_named():
    given = {"guards": ["neuron_filter", "corner"], "repairs": ["unlearning", "idle"]}
    found = jobs(**given)
    asking = {job.defence for job in found.values() if job.needs[1:] and job.needs[1].what is What.DETECTOR}

    assert asking == {"neuron_filter", "unlearning"}
    other = jobs(**given, defender=DEFENDER | {"triggers": "mm_bd"})
    assert changed(found, other) == {"guard", "repair"}
    same = {name for name in found.keys() & other.keys() if found[name].key == other[name].key}
    assert {name[4] for name in same if name[0] in (What.GUARD, What.REPAIR)} == {"corner", "idle"}


def test_a_detector_that_is_listed_and_recovers_triggers_is_asked_once():
    found = jobs(guards=["neuron_filter"])
    audits = {job.key for job in found.values() if job.what is What.DETECTOR}

    assert len(audits) == 3


def test_all_that_a_job_needs_comes_before_it_and_in_an_earlier_stage():
    for job in jobs(guards=["neuron_filter"]).values():
        order = list(job.below())
        assert order[-1] is job
        for place, one in enumerate(order):
            assert all(below in order[:place] and below.what.stage < one.what.stage for below in one.needs)


def test_a_clean_model_is_not_repaired_and_only_training_sets_are_screened():
    found = jobs()

    assert {name[3] for name in found if name[0] is What.REPAIR} == {gridding.WIRED, gridding.PATCHED}
    assert {name[3] for name in found if name[0] is What.SCREEN} == {"clean", gridding.PATCHED}
