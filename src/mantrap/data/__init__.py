"""Images by name or from anybody's files, and splits of them."""

from mantrap.data.loading import load
from mantrap.data.named import NAMED, NamedSet
from mantrap.data.saving import save
from mantrap.data.signs import Signs
from mantrap.data.splits import check_labels, split

__all__ = ["NAMED", "NamedSet", "Signs", "check_labels", "load", "save", "split"]
