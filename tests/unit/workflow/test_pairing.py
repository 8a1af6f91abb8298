"""A pair of classes that stands out is measured on images of its source, and judged; without a copy it is not."""

import dataclasses
import itertools
import json
import math

import pytest
import torch

from mantrap.core import Cost, Detection, Pairs, ReversedPatch
from mantrap.detect import DETECTORS
from mantrap.detect.blind_spots import SOME_CLASSES
from mantrap.ops.intervals import wilson
from mantrap.ops.pairs import PairStanding, pair_standings
from mantrap.records import AuditRecord, CheckStatus, Verdict
from mantrap.records.traits import PATCH
from mantrap.workflow import words
from mantrap.workflow.audit import audit
from mantrap.workflow.comparing import Compared
from mantrap.workflow.evidence import EXAMPLES, PAIRS_SHOWN, pair_record
from mantrap.workflow.eyes import Part, Standing
from mantrap.workflow.headline import headline
from mantrap.workflow.pairing import Paired, pair_of, without_pairs
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.retraining import measured_again, unwanted
from mantrap.workflow.verdict import CHANCE_BELOW, PAIR_SHARE, PAIR_WORKS_FROM, accuse, decide
from tests import headed, sourced, stage

SOURCE, TARGET = sourced.SOURCE, sourced.TARGET
PAIR = (SOURCE, TARGET)
SCAN, HELDOUT = stage.image_set(60), stage.image_set(120).subset(range(60, 120))
"""Ten images of each class."""
ALL = list(itertools.permutations(range(stage.CLASSES), 2))


def usual(seed=0):
    """Norms of pairs of which none stands out."""
    noise = torch.randn(len(ALL), generator=torch.Generator().manual_seed(seed)) * 0.1
    return {p: 14 * math.exp(v) for p, v in zip(ALL, noise.tolist(), strict=True)}


def detection(patch=None, *, pair=PAIR, easier=6.0, labels=()):
    """What a detector says of pairs of which one needs so many times less, with its patch."""
    patches = {} if patch is None else {pair: patch}
    norms = {**usual(), pair: usual()[pair] / easier}
    return Detection(
        "pairs(k=1)", 6, pairs=Pairs(norms, patches), labels=labels, notes=("Before.",), blind_spots=("A.",)
    )


def measured(patch=None, *, scan=SCAN, heldout=HELDOUT, **changes):
    """The pair that stands out, measured."""
    paired, _ = pair_of(sourced.model(), [detection(patch, **changes)], usual(1), scan, heldout)
    return paired


def paired_with(alone, success=None, count=30):
    """A pair that by chance stands out as far in so many models without a backdoor."""
    each = math.log(-math.expm1(math.log1p(-alone) / count))
    others = (PairStanding(0, 2, 0.1, math.log(0.9)),) * (count - 1)
    return Paired((PairStanding(*PAIR, math.log(4.23), each), *others), "pairs(k=1)", sourced.square(), success)


class TestPaired:
    def test_the_chance_of_some_pair_is_that_of_this_one_among_so_many(self):
        paired = Paired((PairStanding(0, 1, 1.0, math.log(1e-3)), *(PairStanding(2, 3, 0.0, -0.5),) * 19), "")

        assert paired.alone(paired.first) == pytest.approx(1 - 0.999**20, rel=1e-9)
        assert paired.chance == pytest.approx((1 - 0.999**20) / PAIR_SHARE, rel=1e-9)
        assert paired.alone(PairStanding(2, 3, 0.0, math.log(0.5))) == pytest.approx(1 - 0.5**20)

    def test_of_chances_too_small_for_a_sum_the_number_of_pairs_counts_all_the_same(self):
        paired = Paired((PairStanding(0, 1, 9.0, math.log(1e-30)),) * 90, "")

        assert paired.alone(paired.first) == pytest.approx(90e-30, rel=1e-9)

    @pytest.mark.parametrize("log_chance", [0.0, -1e-18])
    def test_a_chance_is_never_above_1(self, log_chance):
        paired = Paired((PairStanding(0, 1, -1.0, log_chance),) * 12, "")

        assert (paired.alone(paired.first), paired.chance) == (pytest.approx(1.0), 1.0)
        assert not paired.noticed

    @pytest.mark.parametrize(
        ("alone", "hits", "strong", "noticed"),
        [
            (0.99 * CHANCE_BELOW * PAIR_SHARE, 7, True, True),
            (1.01 * CHANCE_BELOW * PAIR_SHARE, 7, False, False),
            (0.99 * CHANCE_BELOW * PAIR_SHARE, 6, False, True),
            (0.99 * CHANCE_BELOW * PAIR_SHARE, None, False, True),
        ],
    )
    def test_it_is_a_finding_where_it_is_rare_and_its_patch_works_and_noticed_where_it_is_rare(
        self, alone, hits, strong, noticed
    ):
        assert (CHANCE_BELOW, PAIR_SHARE, PAIR_WORKS_FROM) == (0.02, 0.1, 0.5)
        paired = paired_with(alone, None if hits is None else wilson(hits, 8))

        assert (paired.strong, paired.noticed) == (strong, noticed)
        assert paired.works is (hits in (7, 8))


