"""Images that an audit has not searched with, as far as its record tells."""

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.records import AuditRecord
from mantrap.workflow.naming import by_name
from mantrap.workflow.parting import parted


def unsearched(model: Classifier, images: ImageSet, audited: AuditRecord) -> tuple[ImageSet, str]:
    """The images to hold recovered triggers beside planted ones on, and what the reader must know of them.

    Of the very images of the audit those that it measured on are taken. A record holds digests of sets and none of
    single images, so of other sets it cannot tell whether they share any.

    Args:
        model: The classifier that was audited.
        images: Images at hand.
        audited: The record of the audit.

    Returns:
        Some or all of the images, and a sentence; empty where they are known to be held out.
    """
    data, (_, named) = audited.data, by_name(model, images)
    if named.digest() == data.digest:
        _, heldout = parted(named, Rng(audited.reproduction.seed))
        note = (
            f"The audit searched with {data.scan_images:,} of these images, so triggers are compared on the "
            f"{len(heldout):,} others."
        )
        return heldout, note
    if named.digest() == data.heldout_digest:
        return images, ""
    searched = f"The audit searched with {data.scan_images:,} images of {data.name}"
    return images, f"{searched}. Whether any of them are among those that triggers are compared on cannot be told."
