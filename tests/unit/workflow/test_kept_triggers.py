"""Recovered triggers are kept in full precision beside an audit, and read back only where they can be trusted."""

import dataclasses
import math

import pytest
import safetensors.torch
import torch
from torch import nn

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedWarp
from mantrap.detect import DETECTORS
from mantrap.errors import RecordError
from mantrap.models import wrap
from mantrap.ops.pairs import PairStanding
from mantrap.ops.recovered import put_on
from mantrap.workflow import audit as auditing
from mantrap.workflow.audit import audit
from mantrap.workflow.kept_triggers import TRIGGERS_FILE, load_triggers, save_triggers
from mantrap.workflow.pairing import Paired, patches_of
from mantrap.workflow.plan import Plan, Source
from tests import headed, sourced, stage

MODEL = wrap(nn.Sequential(nn.Flatten(), nn.Linear(60, 7)), input_shape=(3, 4, 5))
DIGEST, OTHER = "ab" * 32, "cd" * 32
MARK = {"mantrap.model": DIGEST}


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def some(count):
    """Triggers of all kinds in turn, for labels that do not follow their order."""
    kinds = (
        lambda label, seed: ReversedPatch(label, random(4, 5, seed=seed), random(3, 4, 5, seed=seed + 1)),
        lambda label, seed: ReversedPerturbation(label, 2 * random(3, 4, 5, seed=seed) - 1),
        lambda label, seed: ReversedWarp(label, 9 * random(2, 4, 5, seed=seed) - 4),
    )
    return tuple(kinds[n % 3]((5 * n + 3) % 7, n) for n in range(count))


def tensors(trigger):
    return {k: v for k, v in vars(trigger).items() if k != "target"}


def assert_equal(one, other):
    assert type(one) is type(other)
    assert one.target == other.target
    assert tensors(one).keys() == tensors(other).keys()
    for name, tensor in tensors(one).items():
        assert tensor.dtype == tensors(other)[name].dtype == torch.float32
        assert torch.equal(tensor, tensors(other)[name])


def written(folder, parts, metadata=MARK):
    path = folder / "triggers.safetensors"
    path.write_bytes(safetensors.torch.save(parts, metadata=metadata))
    return path


class TestRoundTrip:
    def test_every_kind_comes_back_bitwise_and_in_its_order(self, tmp_path):
        given = some(12)  # more than ten: as names, "10" comes before "2"
        save_triggers(tmp_path / "t.safetensors", given, DIGEST)
        got = load_triggers(tmp_path / "t.safetensors", MODEL, DIGEST)

        assert len(got) == len(given)
        for one, other in zip(given, got, strict=True):
            assert_equal(one, other)

    def test_two_of_one_kind_and_label_are_kept_apart(self, tmp_path):
        given = tuple(ReversedPerturbation(2, torch.full((3, 4, 5), value)) for value in (0.25, -1e-8))
        save_triggers(tmp_path / "t.safetensors", given, DIGEST)
        got = load_triggers(tmp_path / "t.safetensors", MODEL, DIGEST)

        assert [t.target for t in got] == [2, 2]
        assert [float(t.delta[0, 0, 0]) for t in got] == [0.25, float(torch.tensor(-1e-8))]

    def test_where_there_is_no_file_there_are_none(self, tmp_path):
        assert load_triggers(tmp_path / "t.safetensors", MODEL, DIGEST) == ()

    def test_values_that_no_trigger_can_have_are_brought_back_to_the_nearest(self, tmp_path):
        parts = {
            "0.patch.1.mask": torch.full((4, 5), 1.5),
            "0.patch.1.pattern": torch.full((3, 4, 5), -2.0),
            "1.perturbation.1.delta": torch.full((3, 4, 5), -3.0),
        }
        patch, change = load_triggers(written(tmp_path, parts), MODEL, DIGEST)

        assert set(patch.mask.unique().tolist()) == {1.0}
        assert set(patch.pattern.unique().tolist()) == {0.0}
        assert set(change.delta.unique().tolist()) == {-1.0}