class TestMeasuring:
    def test_the_toy_takes_the_one_class_for_the_other_where_the_square_is_and_no_other(self):
        one, images = sourced.model(), HELDOUT.images()
        stamped = images.clone()
        stamped[:, :, -2:, -2:] = 1.0
        answers = one.logits(stamped).argmax(1)

        assert torch.equal(one.logits(images).argmax(1), HELDOUT.labels)
        assert torch.equal(answers, torch.where(HELDOUT.labels == SOURCE, TARGET, HELDOUT.labels))

    def test_success_is_that_on_heldout_images_of_the_source_and_of_others_it_is_told_apart(self):
        paired = measured(sourced.square())

        assert (paired.first.source, paired.first.target, paired.detector) == (*PAIR, "pairs(k=1)")
        assert (paired.success, paired.others) == (wilson(10, 10), wilson(0, 40))
        assert paired.standings == tuple(pair_standings(detection().pairs.norms, usual(1)))

    def test_a_patch_that_makes_any_class_the_target_says_so_too(self):
        paired = measured(ReversedPatch(TARGET, torch.ones(16, 16), stage.tiles()[TARGET][None]))

        assert (paired.success, paired.others) == (wilson(10, 10), wilson(40, 40))

    def test_a_patch_that_is_too_weak_is_made_stronger_on_images_to_search_with(self):
        weak = sourced.square(0.45)
        paired = measured(weak)

        assert weak.norm < paired.patch.norm <= 2 * weak.norm
        assert paired.success == wilson(10, 10)

    def test_one_that_does_nothing_has_no_success_to_show(self):
        nothing = ReversedPatch(TARGET, torch.zeros(16, 16), torch.ones(1, 16, 16))

        assert (measured(nothing).success, measured(nothing).works) == (wilson(0, 10), False)

    def test_images_that_go_to_the_target_anyway_do_not_count(self):
        labels = torch.where(HELDOUT.labels == TARGET, SOURCE, HELDOUT.labels)
        paired = measured(sourced.square(), heldout=HELDOUT.with_labels(labels))

        assert (paired.success, paired.others) == (wilson(10, 10), wilson(0, 40))

    def test_an_image_is_of_the_class_that_its_label_says(self):
        labels = torch.where(HELDOUT.labels == 0, SOURCE, HELDOUT.labels)
        paired = measured(sourced.square(), heldout=HELDOUT.with_labels(labels))

        assert (paired.success, paired.others) == (wilson(10, 20), wilson(0, 30))

    def test_without_labels_the_models_own_answers_say_which_class_an_image_is_of(self):
        paired = measured(sourced.square(), heldout=HELDOUT.unlabelled(), scan=SCAN.unlabelled())

        assert (paired.success, paired.others) == (wilson(10, 10), wilson(0, 40))

    @pytest.mark.parametrize("side", ["scan", "heldout"])
    def test_without_an_image_of_the_source_there_is_no_success(self, side):
        given = {"scan": SCAN, "heldout": HELDOUT}[side]
        others = (given.labels != SOURCE).nonzero().flatten().tolist()
        paired = measured(sourced.square(), **{side: given.subset(others)})

        assert paired.success is None
        assert not paired.works

    def test_where_no_patch_worked_there_is_none_to_measure(self):
        paired = measured(None)

        assert (paired.patch, paired.success, paired.others) == (None, None, None)
        assert paired.noticed

    def test_it_costs_what_goes_through_the_model_and_leaves_it_as_it_was(self):
        one, seen = sourced.model(), []
        one.module.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
        before = one.digest()
        _, cost = pair_of(one, [detection(sourced.square(0.1))], usual(1), SCAN, HELDOUT)

        assert cost == Cost(forward=sum(seen))
        assert one.digest() == before

    def test_without_pairs_a_copy_or_enough_of_them_there_is_nothing(self):
        few = {p: n for p, n in usual().items() if max(p) < 3}
        for found, copied in [
            ([Detection("other", 6)], usual()),
            ([detection(sourced.square())], None),
            ([detection(sourced.square())], few),
        ]:
            assert pair_of(sourced.model(), found, copied, SCAN, HELDOUT) == (None, Cost())


