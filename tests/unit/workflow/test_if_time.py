"""A detector that joins where time is left: what it finds counts, and where it finds no time nobody misses it."""

import pytest

from mantrap.detect import DETECTORS
from mantrap.detect.blind_spots import SOME_CLASSES
from mantrap.records import CheckStatus
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from tests import headed, sourced, stage


def run(*detectors, images=None, if_time=(), **options):
    plan = Plan(
        detectors=tuple(map(DETECTORS.create, detectors)),
        if_time=if_time,
        **{"copy": True, "control": False, **options},
    )
    given, source = sourced.model(planted=True), Source("sourced.safetensors", "ab" * 32)
    return audit(given, images or stage.image_set(), plan=plan, source=source)


def test_scans_them_where_time_is_left_and_says_the_same():
    further = (DETECTORS.create(sourced.QUICK),)
    found = run(sourced.QUICK, headed.MARGINS, budget=3600.0)
    some = run(headed.MARGINS, if_time=further, budget=3600.0)

    assert (some.pair.label, some.pair.to, some.verdict) == (found.pair.label, found.pair.to, found.verdict)
    assert some.pair.norm == pytest.approx(found.pair.norm, rel=1e-3)
    assert [d.detector.partition("(")[0] for d in some.detections] == ["mm_bd", "pair_scan"]
    assert SOME_CLASSES not in some.blind_spots


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": 1e-6}, "pair_scan did not look: too little time was left"),
        ({"budget": 3600.0, "copy": False}, "pair_scan did not look: nobody wants the copy that it needs."),
        ({"budget": 3600.0, "images": stage.image_set(80)}, "pair_scan did not look: 64 images are needed,"),
    ],
    ids=["no time", "no copy", "too few images"],
)
def test_where_nothing_comes_of_it_they_are_left_out_as_if_nobody_had_asked(changes, said):
    further = (DETECTORS.create(sourced.QUICK),)
    (none, some) = (run("last_layer", if_time=who, **changes) for who in ((), further))
    (check,) = [c for c in some.checks if c.name == "pair_scan"]

    assert check.status is CheckStatus.SKIPPED
    assert check.message.startswith(said)
    assert (some.barring, some.verdict, some.pair) == (none.barring, none.verdict, None)
    assert SOME_CLASSES in some.blind_spots
    assert [d.detector for d in some.detections] == ["last_layer"]
