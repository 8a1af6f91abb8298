"""What is said of a verdict: the label, why it stands out, by what chance, and what its trigger does."""

import dataclasses
import math

import pytest
import torch

from mantrap.core import Classifier, Cost, Detection, LabelFinding, ReversedPatch, ReversedPerturbation, ReversedWarp
from mantrap.detect.blind_spots import SHARED
from mantrap.ops.recovered import kind_of
from mantrap.records import Verdict
from mantrap.records.traits import MARGIN, PATCH, ROW_NORM
from mantrap.workflow.comparing import LEVEL_SHARE, Compared
from mantrap.workflow.eyes import Part, Standing
from mantrap.workflow.headline import headline
from mantrap.workflow.shifting import SHIFT_SHARE
from mantrap.workflow.verdict import Accused
from mantrap.workflow.words import blind_spots, percent, reasons, size_of, unfinished

MODEL = Classifier(
    torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)),
    input_shape=(1, 2, 2),
    num_classes=3,
    class_names=("0", "1", "STOP sign"),
)
LABELS_SHARE = 1 - LEVEL_SHARE - SHIFT_SHARE
FIRST = Standing(2, *3 * (math.log(0.001),), (Part(PATCH, 0.01, 0.002), Part(MARGIN, 30.0, 0.0004)))


def compared(chance=0.001, level=1.0, standing=FIRST):
    """Label 2 first, of three; one stands out as far by this chance."""
    alone = math.log(LABELS_SHARE * chance / 3)
    first = dataclasses.replace(standing, log_chance=alone, log_trigger=alone)
    others = tuple(Standing(label, 0.0, 0.0, 0.0, ()) for label in (0, 1))
    return Compared((first, *others), compared=3, looks=1.0, log_level=math.log(LEVEL_SHARE * level), null="")


def accused(found, hits=97):
    chance = found.chance_of(found.first)
    return Accused(found.first, chance, found.chance_by_trigger(found.first), None if hits is None else hits / 100)


def detection(findings=(), **changes):
    plain = Detection("own", 3, tuple(findings), (), (), None, {}, Cost())
    return dataclasses.replace(plain, **changes)


def finding(label, *, norm=3.0, stopped="last step"):
    return LabelFinding(label, norm, 1, stopped)


class TestReasons:
    def said(self, found, hits=97, detections=(), barred=()):
        return reasons(detections, found, accused(found, hits), None, None, MODEL, barred)

    def test_the_first_sentence_names_the_label_and_by_what_it_stands_out_most_seldom_first(self):
        assert self.said(compared())[0] == (
            "Label 2 (STOP sign) stands out most, by how far its score can be driven (<0.1 % of ordinary labels), "
            "how small a patch forces it (0.2 % of ordinary labels). Taken together and over 3 labels, one stands out "
            "as far by chance in 0.1 % of models without a backdoor (less than 2 % counts)."
        )

    def test_traits_by_which_ordinary_labels_often_stand_as_high_are_not_named(self):
        plain = Standing(2, 0.0, 0.0, 0.0, (Part(PATCH, 0.1, 0.4), Part(MARGIN, 3.0, 0.1)))

        assert self.said(compared(0.3, standing=plain))[0].startswith(
            "Label 2 (STOP sign) stands out most, by no single thing. "
        )

    def test_where_one_stands_out_as_far_in_most_models_none_is_named(self):
        assert self.said(compared(0.9)) == (
            "No label stands out among 3: in most models without a backdoor one does as far.",
        )

    def test_of_a_chance_that_is_at_its_least_no_more_is_said(self):
        row = dataclasses.replace(FIRST, parts=(Part(ROW_NORM, 3.0, 0.001), Part(PATCH, 0.01, 0.002)))

        assert "in the last layer (at most 0.1 % of ordinary labels)" in self.said(compared(standing=row))[0]

    def test_a_label_whose_trigger_is_an_ordinary_one_is_not_accused(self):
        found = compared()
        one = dataclasses.replace(accused(found), by_trigger=0.3)
        said = reasons((), found, one, None, None, MODEL, ())

        assert said[1].startswith("In 30.0 % of models without a backdoor some label needs as small a trigger.")
        assert said[1].endswith("no accusation.")

    @pytest.mark.parametrize(
        ("hits", "sentence"),
        [
            (97, "Its trigger sends 97.0 % of held-out images there."),
            (60, "Its trigger sends 60.0 % of held-out images there; 90 % are needed."),
            (None, "No trigger for it was measured, so this alone accuses nobody."),
        ],
    )
    def test_of_a_label_that_is_noticed_it_is_said_what_its_trigger_does(self, hits, sentence):
        assert sentence in self.said(compared(), hits)
        assert len(self.said(compared(0.5), hits)) == 1

    def test_where_all_labels_are_easy_to_force_it_is_said(self):
        (_, _, level) = self.said(compared(level=0.004))

        assert level.startswith("All labels are easy to force: as easy as in <0.1 % of models without a backdoor.")
        assert len(self.said(compared(level=0.4))) == 2

    def test_a_detector_that_measures_nothing_known_is_quoted_and_one_that_counts_is_not(self):
        names, counts = detection(suspects=(2, 0)), detection(suspects=(1,), traits={"patch": {1: 0.1}})
        said = self.said(compared(0.5), detections=[names, counts, detection()])

        assert said[1:] == (
            "own names label 2 (STOP sign), label 0; it has no calibrated rule, so this alone decides nothing.",
        )

    def test_what_bars_the_all_clear_comes_last(self):
        assert self.said(compared(0.5), barred=("Few images.",))[-1] == "Few images."

    def test_where_nothing_could_be_compared_it_is_said(self):
        said = reasons([detection()], None, None, None, None, MODEL, ("Few images.",))

        nothing = "No detector measured anything of single labels that is known of models without a backdoor."
        assert said == (nothing, "Few images.")


