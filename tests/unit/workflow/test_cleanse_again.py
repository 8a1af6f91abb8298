"""A repair that is there is left alone, and what is another's is never touched."""

import pytest

from mantrap.core import ImageSet
from mantrap.errors import OutputError
from mantrap.records import CleanseRecord
from mantrap.records.files import sha256_of
from mantrap.workflow import proving
from mantrap.workflow.cleanse import cleanse
from tests import cleansing, stage
from tests.cleansing import TUNING, UNLEARNING, work

pytestmark = pytest.mark.usefixtures("hasty", "as_recovered")
OTHER = "fine_tuning(updates=8)"


@pytest.fixture
def done(place, out):
    """A place where the work is done, and its record."""
    return out, cleanse(work(place), out)


@pytest.fixture
def idle(done, monkeypatch):
    """Nobody may work any more."""
    monkeypatch.setattr(proving.Proving, "record", None)


def files(out):
    """What lies there, and what changes when a file is written again."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(out.parent.iterdir())}


@pytest.mark.usefixtures("idle")
def test_the_same_work_is_left_alone_and_gives_the_same_record(done, place):
    out, record = done
    before = files(out)
    assert cleanse(work(place), out) == record
    assert cleanse(work(place, command="typed otherwise"), out) == record
    assert files(out) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda _: {"repair": OTHER}, "repair"),
        (lambda _: {"images": stage.image_set(119)}, "images"),
        (lambda place: {"audited": cleansing.audited(place, seed=1)}, "seed"),
        (lambda place: {"audited": cleansing.audited(place, "mm_bd(starts=2, steps=3)")}, "detectors"),
    ],
    ids=["repair", "images", "seed", "detectors"],
)
def test_another_work_is_refused_and_touches_nothing(done, place, change, named):
    out, _ = done
    before = files(out)
    with pytest.raises(OutputError, match=f"the work of another {named}\\. .*--fresh"):
        cleanse(work(place, **change(place)), out)
    assert files(out) == before


def test_another_work_starts_over_with_fresh(done, place):
    out, record = done
    other = cleanse(work(place, OTHER), out, fresh=True)
    assert (record.repair, other.repair) == (TUNING, OTHER)
    assert CleanseRecord.from_json(out.with_suffix(".cleanse.json").read_text()) == other
    assert sha256_of(out) == other.fixed_sha256 != record.fixed_sha256


def test_the_same_work_is_done_anew_with_fresh(done, place):
    out, _ = done
    before = out.stat().st_ino, out.stat().st_mtime_ns
    cleanse(work(place), out, fresh=True)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) != before


def test_where_the_weights_are_gone_they_are_made_again(done, place):
    out, record = done
    out.unlink()
    assert cleanse(work(place), out).fixed_sha256 == record.fixed_sha256 == sha256_of(out)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_that_does_not_say_how_it_came_about_is_never_touched(place, out, fresh, monkeypatch):
    out.write_bytes(b"somebody's weights")
    before = files(out)
    monkeypatch.setattr(proving.Proving, "record", None)
    with pytest.raises(OutputError, match="something that does not say how it came about"):
        cleanse(work(place), out, fresh=fresh)
    assert files(out) == before


@pytest.mark.parametrize("broken", [b"{", b"\xff\xfe", b'{"kind": "audit"}'])
@pytest.mark.usefixtures("idle")
def test_a_record_that_cannot_be_read_says_nothing(done, place, broken):
    out, _ = done
    out.with_suffix(".cleanse.json").write_bytes(broken)
    with pytest.raises(OutputError, match="something that does not say"):
        cleanse(work(place), out, fresh=True)


def test_beside_a_record_that_cannot_be_read_there_is_room_where_no_weights_are(place, out):
    out.with_suffix(".cleanse.json").write_bytes(b"{")
    assert cleanse(work(place), out).fixed_sha256 == sha256_of(out)


def interrupted(monkeypatch, *given, **options):
    """Do some work that is interrupted in its last stage."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(proving, "audit", stop)
        with pytest.raises(KeyboardInterrupt):
            cleanse(*given, **options)


def test_after_an_interrupt_the_same_call_comes_to_its_end(place, out, monkeypatch):
    interrupted(monkeypatch, work(place, UNLEARNING), out)
    assert cleanse(work(place, UNLEARNING), out).fixed_sha256 == sha256_of(out)


def test_after_an_interrupt_no_record_speaks_for_other_weights(done, place, monkeypatch):
    out, _ = done
    interrupted(monkeypatch, work(place, OTHER), out, fresh=True)
    assert cleanse(work(place), out).fixed_sha256 == sha256_of(out)


def test_weights_that_were_changed_afterwards_are_not_passed_off_as_repaired(done, place):
    out, _ = done
    out.write_bytes((place / "headed.safetensors").read_bytes())
    try:
        record = cleanse(work(place), out)
    except OutputError:
        return
    assert record.fixed_sha256 == sha256_of(out)


def test_the_images_are_known_by_their_content(done, place):
    out, record = done
    images, labels = stage.pixels()
    assert cleanse(work(place, images=ImageSet.from_array(images, labels, name="tiles")), out) == record
    changed = images.clone()
    changed[0, 0, 0, 0] ^= 1
    with pytest.raises(OutputError, match="another images"):
        cleanse(work(place, images=ImageSet.from_array(changed, labels, name="tiles")), out)
