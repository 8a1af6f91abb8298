"""What the benchmark learns from clean models beside their copies is what these were made from."""

import dataclasses
import importlib
import math

import numpy as np
import pytest

from mantrap.ops.explained import less_kept
from mantrap.ops.moderated import fit_scatter
from mantrap.records.traits import TRAITS
from tests.nulls import value_of

SLOPE, OF_COPY, OWN = 0.7, 0.5, 0.3
MODELS, LABELS = 80, 12
SEARCHED = [name for name, trait in TRAITS.items() if not trait.least]


@pytest.fixture(scope="module")
def programs(root):
    """The benchmark's program, and the tables that it shares with others."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root / "benchmarks")
        return importlib.import_module("null"), importlib.import_module("detection_table")


@pytest.fixture(scope="module")
def null(programs):
    return programs[0]


@pytest.fixture(scope="module")
def judged(programs):
    """A record of a clean model, of these heights by trait and label."""

    def judged(number, own, copied, unsure=()):
        return programs[1].Judged(
            model=f"model-{number}",
            family="clean",
            arch="small",
            network="small(width=4)",
            classes=LABELS,
            targets=(),
            traits={name: values(name, heights) for name, heights in own.items()},
            successes={},
            barred=False,
            cpu_seconds={},
            images=f"task {number}",
            copied={name: values(name, heights) for name, heights in copied.items()},
            unsure=unsure,
        )

    return judged


def values(name, heights):
    """What a detector says of labels of these heights."""
    return {str(label): value_of(TRAITS[name], height) for label, height in enumerate(heights)}


def heights(seed, slope=SLOPE):
    """Heights by trait of a model and of its copy, which knows nothing of the last layer."""
    rng = np.random.default_rng(seed)
    copied = {name: rng.normal(rng.normal(0, 1), OF_COPY, LABELS) for name in SEARCHED}
    own = {name: rng.normal(2, 0.4) + slope * there + rng.normal(0, OWN, LABELS) for name, there in copied.items()}
    return own | {name: rng.normal(1.0, OWN, LABELS) for name in TRAITS if name not in SEARCHED}, copied


@pytest.fixture(scope="module")
def models(judged):
    return [judged(seed, *heights(seed)) for seed in range(MODELS)]


@pytest.fixture(scope="module")
def learned(null, models):
    return null.learn_beside_copies("small", models)


class TestATrait:
    @pytest.mark.parametrize("name", SEARCHED)
    def test_of_a_copy_keeps_what_it_was_made_to_keep(self, learned, name):
        scatter = learned.of(name)

        assert scatter.kept == pytest.approx(SLOPE, abs=0.05)
        assert scatter.spread == pytest.approx(OWN, rel=0.1)
        assert (scatter.models, scatter.labels) == (MODELS, MODELS * LABELS)
        assert (scatter.between is not None) is TRAITS[name].level

    @pytest.mark.parametrize("name", [name for name in TRAITS if name not in SEARCHED])
    def test_that_a_copy_does_not_have_scatters_as_it_does_alone(self, null, models, learned, name):
        alone = null.learn("small", models).of(name)

        assert learned.of(name) == alone
        assert alone.kept == 0.0

    def test_of_which_copies_say_the_opposite_is_left_as_it_is(self, null, judged):
        turned = [judged(seed, *heights(seed, slope=-SLOPE)) for seed in range(30)]
        scatter = null.learn_beside_copies("small", turned).of("patch")

        assert scatter.kept == 0.0
        assert scatter.spread == pytest.approx(math.hypot(SLOPE * OF_COPY, OWN), rel=0.15)

    def test_of_labels_that_a_copy_is_unsure_of_or_lacks_does_not_count(self, null, judged):
        def found(change):
            changed = [dataclasses.replace(one, **change(one)) for one in odd]
            return null.learn_beside_copies("small", changed).of("patch")

        odd = []
        for seed in range(MODELS):
            own, copied = heights(seed)
            strange = {name: np.concatenate([there[:-1], [-50.0 * own[name][-1]]]) for name, there in copied.items()}
            odd.append(judged(seed, own, strange))
        misled, unsure = found(lambda _: {}), found(lambda _: {"unsure": (LABELS - 1,)})
        lacking = found(lambda one: {"copied": {k: dict(list(v.items())[:-1]) for k, v in one.copied.items()}})

        assert abs(misled.kept) < 0.1
        assert [unsure.kept, lacking.kept] == pytest.approx([SLOPE] * 2, abs=0.05)
        assert unsure.spread < 1.2 * OWN

    def test_of_which_copies_say_the_same_everywhere_is_left_as_it_is(self, null, judged):
        flat = []
        for seed in range(30):
            own, copied = heights(seed)
            flat.append(judged(seed, own, {name: np.ones(LABELS) for name in copied}))

        assert [s.kept for s in null.learn_beside_copies("small", flat).scatters] == [0.0] * len(TRAITS)

    def test_scatters_as_what_an_audit_takes_away_leaves_it(self, models, learned):
        scatter = learned.of("margin")
        rests = []
        for model in models:
            own, copied = ({int(k): math.log(v) for k, v in t["margin"].items()} for t in (model.traits, model.copied))
            rests.append(list(less_kept(own, copied, scatter.kept).values()))

        assert scatter.spread == pytest.approx(fit_scatter("margin", rests, level=False).spread)


class TestATable:
    def test_says_what_it_was_learned_from(self, learned):
        assert learned.arch == "small"
        assert learned.learned_from == (
            "80 small networks that were trained without a backdoor, each beside a copy of itself that was retrained "
            "for a moment"
        )

    def test_knows_every_trait_and_how_two_of_them_stand_out_together(self, learned):
        assert [s.trait for s in learned.scatters] == list(TRAITS)
        assert all(learned.covariance(name, name) == 4.0 for name in TRAITS)
        others = [learned.covariance(a, b) for a in TRAITS for b in TRAITS if a != b]
        assert max(others) < 0.6  # they were drawn apart
        assert min(others) >= 0.0

    def test_of_traits_that_only_copies_tell_apart_says_so(self, null, judged):
        """Two traits owe the same to what is kept, and nothing else."""
        alike = []
        for seed in range(60):
            own, copied = heights(seed)
            copied = copied | {"margin": copied["patch"]}
            own["margin"] = SLOPE * copied["margin"] + np.random.default_rng(1000 + seed).normal(0, OWN, LABELS)
            alike.append(judged(seed, own, copied))
        alone, beside = null.learn("small", alike), null.learn_beside_copies("small", alike)

        assert alone.covariance("patch", "margin") > 0.8
        assert beside.covariance("patch", "margin") < 0.4


class TestAJudgement:
    def test_holds_what_was_measured_of_a_copy(self, judged):
        own, copied = heights(0)
        model = judged(0, own, copied, unsure=(3,))
        again = type(model).from_json(model.to_json())

        assert again == model
        assert again.unsure == (3,)
        found = again.values_of_copy()
        assert [list(one) for one in found] == [list(one) for one in again.values()]
        assert found[0]["patch"] == pytest.approx({k: math.exp(-h) for k, h in enumerate(copied["patch"])})
        assert found[-1] == {"row_norm": {}}

    def test_of_before_copies_were_known_has_none(self, judged):
        own, copied = heights(0)
        older = dataclasses.replace(judged(0, own, copied), copied={})

        assert older.values_of_copy() is None

    def test_counts_the_copy_only_where_it_is_asked_to_and_a_label_stands_out(self, programs, judged):
        decided = programs[1].decided
        plain = np.zeros(LABELS)
        peak = np.where(np.arange(LABELS) == 5, 0.6, 0.0)
        ordinary, marked = ({"margin": 3 + h + 0.1 * np.sin(np.arange(LABELS))} for h in (plain, peak))
        lost = {"margin": 3 + plain + 0.1 * np.cos(np.arange(LABELS))}
        alone, beside = (decided(judged(0, marked, lost), copied=copied) for copied in (False, True))
        still = [decided(judged(0, ordinary, lost), copied=copied).compared for copied in (False, True)]

        assert alone.first == beside.first == 5
        assert beside.compared.looks == 2 * alone.compared.looks
        assert still[0] == still[1]
        assert still[0].p_value > 0.3
