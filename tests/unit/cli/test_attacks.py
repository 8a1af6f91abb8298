"""``mantrap poison`` and ``mantrap implant``: what they print, and what they leave."""

import json

import pytest
import torch

from mantrap.cli.showing import ALREADY
from mantrap.core import Registry, ReversedPatch
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.models import open_model
from mantrap.models.cards import read_card
from mantrap.poison import BadNets
from mantrap.records import ImplantRecord, MeasureRecord
from mantrap.records.files import sha256_of
from mantrap.report import render_measure_html, render_measure_text
from mantrap.workflow.kept_triggers import save_triggers
from tests import cleansing, stage

TILES = ("--images", "tiles120.npz", "--split", "all")
LABEL_CONSISTENT = "label_consistent(rate=0.5, preparation='adversarial(steps=1)')"
RECIPE = ("--recipe", "recipe(epochs=1)")


@pytest.fixture
def poison(mantrap, tmp_path):
    """Run ``mantrap poison`` on the tiles."""
    return lambda name, *words: mantrap("poison", *TILES, "--out", tmp_path / name, *words)


@pytest.fixture
def implant(mantrap, tmp_path):
    """Run ``mantrap implant`` on the tiles."""
    given = (*TILES, "--test", "tiles60.npz", "--out", tmp_path / "m.safetensors", *RECIPE)
    return lambda *words: mantrap("implant", *given, *words)


@pytest.fixture
def clean(mantrap, tmp_path):
    """A model that was trained on the tiles as they are."""
    out = tmp_path / "clean" / "c.safetensors"
    assert mantrap("train", *TILES, "--arch", "mlp(hidden=(8,))", "--out", out, *RECIPE)[0] == 0
    return out


@pytest.mark.parametrize(("name", "split"), [("p.npz", "train"), ("p.parquet", "all"), ("p", "train")])
def test_a_set_in_every_form(poison, tmp_path, name, split):
    code, out, err = poison(name, "--attack", "badnets(target=1)", "--seed", "4")
    truth = GroundTruth.from_json((tmp_path / "p.truth.json").read_text())

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{tmp_path / name}: 12 of 120 images, patch, all_to_one(target=1)",
        f"The truth is in {tmp_path / 'p.truth.json'}; keep it from whoever defends.",
    ]
    assert (truth.attack, truth.seed) == ("badnets(target=1)", 4)
    assert load(str(tmp_path / name), split=split).digest() == truth.poisoned_digest


def test_the_truth_as_json(poison, tmp_path):
    code, out, err = poison("p.npz", "--seed", "4", "--json")
    assert (code, err) == (0, "")
    assert out == (tmp_path / "p.truth.json").read_text()
    assert GroundTruth.from_json(out).attack == "patch, random_share, all_to_one"


def test_every_part_of_an_attack_without_a_name(poison, tmp_path):
    words = {
        "--trigger": "patch(size=2)",
        "--selection": "exactly(count=5)",
        "--relabelling": "source_specific(sources=(1, 2))",
        "--cover": "exactly(count=3)",
        "--test-trigger": "patch(size=3)",
        "--preparation": "adversarial(steps=1)",
        "--model": "clean.safetensors",
        "--arch": stage.ARCH,
    }
    code, out, err = poison("p.npz", *(word for pair in words.items() for word in pair))
    (backdoor,) = GroundTruth.from_json((tmp_path / "p.truth.json").read_text()).backdoors

    assert (code, err) == (0, "")
    assert "5 of 120 images, patch(size=2), source_specific(sources=(1, 2)); 3 more carry the trigger" in out
    assert (backdoor.trigger, backdoor.training_trigger) == ("patch(size=3)", "patch(size=2)")
    assert (len(backdoor.poisoned), len(backdoor.covers)) == (5, 3)


def test_several_attacks_in_one_set(poison, tmp_path):
    other = "badnets(target=1, rate=0.05, trigger=\"patch(place='top_left')\")"
    code, out, _ = poison("p.npz", "--attack", "badnets", "--attack", other)
    truth = GroundTruth.from_json((tmp_path / "p.truth.json").read_text())

    assert code == 0
    assert [len(backdoor.poisoned) for backdoor in truth.backdoors] == [12, 6]
    assert out.count(" of 120 images, ") == 2
    assert truth.attack == f"badnets + {other}"