MASK, PATTERN = {"0.patch.1.mask": torch.rand(4, 5)}, {"0.patch.1.pattern": torch.rand(3, 4, 5)}
DELTA, FLOW = torch.rand(3, 4, 5), torch.rand(2, 4, 5)
DAMAGED = {
    "an unknown name": ({**MASK, **PATTERN, "hidden.weight": torch.rand(3)}, "a tensor named 'hidden.weight'"),
    "an unknown kind": ({"0.sticker.1.delta": DELTA}, "a tensor named"),
    "a name with more after it": ({"0.perturbation.1.delta.more": DELTA}, "a tensor named"),
    "a label beyond the classes": ({"0.perturbation.7.delta": DELTA}, "label 7 of a model of 7 classes"),
    "two labels for one trigger": ({**MASK, "0.patch.2.pattern": PATTERN["0.patch.1.pattern"]}, "label 2"),
    "two kinds for one trigger": ({**MASK, **PATTERN, "0.perturbation.1.delta": DELTA}, "label 1"),
    "a patch without a pattern": (MASK, "a patch of"),
    "a patch without a mask": (PATTERN, "a patch of"),
    "a patch with more": ({**MASK, **PATTERN, "0.patch.1.delta": DELTA}, "a patch of"),
    "a mask turned": ({"0.patch.1.mask": torch.rand(5, 4), **PATTERN}, "a patch of"),
    "a pattern in grey": ({**MASK, "0.patch.1.pattern": torch.rand(1, 4, 5)}, "a patch of"),
    "a change of another size": ({"0.perturbation.1.delta": torch.rand(3, 5, 4)}, "a perturbation of"),
    "a warp in three directions": ({"0.warp.1.flow": DELTA}, "a warp of"),
    "a part of another kind": ({"0.warp.1.delta": FLOW}, "a warp of"),
    "no number": ({"0.warp.1.flow": FLOW.clone().index_fill_(0, torch.tensor(1), math.nan)}, "of finite numbers"),
    "an infinite mask": ({"0.patch.1.mask": torch.full((4, 5), math.inf), **PATTERN}, "of finite numbers"),
    "doubles": ({"0.perturbation.1.delta": DELTA.double()}, "of finite numbers"),
    "whole numbers": ({"0.warp.1.flow": FLOW.int()}, "of finite numbers"),
}


class TestRefusal:
    @pytest.mark.parametrize(("parts", "said"), DAMAGED.values(), ids=DAMAGED)
    def test_what_is_no_trigger_of_this_model(self, tmp_path, parts, said):
        path = written(tmp_path, parts)
        with pytest.raises(RecordError, match=said) as caught:
            load_triggers(path, MODEL, DIGEST)
        assert str(path) in caught.value.expected

    def test_damage_in_a_later_trigger_spoils_them_all(self, tmp_path):
        save_triggers(tmp_path / "good", some(2), DIGEST)
        parts = safetensors.torch.load_file(tmp_path / "good") | {"2.warp.1.flow": DELTA}
        with pytest.raises(RecordError, match="a warp of"):
            load_triggers(written(tmp_path, parts), MODEL, DIGEST)

    def test_those_of_another_model(self, tmp_path):
        save_triggers(tmp_path / "t", some(1), OTHER)
        with pytest.raises(RecordError, match=rf"model with sha256 {DIGEST[:16]}\.\.\., got those of {OTHER[:16]}"):
            load_triggers(tmp_path / "t", MODEL, DIGEST)

    @pytest.mark.parametrize("metadata", [None, {"other": DIGEST}])
    def test_those_of_which_nobody_says_whose_they_are(self, tmp_path, metadata):
        with pytest.raises(RecordError, match="got those of no model"):
            load_triggers(written(tmp_path, {**MASK, **PATTERN}, metadata), MODEL, DIGEST)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_part_of_a_file(self, tmp_path, share):
        save_triggers(tmp_path / "t", some(3), DIGEST)
        whole = (tmp_path / "t").read_bytes()
        (tmp_path / "t").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(RecordError, match="the triggers of an audit"):
            load_triggers(tmp_path / "t", MODEL, DIGEST)

    @pytest.mark.parametrize("junk", [b"{}", b"PK\x03\x04 and so on", b"\xff" * 64])
    def test_no_safetensors_at_all(self, tmp_path, junk):
        (tmp_path / "t").write_bytes(junk)
        with pytest.raises(RecordError, match="the triggers of an audit"):
            load_triggers(tmp_path / "t", MODEL, DIGEST)

    def test_a_folder(self, tmp_path):
        with pytest.raises(RecordError, match="the triggers of an audit"):
            load_triggers(tmp_path, MODEL, DIGEST)

    def test_a_huge_file_unread(self, tmp_path):
        with (tmp_path / "t").open("wb") as file:
            file.truncate(2**28 + 1)  # takes no room on the disk
        with pytest.raises(RecordError, match="got 268,435,457 bytes"):
            load_triggers(tmp_path / "t", MODEL, DIGEST)


