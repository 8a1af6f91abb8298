"""Labels that were given up early, in comparisons: with whom others are compared, and how often one is accused."""

import dataclasses
import math

import numpy as np
import pytest

from mantrap.core import Cost, Detection, LabelFinding
from mantrap.detect import DETECTORS
from mantrap.ops.moderated import log_chance_of_level, log_chances
from mantrap.ops.outliers import mad, median
from mantrap.records.traits import MARGIN, PATCH, PERTURBATION, WARP
from mantrap.workflow.assembly import detection_record
from mantrap.workflow.audit import audit
from mantrap.workflow.comparing import LEVEL_SHARE, compare
from mantrap.workflow.heights import Halved, halved_of, sights_of
from mantrap.workflow.norms import judge_labels, norm_statistics
from mantrap.workflow.plan import Plan, Reference, Source, spelled
from mantrap.workflow.retraining import unwanted
from mantrap.workflow.words import unfinished
from tests.nulls import BETWEEN, FREEDOM, SPREAD, null_of, value_of
from tests.planted import Planted

ALL = null_of()
SAMPLE = {0: 2.5, 1: 2.9, 2: 2.2, 3: 2.6, 4: 3.0, 5: 2.4, 6: 2.7, 7: 2.1, 8: 2.8, 9: 2.6}
CHOSEN = {20: 3.3, 21: 3.4, 22: 3.2, 23: 4.6}
HALVED = Halved(frozenset(SAMPLE), frozenset(range(100)))


def values(trait, heights):
    return {trait.name: {label: value_of(trait, height) for label, height in heights.items()}}


def halved(heights=None, *, trait=PATCH, what=HALVED, null=ALL):
    return compare([values(trait, heights or {**SAMPLE, **CHOSEN})], null, halved=[what])


class TestTheOthers:
    def test_are_those_that_were_drawn(self):
        heights = [*SAMPLE.values(), *CHOSEN.values()]
        among = [True] * len(SAMPLE) + [False] * len(CHOSEN)
        found = log_chances(heights, ALL.of("patch"), population=among)

        for place, height in enumerate(CHOSEN.values(), start=len(SAMPLE)):
            alone = log_chances([*SAMPLE.values(), height], ALL.of("patch"))[-1]
            assert found[place] == pytest.approx(alone, rel=1e-12)
        assert found[: len(SAMPLE)] == pytest.approx(log_chances([*SAMPLE.values()], ALL.of("patch")), rel=1e-12)

    @pytest.mark.parametrize("trait", ["patch", "margin"])
    def test_may_be_nobody(self, trait):
        found = log_chances([2.6, 9.0], ALL.of(trait), population=[False, False])

        assert (found == [0.0, 0.0]) == (trait == "margin")
        assert found[0] >= found[1]
        if trait == "patch":
            assert found[1] == log_chances([9.0], ALL.of("patch"))[0]

    def test_say_what_is_far_below_the_middle(self):
        low, high = ([*SAMPLE.values(), -50.0, *[other] * 11] for other in (-60.0, 60.0))
        among = [True] * 11 + [False] * 11

        one, same = (log_chances(h, ALL.of("margin"), population=among)[:10] for h in (low, high))
        assert one == pytest.approx(same, rel=1e-12)

    def test_all_are_as_if_nobody_had_been_chosen(self):
        heights = [*SAMPLE.values(), *CHOSEN.values()]
        assert log_chances(heights, ALL.of("patch"), population=[True] * 14) == log_chances(heights, ALL.of("patch"))


