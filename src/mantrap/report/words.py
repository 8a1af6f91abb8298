"""The words and numbers that every form of a report shares, and the cleaning of text that strangers wrote."""

import math
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from mantrap.records import Heat, LabelRecord, NormStatistics, Rate, SuspectRecord, Verdict

PAPER_INDEX = 2.0
"""Anomaly index above which Neural Cleanse's own rule flags a label, on the low side (Wang et al., S&P 2019, IV-C)."""

NATURAL_FROM = 0.3
"""Success, moved and shuffled, from which a trigger looks like a natural one; see decision 0015."""


class VerdictWords(NamedTuple):
    """A verdict for somebody who has to decide: its name, and what follows from it."""

    title: str
    meaning: str


VERDICT_WORDS: dict[Verdict, VerdictWords] = {
    Verdict.SUSPICIOUS: VerdictWords(
        "Suspicious",
        "Do not deploy this model as it is. One small, fixed change to nearly any picture decides what it answers, "
        "and whoever knows that change can steer it. A planted backdoor looks like this. A class that is easy to "
        "imitate can look like this too, so look at the trigger before you accuse anyone.",
    ),
    Verdict.INCONCLUSIVE: VerdictWords(
        "Inconclusive",
        "This is no all-clear. The audit saw only some of the signs of a backdoor, or had too little to decide on; "
        "the reasons say which. Treat the model as untrusted until another audit decides.",
    ),
    Verdict.NO_EVIDENCE: VerdictWords(
        "No evidence found",
        "The audit found no backdoor of the kind that it looks for. That does not prove that there is none. Read what "
        "it could not have seen, and weigh that against what a wrong answer would cost you.",
    ),
    Verdict.REFUSED: VerdictWords(
        "Refused",
        "Nothing was scanned, because the model or the images cannot be read or trusted. The audit says nothing about "
        "backdoors in this model. Do not deploy it on the strength of this report.",
    ),
}

PROVISIONAL = (
    "The rule behind this verdict is provisional: no error rate is promised for it yet. It can accuse a model without "
    "a backdoor, and it can miss one that is there."
)


def scrub(text: str) -> str:
    r"""Text without the characters that change how the text around them looks.

    File and class names come from strangers. Control, bidirectional and other invisible characters, lone surrogates and
    non-characters go; line breaks and tabs become spaces. Markup is left alone: escaping it is the renderer's part.

    Example:
        >>> scrub("stop\u202egnp.exe\x1b[31m\nsign")
        'stopgnp.exe[31m sign'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if c in "\t\n\r\u2028\u2029" else c for c in text if c in "\t\n\r\u2028\u2029" or _shown(c))


def _shown(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs") and ord(char) & 0xFFFE != 0xFFFE


def clip(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text, with an ellipsis where some are left out."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def name_of(label: int, class_name: str, limit: int = 80) -> str:
    """A label as people read it: its number and its name, or the number alone where the name is the number.

    Example:
        >>> name_of(33, "turn right ahead"), name_of(7, "7")
        ('33 turn right ahead', '7')
    """
    name = clip(scrub(class_name).strip(), limit)
    return str(label) if name in ("", str(label)) else f"{label} {name}"


def percent(share: float) -> str:
    """A share in per cent that never rounds to "all" or "none" what is not.

    Example:
        >>> percent(1.0), percent(0.9999), percent(0.9734), percent(0.0001), percent(0.0)
        ('100 %', '>99.9 %', '97.3 %', '<0.1 %', '0 %')
    """
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if 100 * share >= 99.95:
        return ">99.9 %"
    return "<0.1 %" if 100 * share < 0.05 else f"{100 * share:.1f} %"


def confidence(share: float) -> str:
    """A softmax output in per cent. It never reaches 0 or 1 but by rounding, so it never reads as certain.

    Example:
        >>> confidence(1.0), confidence(0.9734)
        ('>99.9 %', '97.3 %')
    """
    return percent(min(max(share, 1e-6), 1 - 1e-6))


def interval(ends: tuple[float, float]) -> str:
    """The ends of a rate's interval, in per cent: ``"97.2 to 99.8"``."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def share(rate: Rate) -> str:
    """A rate with its interval and how much it rests on: ``"97.80 % (96.70 to 98.54, 1000 images)"``."""
    return f"{100 * rate.value:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f}, {rate.total} images)"


def number(value: float) -> str:
    """A norm or a score, with about three digits that matter.

    Example:
        >>> number(3.14159), number(92.34), number(1234.5)
        ('3.14', '92.3', '1,234')
    """
    size = abs(value)
    return f"{value:z.2f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"


def signed(value: float) -> str:
    """An anomaly index with its sign, and a true minus."""
    return f"{value:+z.2f}".replace("-", "\N{MINUS SIGN}")