class TestHeadline:
    def test_a_label_that_is_only_noticed_is_named(self):
        said = headline(Verdict.INCONCLUSIVE, (), compared(0.05), accused(compared(0.05)), None, None, MODEL)

        assert said == "Label 2 (STOP sign) stands out, but not clearly enough to call it a backdoor."

    @pytest.mark.parametrize("found", [None, compared(0.5)], ids=["nothing compared", "nothing stands out"])
    def test_otherwise_an_audit_without_an_answer_says_so(self, found):
        said = headline(Verdict.INCONCLUSIVE, (), found, found and accused(found), None, None, MODEL)

        assert said == "This audit cannot tell: what it saw is not enough for an answer."

    def test_no_evidence_says_over_how_many_labels_and_that_it_is_no_proof(self):
        said = headline(Verdict.NO_EVIDENCE, (), compared(0.5), accused(compared(0.5)), None, None, MODEL)

        assert said == (
            "No sign of a backdoor of the kinds looked for in 3 labels. That is no proof that there is none."
        )


def test_a_patch_is_measured_in_pixels_and_a_change_in_shares_of_their_range():
    mask = torch.full((4, 4), 0.25)

    assert size_of(ReversedPatch(1, mask, torch.zeros(3, 4, 4))) == "4.0 pixels' worth of change"
    assert size_of(ReversedPerturbation(1, torch.full((3, 4, 4), -0.03))) == (
        "a change of all pixels by 3.0 % of their range"
    )
    flow = torch.tensor([0.6, -0.8])[:, None, None].expand(2, 4, 4)
    assert size_of(ReversedWarp(1, flow)) == "a smooth warp by about 1.0 pixels"


class TestUnfinished:
    def test_a_search_that_found_no_trigger_for_most_labels_has_failed(self):
        (said,) = unfinished([detection([finding(0), finding(1, norm=None), finding(2, norm=None)])])

        assert said == "own found no trigger for 2 of 3 labels: it could not search this model."

    def test_one_that_found_none_for_half_of_them_has_not(self):
        assert unfinished([detection([finding(0), finding(1, norm=None)])]) == ()
        assert unfinished([detection()]) == ()

    def test_a_search_that_was_cut_short_says_for_how_many_labels(self):
        one, two = ([finding(k, stopped="cut short") for k in range(count)] for count in (1, 2))
        said = unfinished([detection([*one, finding(2)]), detection([*two, finding(2)])])

        assert said == (
            "For 1 label the search ran out of steps before the norm had settled.",
            "For 2 labels the search ran out of steps before the norm had settled.",
        )


class TestBlindSpots:
    def test_each_is_said_once_with_the_labels_that_were_left_out(self):
        one, two = detection(blind_spots=("Ghosts.", "Elves.")), detection(blind_spots=("Elves.",))

        assert blind_spots([one, two], None) == ("Ghosts.", "Elves.")
        assert blind_spots([two], (0, 2)) == ("Elves.", "Labels that were not scanned: only 0, 2 were.")

    @pytest.mark.parametrize("spot", SHARED)
    def test_what_one_of_several_detectors_sees_is_no_blind_spot_of_them_all(self, spot):
        blind, sees = detection(blind_spots=(spot, "Ghosts.")), detection(blind_spots=("Elves.",))

        assert blind_spots([blind, sees], None) == ("Ghosts.", "Elves.")
        assert blind_spots([blind, blind], None) == (spot, "Ghosts.")


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (0.0, 1, "0.0 %"),
        (0.0004, 1, "<0.1 %"),
        (0.0006, 1, "0.1 %"),
        (0.004, 0, "<1 %"),
        (0.95, 0, "95 %"),
        (1, 1, "100.0 %"),
    ],
)
def test_what_is_above_nothing_is_never_shown_as_nothing(share, digits, shown):
    assert percent(share, digits) == shown


def test_a_trigger_is_called_what_it_is():
    mask, flow = torch.zeros(4, 4), torch.zeros(2, 4, 4)
    assert kind_of(ReversedPatch(1, mask, torch.zeros(3, 4, 4))) == "patch"
    assert kind_of(ReversedPerturbation(1, torch.zeros(3, 4, 4))) == "change of all pixels"
    assert kind_of(ReversedWarp(1, flow)) == "warp"