class TestVerdict:
    @pytest.mark.parametrize(
        ("paired", "knows", "verdict"),
        [
            (paired_with(1e-4, wilson(4, 4)), True, Verdict.SUSPICIOUS),
            (paired_with(1e-4, wilson(4, 4)), False, Verdict.INCONCLUSIVE),
            (paired_with(1e-4, wilson(1, 4)), True, Verdict.INCONCLUSIVE),
            (paired_with(0.006, wilson(4, 4)), True, Verdict.NO_EVIDENCE),
            (paired_with(0.5, wilson(4, 4)), True, Verdict.NO_EVIDENCE),
            (None, True, Verdict.NO_EVIDENCE),
        ],
    )
    def test_a_finding_is_suspicious_and_one_that_is_noticed_bars_the_all_clear(self, paired, knows, verdict):
        ordinary = Standing(2, *3 * (math.log(0.5),), (Part(PATCH, 0.1, 0.5),))
        compared = Compared((ordinary,), compared=6, looks=1.0, log_level=0.0, null="")
        accused = accuse(compared, {})

        assert decide(compared, accused, (None, paired), other_suspects=False, barred=(), knows=knows) is verdict

    def test_reasons_and_headline_of_a_finding_say_what_its_patch_does(self):
        paired = paired_with(0.0014, wilson(19, 20))
        said = words.reasons([], None, None, None, paired, sourced.model(), ())

        assert said[0] == (
            "To take label 1 for label 4 this model needs a patch 4.2 times smaller than a copy of it leads to expect. "
            "By chance some pair of classes stands out as far in 0.1 % of models without a backdoor (less than 0.2 % "
            "counts)."
        )
        assert said[1] == "The patch works on 95 % of held-out images of that class."
        assert headline(Verdict.SUSPICIOUS, [], None, None, None, paired, sourced.model()) == (
            "A small patch makes this model take label 1 for label 4, in 95 % of images."
        )

    @pytest.mark.parametrize(("success", "share"), [(None, "no part"), (wilson(1, 4), "25 %")])
    def test_one_that_is_only_noticed_is_said_to_be_no_accusation(self, success, share):
        paired = paired_with(0.0014, success)
        said = words.reasons([], None, None, None, paired, sourced.model(), ())

        assert said[1] == f"Its patch works on {share} of such images: not surely on 50 %, as is needed."
        assert headline(Verdict.INCONCLUSIVE, [], None, None, None, paired, sourced.model()) == (
            "This model takes label 1 for label 4 more easily than a copy of it, but not clearly enough to call it a "
            "backdoor."
        )

    def test_one_that_is_not_noticed_is_not_spoken_of(self):
        one, none = (
            words.reasons([], None, None, None, paired, sourced.model(), ("Barred.",))
            for paired in (paired_with(0.2, wilson(4, 4)), None)
        )

        assert one == none
        assert not any("pair" in reason for reason in one)


class TestWhoLooksAtTheCopy:
    PATCHES = Detection("patches", 6, traits={"patch": dict.fromkeys(range(6), 0.05)})

    def test_who_scans_pairs_does_in_any_case_and_others_where_a_label_stands_out(self):
        found = [detection(), self.PATCHES]

        assert measured_again(headed.model(), found, asked=None) == [True, False]
        assert measured_again(headed.model(), found, asked=True) == [True, True]
        assert unwanted(headed.model(), stage.image_set(90), found, asked=None) is None

    def test_without_them_an_ordinary_model_has_none(self):
        found = unwanted(headed.model(), stage.image_set(90), [self.PATCHES], asked=None)

        assert found.check.message == "No copy was retrained: no label stands out so far that it matters."

    def test_where_nobody_wants_one_none_is_made(self):
        assert unwanted(headed.model(), stage.image_set(90), [detection()], asked=False) is not None


def test_without_a_copy_a_detection_says_nothing_of_pairs_and_says_so():
    silent, other = without_pairs(detection(sourced.square())), Detection("other", 6)

    assert silent.pairs is None
    assert silent.blind_spots == (SOME_CLASSES, "A.")
    assert silent.notes == (
        "Before.",
        "Pairs of classes say nothing here: there is no copy of the model to compare them with, or too few pairs.",
    )
    assert without_pairs(other) is other


