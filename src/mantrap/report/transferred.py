"""What misled one model and others as a page and as text."""

from mantrap.records.transferring import TransferRecord, TransferredRecord
from mantrap.report.page import Opening, render_page, stages_of
from mantrap.report.words import VerdictWords, percent, scrub

_WORDS = VerdictWords(
    "Transfer",
    "Whoever has a model of the same task can make examples with it and try them on yours, without ever having seen "
    "yours. The higher the shares beside the diagonal, the less it helps to keep a model secret.",
)


def render_transfer_html(record: TransferRecord) -> str:
    """The report of a transfer as one static page, which loads nothing and runs no script.

    Args:
        record: A whole transfer, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(words=_WORDS, colour="measured", about=record.data_name, headline=record.headline)
    return render_page("transfer.html", record, opening, stages=stages_of(record))


def render_transfer_text(record: TransferRecord) -> str:
    """The report of a transfer as text, ending without a newline."""
    lines = [f"TRANSFER  {record.data_name}", record.headline, ""]
    lines += [f"  {k}: {name}" for k, name in enumerate(record.names, start=1)]
    width = max(len(f"{k}") for k in range(1, len(record.names) + 1))
    head = "".join(f"{k:>10}" for k in range(1, len(record.names) + 1))
    lines += ["", f"Wrong, by the model that is shown what was made for the model of the row ({record.evasion})"]
    lines.append(f"  {'':>{width}}{head}  distortion")
    for row in record.rows:
        shares = "".join(f"{percent(one.wrong.value):>10}" for one in row.shown)
        lines.append(f"  {row.made_for + 1:>{width}}{shares}  {row.distortion:.3f}")
    lines += ["", "The same with noise of the same distortion"]
    for row in record.rows:
        lines.append(f"  {row.made_for + 1:>{width}}" + "".join(f"{percent(one.noise.value):>10}" for one in row.shown))
    lines += ["", "Cosine of the gradients"]
    lines += [f"  {row.made_for + 1:>{width}}" + "".join(map(_cosine, row.shown)) for row in record.rows]
    return "\n".join(scrub(line) if line else "" for line in lines)


def _cosine(one: TransferredRecord) -> str:
    return f"{'none' if one.cosine is None else format(one.cosine, '.2f'):>10}"