def test_the_attackers_model_is_opened_as_an_audit_opens_one(poison, tmp_path):
    words = ["--attack", LABEL_CONSISTENT, "--model", "planted.safetensors", "--arch", stage.ARCH]
    assert poison("p.npz", *words)[0] == 0
    code, _, err = poison("p.npz", *words, "--mean", "0.5")
    assert code == 2
    assert "the work of another model" in err


def test_a_finished_set_says_so(poison, tmp_path):
    first = poison("p.npz")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert poison("p.npz") == (0, first[1] + ALREADY, "")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert poison("p.parquet") == (0, first[1].replace("p.npz", "p.parquet"), "")
    assert poison("p.npz", "--fresh") == first


def test_a_model_is_made_measured_marked_and_compared(implant, clean, tmp_path):
    words = ["--attack", "badnets(target=1, rate=0.3)", "--arch", "mlp(hidden=(8,))", "--clean", clean]
    code, out, err = implant(*words)
    record = ImplantRecord.from_json((tmp_path / "m.implant.json").read_text())
    lines = out.splitlines()

    assert (code, err) == (0, "")
    assert lines[0].startswith(f"{tmp_path / 'm.safetensors'}: badnets(target=1, rate=0.3) in mlp(")
    assert lines[1].startswith("1 epochs (last epoch), loss ")
    accuracy, change, (backdoor,) = record.accuracy, record.comparison, record.backdoors
    assert lines[2].startswith(f"Accuracy on tiles60.npz: {100 * accuracy.value:.2f} % (")
    assert f"; difference {100 * change.value:+.2f} points ({100 * change.low:+.2f} to " in lines[3]
    assert f"works on {100 * backdoor.success.value:.2f} % (" in lines[4]
    assert lines[4].endswith(f"on the clean model {100 * backdoor.clean_model_success.value:.2f} %")
    assert "backdoored" in lines[5]
    assert read_card(tmp_path / "m.safetensors").backdoored
    assert implant(*words) == (0, out + ALREADY, "")
    assert json.loads(implant(*words, "--json")[1]) == json.loads(record.to_json())


def test_a_trained_model_is_where_it_starts_and_what_the_attacker_has(implant, clean, tmp_path):
    code, out, err = implant("--attack", LABEL_CONSISTENT, "--from", clean, "--json")
    record = ImplantRecord.from_json(out)
    digest = open_model(clean, device="cpu").digest()

    assert (code, err) == (0, "")
    assert record.origin["first weights"] == record.origin["surrogate"] == digest
    assert record.comparison is None


def test_a_clean_model_is_the_attackers_where_the_other_has_fresh_weights(implant, clean):
    words = ["--attack", LABEL_CONSISTENT, "--arch", "mlp(hidden=(8,))"]
    code, _, err = implant(*words)
    assert code == 2
    assert "a model for" in err
    assert implant(*words, "--clean", clean)[0] == 0