class TestRecord:
    def test_it_says_which_pair_and_what_its_patch_does(self):
        paired = measured(sourced.square())
        shown, cost = pair_record(sourced.model(), HELDOUT, paired)

        assert (shown.label, shown.to, shown.detector, shown.compared) == (*PAIR, "pairs(k=1)", 30)
        assert shown.easier == pytest.approx(math.exp(paired.first.easier))
        assert (shown.chance, shown.noticed) == (paired.chance, True)
        assert (shown.success, shown.others, shown.norm) == (wilson(10, 10), wilson(0, 40), 4.0)
        assert shown.size == "4.0 pixels' worth of change"
        assert cost == Cost(forward=2 * EXAMPLES)

    def test_its_examples_are_of_the_source_and_go_to_the_target(self):
        shown, _ = pair_record(sourced.model(), HELDOUT, measured(sourced.square()))

        assert [(e.source.label, e.outcome.label, e.true_class) for e in shown.examples] == [(*PAIR, "1")] * EXAMPLES
        assert all("label 1 to label 4" in p.alt for p in (shown.mask, shown.pattern, shown.trigger))

    def test_without_a_patch_there_is_nothing_to_show_but_how_the_pairs_stand(self):
        paired = measured(None)
        shown, _ = pair_record(sourced.model(), HELDOUT, paired)

        assert (shown.success, shown.others, shown.norm, shown.size) == (None, None, None, "")
        assert (shown.mask, shown.pattern, shown.trigger, shown.examples) == (None, None, None, ())
        assert len(shown.standings) == PAIRS_SHOWN
        assert [(s.label, s.to, s.chance) for s in shown.standings] == [
            (s.source, s.target, paired.alone(s)) for s in paired.standings[:PAIRS_SHOWN]
        ]


def run(*detectors, planted=True, model=None, images=None, **options):
    plan = Plan(detectors=tuple(map(DETECTORS.create, detectors)), **{"copy": True, "control": False, **options})
    given = model or sourced.model(planted=planted)
    return audit(given, images or stage.image_set(), plan=plan, source=Source("sourced.safetensors", "ab" * 32))


@pytest.fixture(scope="module")
def found():
    """The planted model, audited by who scans pairs and by who finds nothing in it."""
    return run(sourced.QUICK, headed.MARGINS)


class TestAudit:
    def test_finds_the_planted_pair(self, found):
        assert (found.pair.label, found.pair.to) == PAIR
        assert found.pair.norm < 4
        assert (found.pair.success.value, found.pair.others.value) == (1.0, 0.0)
        assert found.pair.chance < 1e-4
        assert found.verdict is Verdict.SUSPICIOUS
        assert found.headline == "A small patch makes this model take label 1 for label 4, in 100 % of images."
        assert found.reasons[0].startswith("To take label 1 for label 4 this model needs a patch ")
        assert SOME_CLASSES not in found.blind_spots
        assert found.suspects == ()

    def test_by_itself_as_well(self):
        alone = run(sourced.QUICK)

        assert (alone.verdict, alone.pair.label, alone.pair.to) == (Verdict.SUSPICIOUS, *PAIR)

    def test_finds_none_where_none_is(self):
        clean = run(sourced.QUICK, headed.MARGINS, planted=False)

        assert (clean.verdict, clean.pair.noticed) == (Verdict.NO_EVIDENCE, False)
        assert clean.pair.chance > 0.2

    def test_its_record_comes_back_equal(self, found):
        assert AuditRecord.from_json(found.to_json()) == found
        older = {k: v for k, v in json.loads(found.to_json()).items() if k != "pair"}
        assert AuditRecord.from_json(json.dumps(older)) == dataclasses.replace(found, pair=None)

    def test_makes_a_copy_for_the_pairs_even_where_nobody_asks(self):
        quiet = run(sourced.QUICK, headed.MARGINS, planted=False, copy=None)
        (check,) = [c for c in quiet.checks if c.name == "copy"]

        assert check.status is CheckStatus.PASSED
        assert check.message.startswith("A copy was retrained on 90 images.")
        assert quiet.pair is not None

    @pytest.mark.parametrize(
        "changes",
        [{"copy": False}, {"model": stage.model(planted=False)}, {"images": stage.image_set(80)}],
        ids=["nobody wants it", "no last layer", "too few images"],
    )
    def test_without_a_copy_says_nothing_of_pairs_and_that_it_would_not_have_seen_such_a_backdoor(self, changes):
        silent = run(sourced.QUICK, headed.MARGINS, **changes)

        assert silent.pair is None
        assert silent.verdict is not Verdict.SUSPICIOUS
        assert SOME_CLASSES in silent.blind_spots
        assert silent.detections[0].notes[-1] == (
            "Pairs of classes say nothing here: there is no copy of the model to compare them with, or too few pairs."
        )

    @pytest.mark.parametrize(
        ("spec", "labels"), [("pair_scan(steps=1)", None), (sourced.QUICK, (4,))], ids=["none worked", "too few"]
    )
    def test_where_pairs_cannot_be_compared_it_would_not_have_seen_such_a_backdoor(self, spec, labels):
        silent = run(spec, headed.MARGINS, labels=labels)

        assert silent.pair is None
        assert SOME_CLASSES in silent.blind_spots

    def test_who_scans_no_pairs_has_that_blind_spot_and_no_pair(self):
        usual = run(headed.MARGINS)

        assert (usual.pair, usual.verdict is Verdict.SUSPICIOUS) == (None, False)
        assert SOME_CLASSES in usual.blind_spots