class TestStandingOut:
    def test_a_label_is_compared_with_the_sample_whoever_was_chosen_beside_it(self):
        alone, beside = halved({**SAMPLE, 23: 4.6}), halved()

        assert alone.first.label == beside.first.label == 23
        assert alone.first.log_chance == pytest.approx(beside.first.log_chance, rel=1e-9)
        assert beside.first.log_chance < compare([values(PATCH, {**SAMPLE, **CHOSEN})], ALL).first.log_chance

    def test_its_chance_is_corrected_for_all_labels_that_the_search_began_with(self):
        found = halved()
        label = math.exp(log_chances([*SAMPLE.values(), 4.6], ALL.of("patch"))[-1])

        assert found.compared == 100
        assert len(found.standings) == 100
        assert found.chance_of(found.first) == pytest.approx(100 * label * found.looks / 0.85, rel=0.05)

    def test_a_label_that_was_given_up_is_ordinary(self):
        found = {s.label: s for s in halved().standings}
        assert (found[50].log_chance, found[50].parts) == (0.0, ())

    def test_a_label_that_was_given_up_still_stands_out_by_what_else_was_measured_of_it(self):
        margins = values(MARGIN, dict.fromkeys(range(100), 2.6) | {50: 6.5})
        found = compare([values(PATCH, {**SAMPLE, **CHOSEN}), margins], ALL, halved=[HALVED, None])

        assert found.first.label == 50

    def test_what_one_detector_gave_up_another_did_not(self):
        whole = values(PERTURBATION, dict.fromkeys(range(100), 2.6) | {50: 6.5})
        found = compare([values(PATCH, {**SAMPLE, **CHOSEN}), whole], ALL, halved=[HALVED, None])

        assert found.first.label == 50
        assert [sight.halved for sight in sights_of([values(PATCH, SAMPLE), whole], ALL, halved=[HALVED, None])] == [
            HALVED,
            None,
        ]

    def test_a_label_of_the_sample_may_be_set_aside_for_others(self):
        found = halved({**SAMPLE, 9: 8.0, **CHOSEN, 23: 9.5})
        plain = halved({**{k: h for k, h in SAMPLE.items() if k != 9}, 23: 9.5})

        assert [s.label for s in found.standings[:2]] == [23, 9]
        assert found.first.log_chance == pytest.approx(plain.first.log_chance, rel=1e-6)

    def test_the_level_is_that_of_the_sample(self):
        found = halved(dict.fromkeys(SAMPLE, 5.5) | dict.fromkeys(range(20, 90), 2.6))
        expected = math.exp(log_chance_of_level([5.5] * 10, ALL.of("patch"))) / LEVEL_SHARE

        assert found.level == pytest.approx(expected)
        assert halved(dict.fromkeys(SAMPLE, 2.6) | dict.fromkeys(range(20, 90), 5.5)).level == 1.0

    def test_a_sample_most_of_which_has_no_trigger_says_nothing_of_the_level(self):
        few = dict.fromkeys(range(5), 5.5) | dict.fromkeys(range(20, 90), 5.5)
        more = dict.fromkeys(range(6), 5.5)

        assert halved(few).log_level == 0.0
        assert halved(more).log_level < -2

    def test_which_traits_tell_is_asked_of_all_that_have_values(self):
        floor = dict.fromkeys(range(30), WARP.floor) | {40: 0.9}
        assert compare([{WARP.name: floor}], ALL, halved=[Halved(frozenset([40]), frozenset(range(50)))]) is None


class TestFalseAlarms:
    """Models whose heights are as the null says, of which the very highest go on: the worst that a choice can do."""

    @staticmethod
    def chances(models, *, labels, sample, chosen, planted=0.0):
        g, found = np.random.default_rng(0), []
        for _ in range(models):
            spread = SPREAD * math.sqrt(FREEDOM / g.chisquare(FREEDOM))
            heights = g.normal(2.6 + BETWEEN * g.normal(), spread, labels)
            heights[0] += planted * spread
            drawn = g.permutation(labels)[:sample]
            others = np.setdiff1d(np.arange(labels), drawn)
            best = others[np.argsort(-heights[others])[:chosen]]
            some = {int(label): float(heights[label]) for label in (*drawn, *best)}
            what = Halved(frozenset(drawn.tolist()), frozenset(range(labels)))
            found.append(halved(some, what=what))
        return found

    def test_are_as_rare_as_is_said_though_only_the_highest_go_on(self):
        found = [one.chance_of(one.first) for one in self.chances(250, labels=120, sample=32, chosen=12)]

        assert sum(chance < 0.1 for chance in found) <= 25 + 2 * 5
        assert sum(chance < 0.1 for chance in found) >= 3
        assert sum(chance < 0.02 for chance in found) <= 5 + 2 * 2.2

    def test_are_not_avoided_by_accusing_nobody(self):
        found = self.chances(30, labels=120, sample=32, chosen=12, planted=7.0)
        assert sum(one.first.label == 0 and one.chance_of(one.first) < 0.02 for one in found) >= 28


def finding(label, norm, *, stopped="last step", steps=60):
    return LabelFinding(label, norm, steps, stopped)


def detection(norms, given_up=(), population=None):
    found = [finding(label, norm) for label, norm in enumerate(norms)]
    found += [finding(label, None, stopped="given up", steps=10) for label in given_up]
    return Detection("neural_cleanse", 40, tuple(found), population=population)


NORMS = (9.0, 10.0, 11.0, 12.0, 13.0, 2.0, 3.0)
EARLY = detection(NORMS, range(7, 30), (0, 1, 2, 3, 4))