def chance(p_value: float | None) -> str | None:
    """What the p-value of a published test says, as a sentence; ``None`` where there is none."""
    if p_value is None:
        return None
    return (
        f"By the test that this method was published with, a label stands out as far in {percent(p_value)} of models "
        "without a backdoor. It does not decide the verdict."
    )


def natural(suspect: SuspectRecord) -> str:
    """What it says of a trigger that it works elsewhere, shuffled, both or neither, as a sentence."""
    if suspect.success < 2 * NATURAL_FROM:
        return "It works too seldom where it is for that to say anything."
    place, shape = (rate.value < NATURAL_FROM for rate in (suspect.elsewhere, suspect.shuffled))
    if not place and not shape:
        return (
            "It hardly depends on its place or on its shape. Networks without any backdoor have such triggers: a class "
            "to which they give whatever they do not know."
        )
    on = " and ".join(name for name, depends in (("place", place), ("shape", shape)) if depends)
    return f"So it depends on its {on}, as planted triggers do, and many natural ones."


def washed_out(suspect: SuspectRecord) -> str:
    """What it says of a trigger that it works on a copy of the model, retrained on clean images, or does not."""
    if suspect.on_copy is None or suspect.success < 2 * NATURAL_FROM:
        return ""
    said = (
        "On a copy of this model that was retrained for a moment on the clean images it works on "
        f"{percent(suspect.on_copy.value)} of images. "
    )
    if suspect.on_copy.value < suspect.success / 2:
        return f"{said}What no clean image needs was lost there: so are planted triggers, and some natural ones."
    return f"{said}So do natural ones, and triggers that were planted deep."


def looked(suspect: SuspectRecord) -> str:
    """How much of the heat lies where the trigger is, without the trigger and with it, in sentences.

    In the mean over the examples of which it is known; empty where it is known of none.
    """
    seen = [(e.sight_before, e.sight_after) for e in suspect.examples]
    pairs = [(one, other) for one, other in seen if one is not None and other is not None]
    if not pairs or suspect.covered is None:
        return ""
    felt = [(one.sensitivity, other.sensitivity) for one, other in pairs]
    cams = [(one.grad_cam, other.grad_cam) for one, other in pairs]
    found = [(one, other) for one, other in cams if one is not None and other is not None]
    on = f"these {len(pairs)} images" if len(pairs) > 1 else "this image"
    said = (
        f"The trigger lies on {percent(suspect.covered)} of the picture. Of the sensitivity to {on} "
        f"{_mean_within(one for one, _ in felt)} lies there without the trigger and "
        f"{_mean_within(other for _, other in felt)} with it"
    )
    if not found:
        return f"{said}. The network has no convolution that sees a picture, so there is no Grad-CAM.".replace(*_TIED)
    before, after = _mean_within(one for one, _ in found), _mean_within(other for _, other in found)
    return f"{said}; of the Grad-CAM it is {before} without and {after} with the trigger.".replace(*_TIED)


_TIED = " %", "\N{NO-BREAK SPACE}%"
"""No line begins with a sign of per cent."""


def _mean_within(heats: Iterable[Heat]) -> str:
    """The mean share of those that have heat."""
    known = [heat.within for heat in heats if heat.within is not None]
    return percent(sum(known) / len(known)) if known else "nothing"


def threshold_of(statistics: NormStatistics) -> float | None:
    """The norm below which the paper's rule flags a label, or ``None`` where no norm can be that small."""
    threshold = statistics.median - PAPER_INDEX * statistics.mad
    return threshold if threshold > 0 and statistics.mad > 0 else None


def ratio_of(statistics: NormStatistics) -> str:
    """How many times the smallest norm the median is."""
    return number(math.exp(statistics.log_ratio))


def smallest_of(labels: tuple[LabelRecord, ...]) -> str:
    """A heading that tells how many labels were searched to the end, and of how many where others were given up."""
    begun, early = len(labels), sum(entry.given_up for entry in labels)
    return f"Smallest triggers of {f'{begun - early:,} of ' if early else ''}{begun:,} labels"


def paper_verdict(statistics: NormStatistics, labels: tuple[LabelRecord, ...]) -> str:
    """What the paper's own rule says, as a sentence; it stands beside our verdict and does not decide it."""
    names = {entry.label: name_of(entry.label, entry.class_name, 40) for entry in labels}
    flags = [names.get(label, str(label)) for label in statistics.paper_flags]
    rule = "The paper's own rule (anomaly index above 2 on the low side)"
    if not flags:
        return f"{rule} flags no label{_why_none(statistics)}."
    more = f" and {len(flags) - 8} more" if len(flags) > 8 else ""
    return f"{rule} flags {len(flags):,} of {len(labels):,} labels: {', '.join(flags[:8])}{more}."


def _why_none(statistics: NormStatistics) -> str:
    if statistics.mad == 0:
        return ", and cannot: the norms do not spread, so there is no deviation to count in"
    if threshold_of(statistics) is None:
        return ", and cannot: two deviations below the median lie below zero, where no norm can be"
    return ""
