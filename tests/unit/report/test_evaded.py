"""What the page and the text of evasions show."""

import base64
import dataclasses
import hashlib
import re

import pytest

from mantrap.evade import Bim, Fgsm
from mantrap.evade.transformations import BitDepth
from mantrap.records import EvadeRecord
from mantrap.report import render_evade_html, render_evade_text
from mantrap.workflow.evade import evade
from tests.evading import TWO, Turned, behind, work

HOSTILE = "<b>bold</b>\u202e"


@pytest.fixture(scope="module")
def record():
    images = TWO.images(20, "evade").renamed(("zero", HOSTILE))
    return evade(work((Fgsm(eps=0.28), Bim(eps=0.28, steps=3, step=0.5)), images=images, each=20))


@pytest.fixture(scope="module")
def page(record):
    return render_evade_html(record)


def test_what_was_found_stands_first(record, page):
    assert "<h1>Measured</h1>" in page
    assert '<header class="verdict measured">' in page
    assert f'<p class="headline">{record.headline}</p>' in page
    assert "mantrap evasion of <strong>m.safetensors</strong> on <strong>evade</strong>" in page


def test_a_sign_of_false_security_takes_the_verdict_away():
    page = render_evade_html(evade(work((Fgsm(),), model=behind(Turned.apply), each=5)))

    assert "<h1>Not to be relied on</h1>" in page
    assert '<header class="verdict inconclusive">' in page
    assert '<li class="warned"><span class="tag">Raised</span><span><strong>unlimited budget</strong>' in page


def test_accuracy_falls_in_a_drawing_and_in_a_table(record, page):
    rows = re.search(r'Table of accuracy by budget, linf".*?</table>', page, re.DOTALL)[0]

    assert [float(one) for one in re.findall(r'<th scope="row">([\d.]+)</th>', rows)] == pytest.approx(
        [budget.eps for budget in record.evasions[0].budgets], rel=1e-3
    )
    assert rows.count("100 %") >= 5  # noise does nothing
    assert '<li class="bad">all evasions together</li><li class="other">noise of the same size</li>' in page
    assert page.count("<polyline") == 2 + 2 * 2


def test_every_evasion_has_its_budgets_and_its_pictures(record, page):
    for one in record.evasions:
        assert f"{one.evasion}</h2>" in page
        for example in one.examples:
            assert all(f"base64,{shown.png}" in page for shown in (example.before, example.change, example.after))
    assert page.count('class="triple change"') == 8


def test_pictures_beyond_the_budget_are_named(record, page):
    one = record.evasions[0]
    worst = dataclasses.replace(one.budgets[-1], beyond=3)
    spent = dataclasses.replace(one, budgets=(*one.budgets[:-1], worst))

    assert "exceed the budget" not in page
    assert "3 saved pictures exceed the budget." in render_evade_html(dataclasses.replace(record, evasions=(spent,)))


def test_of_a_sweep_the_own_class_and_the_winner_have_names(record, page):
    first = record.sweeps[0]
    other = next(one for one in first.logits if one.label != first.label)
    lines = re.search(rf"<h3>Image {first.number},.*?</figure>", page, re.DOTALL)[0]

    assert f'<li class="good">{first.label}' in lines
    assert f'<li class="bad">{other.label}' in lines


def test_answers_that_are_mistakes_are_marked(page):
    assert page.count('<span class="answer fooled">') == 8


def test_it_says_how_linear_the_model_is(record, page):
    assert "Why so little is enough" in page
    assert page.count("Pixels may leave their range here.") == 2
    assert f"An image has {record.linear.values} values" in page


def test_without_a_gradient_it_says_nothing_of_that(record):
    assert "Why so little" not in render_evade_html(dataclasses.replace(record, linear=None, sweeps=()))


def test_hostile_names_stay_text(page):
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_it_loads_nothing_and_runs_nothing(page):
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_the_text_has_the_same_figures(record):
    text = render_evade_text(record)
    lines = text.splitlines()

    assert lines[0] == "MEASURED  m.safetensors"
    assert lines[1] == record.headline
    assert sum(re.match(r"  [\d.]+: right", line) is not None for line in lines) == 10
    assert "  0.28: right on 0 % (0.0 to 8.8)" in text
    assert "False security" not in text


def test_the_text_names_the_signs():
    text = render_evade_text(evade(work((Fgsm(),), model=behind(Turned.apply), each=5)))

    assert "False security\n  - With a budget that allows any picture pgd leaves 10 of 10 images right." in text


def test_the_record_comes_back_and_renders_to_the_same(record, page):
    again = EvadeRecord.from_json(record.to_json())

    assert again == record
    assert render_evade_html(again) == page


def test_behind_a_transformation_it_says_what_whoever_does_not_know_it_finds():
    record = evade(work((Fgsm(eps=0.1),), transformation=BitDepth(bits=2), each=5))
    page, text = render_evade_html(record), render_evade_text(record)

    assert "behind <strong>bit_depth(bits=2)</strong>" in page
    assert page.count("Right if unaware") == 1
    assert "Right if unaware" not in render_evade_html(evade(work((Fgsm(eps=0.1),), each=5)))
    assert text.startswith("MEASURED  m.safetensors behind bit_depth(bits=2)\n")
    assert text.count("; made without the transformation") == 5