class TestWhatIsSaid:
    def test_index_and_ratio_are_those_of_the_sample(self):
        judged = {j.label: j for j in judge_labels(EARLY)}

        assert judged[5].index == pytest.approx((11 - 2) / mad(NORMS[:5]))
        assert judged[5].log_ratio == pytest.approx(math.log(11 / 2))
        assert len(judged) == 7

    def test_the_statistics_are_those_of_the_sample(self):
        found = norm_statistics(judge_labels(EARLY), EARLY.population)

        assert (found.median, found.mad) == (median(NORMS[:5]), mad(NORMS[:5]))
        assert found.smallest_label == 5
        assert found.paper_flags == (5, 6)

    def test_a_sample_without_a_norm_has_no_statistics(self):
        found = dataclasses.replace(detection([None, 4.0], range(7, 9), (0,)))
        assert (judge_labels(found), norm_statistics(judge_labels(found), found.population)) == ((), None)

    def test_the_record_tells_who_was_given_up_when_and_with_whom_all_are_compared(self):
        model = Planted(shape=(1, 4, 4), classes=40).model()
        record = detection_record(model, EARLY, judge_labels(EARLY))
        entries = {entry.label: entry for entry in record.labels}

        assert record.population == (0, 1, 2, 3, 4)
        assert record.statistics.median == median(NORMS[:5])
        assert (entries[8].stopped, entries[8].steps, entries[8].given_up) == ("given up", 10, True)
        assert (entries[1].stopped, entries[1].given_up) == ("last step", False)
        assert type(record).from_json(record.to_json()) == record

    def test_labels_that_were_given_up_are_not_a_search_that_failed(self):
        assert unfinished([EARLY]) == ()

    def test_a_search_that_fails_for_the_sample_has_failed(self):
        found = detection([None, None, None, 4.0, 5.0, 6.0, 6.0, 6.0], range(8, 30), (0, 1, 2, 3, 4))
        (said,) = unfinished([found])

        assert said == (
            "neural_cleanse found no trigger for 3 of 5 labels that were drawn at random: it could not search this "
            "model."
        )

    def test_who_is_halved_is_told_for_each_detection(self):
        whole = dataclasses.replace(EARLY, population=None)
        assert halved_of([whole, EARLY]) == [None, Halved(frozenset(range(5)), frozenset(range(30)))]


TRUSTED = Reference(Source("other", ""), Planted(shape=(1, 6, 6), classes=3).model())


class TestBesideOtherModels:
    @pytest.mark.parametrize("beside", [{"copy": True}, {"references": (TRUSTED,)}], ids=["copy", "references"])
    def test_nothing_is_given_up(self, beside):
        made = tuple(map(DETECTORS.create, ("neural_cleanse(sample=20)", "mm_bd", "pair_scan")))
        plan = Plan(detectors=made, **beside)

        assert [*map(spelled, plan.for_labels(513).detectors)] == [
            "neural_cleanse(many=513, sample=20)",
            "mm_bd",
            "pair_scan",
        ]
        assert plan.for_labels(512) == plan

    @pytest.mark.parametrize("copy", [None, False])
    def test_but_without_them_as_it_was_asked(self, copy):
        made = (DETECTORS.create("neural_cleanse"),)
        assert Plan(detectors=made, copy=copy).for_labels(2000).detectors == made

    def test_an_audit_asks_for_that(self):
        planted = Planted(shape=(1, 6, 6), classes=17)
        quick = DETECTORS.create("neural_cleanse(steps=2, final_steps=1, images_per_step=4, many=16, sample=16)")
        records = [
            audit(
                planted.model(),
                planted.images(3, "scan"),
                plan=Plan(detectors=(quick,), copy=copy, control=False),
                source=Source("planted", ""),
            )
            for copy in (True, False)
        ]

        assert ["many=17" in one.detections[0].detector for one in records] == [True, False]
        assert [one.detections[0].population is None for one in records] == [True, False]

    def test_no_copy_is_made_where_labels_were_given_up(self):
        planted = Planted(shape=(1, 6, 6), classes=12)
        far = values(PATCH, dict.fromkeys(range(11), 2.6) | {11: 9.0})
        found = detection([None], range(1, 12), (0,))
        made = dataclasses.replace(found, traits=far, cost=Cost())
        why = unwanted(planted.model(), planted.images(10, "scan"), [made], asked=None)

        assert "not all labels were searched to the end" in why.check.message
