"""What planted backdoors do, and how recovered triggers resemble them, as a page and as text."""

from dataclasses import dataclass

from mantrap.records import AttackMeasure, ImplantRecord, Likeness, MeasureRecord
from mantrap.report.page import Opening, render_page
from mantrap.report.plot import Plot, Series, draw_plot
from mantrap.report.words import VerdictWords, name_of, number, percent, scrub, share

_WORDS = VerdictWords("Measured against the truth", "")


@dataclass(frozen=True)
class Pair:
    """A recovered trigger beside a planted one: the record, its looks in a sentence, and the curve of kept neurons."""

    likeness: Likeness
    looks: str
    plot: Plot | None


def render_measure_html(record: MeasureRecord) -> str:
    """What was measured as one static page, which loads nothing and runs no script.

    Args:
        record: Fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(words=_WORDS, colour="measured", about=record.model, headline=_headline(record))
    pairs = [Pair(one, looks(one), _plot(one)) for one in record.likenesses]
    return render_page("measure.html", record, opening, pairs=pairs, none_beside=none_beside(record))


def render_measure_text(record: MeasureRecord) -> str:
    """What was measured as text, ending without a newline."""
    lines = [f"{record.model}: {record.attack}", f"Accuracy on {record.test_name}: {share(record.accuracy)}"]
    lines += [*backdoor_lines(record), *_likeness_lines(record), *filter(None, (none_beside(record),))]
    return "\n".join(map(scrub, lines))


def backdoor_lines(record: ImplantRecord | MeasureRecord) -> list[str]:
    """Lines on the clean model beside an attacked one, and on each backdoor."""
    lines = []
    if (change := record.comparison) is not None:
        ends = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
        lines.append(f"The clean model: {share(change.second)}; difference {100 * change.value:+.2f} points ({ends})")
    if record.differs:
        lines.append(f"Not all of it is the attack's: the clean model has another {'; '.join(record.differs)}")
    return lines + [_works(backdoor) for backdoor in record.backdoors]


def _works(backdoor: AttackMeasure) -> str:
    text = f"{backdoor.trigger}, {backdoor.relabelling}: works on {share(backdoor.success)}"
    if backdoor.bystanders is not None:
        text += f"; on images that it is not aimed at {100 * backdoor.bystanders.value:.2f} %"
    if backdoor.clean_model_success is not None:
        text += f"; on the clean model {100 * backdoor.clean_model_success.value:.2f} %"
    return text


def none_beside(record: MeasureRecord) -> str:
    """What is to be said where triggers were recovered, and none beside one that was planted; else empty."""
    if record.likenesses or not record.recovered:
        return ""
    return "No planted backdoor leads to a label for which the audit recovered a trigger."


def _headline(record: MeasureRecord) -> str:
    works = ", ".join(percent(one.success.value) for one in record.backdoors)
    said = f"The model is right on {percent(record.accuracy.value)} of images; what was planted works on {works}."
    planted = {one.target for one in record.backdoors if one.target is not None}
    if record.recovered and planted:
        beside = len({one.label for one in record.likenesses})
        said += f" Of planted labels {beside} of {len(planted)} are among those for which triggers were recovered."
    return said


def looks(one: Likeness) -> str:
    """How two triggers resemble each other to the eye, in a sentence."""
    place = "" if one.apart is None else f", and their middles are {number(one.apart)} pixels apart"
    sizes = f"{one.planted.pixels:,} pixels, the recovered one {one.recovered.pixels:,}"
    return (
        f"The planted trigger changes {sizes}; of those that either changes, both change {percent(one.overlap)}{place}."
    )


def _likeness_lines(record: MeasureRecord) -> list[str]:
    """Notes on how recovered triggers resemble planted ones, and a few lines for each pair."""
    lines = list(record.notes) if record.likenesses else []
    for one in record.likenesses:
        works = f"{percent(one.recovered_success.value)}, the planted one on {percent(one.planted_success.value)}"
        lines += [
            f"The {one.kind} recovered for label {name_of(one.label, one.class_name)}, beside {one.trigger}:",
            f"  effect: works on {works}",
            f"  looks: {looks(one)}",
        ]
        if one.neurons is not None:
            n = one.neurons
            lines.append(
                f"  neurons: the top {n.top} of {n.neurons} that {n.layer} reads say {number(n.clean)} to clean "
                f"images, {number(n.recovered)} to the recovered trigger, {number(n.planted)} to the planted one; "
                f"{percent(n.overlap)} are the top of both"
            )
    return lines


def _plot(one: Likeness) -> Plot | None:
    if one.neurons is None:
        return None
    series = [
        Series("planted trigger", "bad", tuple((p.neurons, p.planted) for p in one.neurons.kept)),
        Series("recovered trigger", "other", tuple((p.neurons, p.recovered) for p in one.neurons.kept)),
    ]
    return draw_plot("Success through the neurons that are kept", "neurons kept", series, logarithmic=True)