QUICK = DETECTORS.create(stage.QUICK)
SOURCE = Source("tiles.safetensors", DIGEST)


def run(out, *detectors, planted=True, model=None, copy=False, **options):
    plan = Plan(detectors=detectors or (QUICK,), copy=copy, control=False)
    model = model or stage.model(planted=planted)
    return audit(model, stage.image_set(), plan=plan, source=SOURCE, out=out, **options)


class TestAudit:
    def test_keeps_the_trigger_of_the_label_that_it_names_as_the_search_recovered_it(self, tmp_path):
        seen = []

        class Spy(type(QUICK)):
            def detect(self, model, clean, **options):
                seen.append(super().detect(model, clean, **options))
                return seen[-1]

        record = run(tmp_path / "run", Spy(**vars(QUICK)))
        (own,) = [t for t in seen[0].triggers if t.target == stage.TARGET]
        (kept,) = load_triggers(tmp_path / "run" / TRIGGERS_FILE, stage.model(planted=True), DIGEST)

        assert [suspect.label for suspect in record.suspects] == [stage.TARGET]
        assert_equal(kept, own)
        assert kept.norm == pytest.approx(record.suspects[0].norm)

    def test_that_finds_nothing_keeps_none(self, tmp_path):
        record = run(tmp_path / "run", planted=False)

        assert record.suspects == ()
        assert (tmp_path / "run" / "audit.json").exists()
        assert not (tmp_path / "run" / TRIGGERS_FILE).exists()

    def test_that_starts_over_leaves_none_of_the_one_before(self, tmp_path):
        run(tmp_path / "run")
        assert (tmp_path / "run" / TRIGGERS_FILE).exists()
        run(tmp_path / "run", planted=False, fresh=True)
        assert not (tmp_path / "run" / TRIGGERS_FILE).exists()

    def test_that_is_called_again_keeps_the_same(self, tmp_path):
        run(tmp_path / "run")
        before = (tmp_path / "run" / TRIGGERS_FILE).read_bytes()
        run(tmp_path / "run")
        assert (tmp_path / "run" / TRIGGERS_FILE).read_bytes() == before

    def test_writes_no_record_before_its_triggers(self, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "no room")

        monkeypatch.setattr(auditing, "save_triggers", full)
        with pytest.raises(OSError, match="no room"):
            run(tmp_path / "run")
        assert not (tmp_path / "run" / "audit.json").exists()

    def test_without_a_folder_writes_nothing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert run(None).suspects
        assert list(tmp_path.iterdir()) == []

    def test_keeps_the_patch_of_a_pair_of_classes(self, tmp_path):
        model = sourced.model()
        who = map(DETECTORS.create, (sourced.QUICK, headed.MARGINS))
        record = run(tmp_path / "run", *who, model=model, copy=True)
        (kept,) = load_triggers(tmp_path / "run" / TRIGGERS_FILE, model, DIGEST)
        images = stage.image_set(60)
        shown = images.images(torch.nonzero(images.labels == sourced.SOURCE).flatten().tolist())

        assert record.suspects == ()
        assert (type(kept), kept.target) == (ReversedPatch, sourced.TARGET)
        assert kept.norm == pytest.approx(record.pair.norm)
        with torch.no_grad():
            assert set(model.logits(put_on(shown, kept)).argmax(1).tolist()) == {sourced.TARGET}


class TestPatchesOfPairs:
    def paired(self, log_chance, patch):
        return Paired((PairStanding(1, 4, 3.0, log_chance),), "pair_scan", patch)

    def test_that_of_a_pair_that_is_noticed(self):
        patch = sourced.square()
        assert patches_of(self.paired(-30.0, patch)) == (patch,)

    def test_none_of_one_that_is_not(self):
        ordinary = self.paired(-0.1, sourced.square())
        assert not ordinary.noticed
        assert patches_of(ordinary) == ()

    def test_none_where_none_worked_or_nobody_looked(self):
        silent = self.paired(-30.0, None)
        assert silent.noticed
        assert patches_of(silent) == patches_of(None) == ()
        assert patches_of(dataclasses.replace(silent, patch=sourced.square())) != ()