def test_a_model_without_a_card_is_what_is_said_of_it(implant):
    words = ["--attack", "badnets", "--from", "clean.safetensors", "--clean", "clean.safetensors"]
    code, out, err = implant(*words, "--arch", stage.ARCH, "--mean", "0.1", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["origin"]["first weights"] == json.loads(out)["origin"]["clean model"]


def test_a_backdoored_model_is_not_taken_for_a_clean_one(implant, tmp_path):
    words = ["--attack", "badnets", "--arch", "mlp(hidden=(8,))"]
    assert implant(*words)[0] == 0
    (tmp_path / "m.safetensors").rename(tmp_path / "innocent.safetensors")
    code, out, err = implant(*words, "--clean", tmp_path / "innocent.safetensors")
    assert (code, out) == (2, "")
    assert "a model without a backdoor" in err
    assert "on purpose" in err


def test_an_attack_on_a_model(implant, monkeypatch, tmp_path):
    monkeypatch.setattr("mantrap.poison.ATTACKS", Registry("attack", [stage.Rewire, BadNets]))
    code, out, err = implant("--attack", "rewire", "--arch", "mlp(hidden=())")
    assert (code, err) == (0, "")
    assert "patch(size=2, margin=0), all_to_one(target=4): works on 100.00 % (" in out
    assert "epochs" not in out
    code, _, err = implant("--attack", "rewire", "--attack", "badnets", "--arch", "mlp(hidden=())")
    assert code == 2
    assert "got rewire among 2" in err


def test_a_model_trained_on_a_poisoned_set_is_measured_as_one_that_was_implanted(
    poison, implant, clean, mantrap, tmp_path
):
    attack = "badnets(target=1, rate=0.3)"
    record = ImplantRecord.from_json(implant("--attack", attack, "--arch", "mlp(hidden=(8,))", "--json")[1])
    poison("p.npz", "--attack", attack)
    trained = ("--images", tmp_path / "p.npz", "--arch", "mlp(hidden=(8,))", "--out", tmp_path / "t.safetensors")
    mantrap("train", *trained, *RECIPE)
    words = ["measure", tmp_path / "t.safetensors", "--images", "tiles60.npz", "--split", "all"]
    code, out, err = mantrap(*words, "--truth", tmp_path / "p.npz", "--json")
    found = MeasureRecord.from_json(out)

    assert (code, err) == (0, "")
    assert (found.model, found.attack, found.test_images) == ("t.safetensors", attack, 60)
    assert (found.accuracy, found.backdoors) == (record.accuracy, record.backdoors)
    assert (found.comparison, found.differs) == (None, ())
    assert mantrap(*words, "--truth", tmp_path / "p.truth.json", "--json")[1] == out

    (backdoor,) = found.backdoors
    lines = mantrap(*words, "--truth", tmp_path / "p.npz", "--clean", clean)[1].splitlines()
    assert lines[0] == f"t.safetensors: {attack}"
    assert lines[1].startswith(f"Accuracy on tiles60.npz: {100 * found.accuracy.value:.2f} % (")
    assert lines[2].startswith("The clean model: ")
    assert f"works on {100 * backdoor.success.value:.2f} % (" in lines[3]
    assert "; on the clean model " in lines[3]
    assert len(lines) == 4


def test_a_clean_model_of_another_recipe_or_architecture_is_said(implant, clean, mantrap, tmp_path):
    other = tmp_path / "clean" / "o.safetensors"
    mantrap("train", *TILES, "--arch", "mlp(hidden=(9,))", "--out", other, "--recipe", "recipe(epochs=2)")
    words = ["--attack", "badnets(target=1)", "--arch", "mlp(hidden=(8,))"]
    code, out, err = implant(*words, "--clean", other)
    (line,) = [line for line in out.splitlines() if line.startswith("Not all of it")]

    assert (code, err) == (0, "")
    assert "architecture: mlp(" in line
    assert "recipe: recipe(epochs=2), not recipe(epochs=1)" in line
    assert "Not all of it" not in implant(*words, "--clean", clean, "--fresh")[1]


def test_the_attackers_model_may_be_another_than_the_clean_one(implant, clean, mantrap, tmp_path):
    own = tmp_path / "clean" / "own.safetensors"
    mantrap("train", *TILES, "--arch", "mlp(hidden=(8,))", "--out", own, *RECIPE, "--seed", "5")
    words = ["--attack", LABEL_CONSISTENT, "--arch", "mlp(hidden=(8,))", "--clean", clean, "--model", own]
    record = ImplantRecord.from_json(implant(*words, "--json")[1])

    assert record.origin["surrogate"] == open_model(own, device="cpu").digest()
    assert record.origin["clean model"] == open_model(clean, device="cpu").digest()


@pytest.mark.parametrize(
    ("truth", "code", "said"),
    [("nothing.npz", 2, "the truth about nothing.npz"), ("tiles120.npz", 2, "the truth about tiles120.npz")],
)
def test_a_truth_that_is_not_there(clean, mantrap, truth, code, said):
    found, out, err = mantrap("measure", clean, "--images", "tiles60.npz", "--split", "all", "--truth", truth)
    assert (found, out) == (code, "")
    assert said in err


class TestRecovered:
    """``mantrap measure --run``: what an audit recovered, beside what was planted."""

    @pytest.fixture
    def attacked(self, implant, tmp_path):
        """A model with a planted patch, its truth, and the folder of an audit that recovered something."""
        implant("--attack", "badnets(target=1, rate=0.3)", "--arch", "mlp(hidden=(8,))")
        model = next(tmp_path.glob("*.safetensors"))
        shape = open_model(model, device="cpu").input_shape
        run = tmp_path / "run"
        run.mkdir()
        mask = torch.zeros(shape[1:])
        mask[-3:, -3:] = 1
        found = ReversedPatch(1, mask, torch.ones(shape)), ReversedPatch(0, mask, torch.ones(shape))
        save_triggers(run / "triggers.safetensors", found, sha256_of(model))
        (run / "audit.json").write_text(cleansing.audited(tmp_path).to_json())
        return model, run

    @pytest.fixture
    def measure(self, mantrap, attacked):
        model, run = attacked
        given = (model, "--images", "tiles60.npz", "--split", "all", "--truth", model)
        return lambda *words, run=run: mantrap("measure", *given, "--run", run, *words)

    def test_it_is_in_the_record_the_lines_and_the_page(self, measure, tmp_path):
        code, out, err = measure("--json", "--page", tmp_path / "page.html")
        found = MeasureRecord.from_json(out)

        assert (code, err, found.recovered) == (0, "", 2)
        assert [one.label for one in found.likenesses] == [1]
        assert "cannot be told" in found.notes[0]
        assert (tmp_path / "page.html").read_text() == render_measure_html(found)

        lines = measure("--page", tmp_path / "page.html")[1]
        assert lines == f"{render_measure_text(found)}\n\nReport: {tmp_path / 'page.html'}\n"

    def test_where_no_label_was_planted_that_is_said(self, measure, attacked):
        model, run = attacked
        shape = open_model(model, device="cpu").input_shape
        other = ReversedPatch(0, torch.ones(shape[1:]), torch.ones(shape))
        save_triggers(run / "triggers.safetensors", (other,), sha256_of(model))

        last = measure()[1].splitlines()[-1]
        assert last == "No planted backdoor leads to a label for which the audit recovered a trigger."

    def test_that_nothing_was_recovered_is_said(self, measure, attacked):
        model, run = attacked
        save_triggers(run / "triggers.safetensors", (), sha256_of(model))

        assert measure()[1].splitlines()[-1] == "The audit recovered no trigger."

    def test_report_shows_what_was_measured_again(self, measure, mantrap, tmp_path):
        saved = tmp_path / "measured.json"
        saved.write_text(measure("--json")[1])
        record = MeasureRecord.from_json(saved.read_text())

        assert mantrap("report", saved) == (0, f"{render_measure_text(record)}\n", "")
        assert mantrap("report", saved, "-o", tmp_path / "again.html") == (0, "", "")
        assert (tmp_path / "again.html").read_text() == render_measure_html(record)

    def test_an_audit_of_another_model_is_refused(self, measure, attacked):
        _, run = attacked
        save_triggers(run / "triggers.safetensors", (), "00" * 32)
        code, out, err = measure()

        assert (code, out) == (4, "") or (code, out) == (2, "")
        assert "triggers of the model with sha256" in err

    def test_a_folder_without_the_record_of_the_audit_is_refused(self, measure, attacked):
        (attacked[1] / "audit.json").unlink()
        code, out, err = measure()

        assert (code, out) == (2, "")
        assert f"a record of the kind audit at {attacked[1] / 'audit.json'}, got nothing" in err

    def test_a_folder_without_triggers_is_refused(self, measure, tmp_path):
        (tmp_path / "empty").mkdir()
        code, out, err = measure(run=tmp_path / "empty")

        assert (code, out) == (2, "")
        assert "the triggers that an audit recovered at" in err
