"""Which images go where: splits without leaks, and random samples."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mantrap.core import ImageSet, Rng
from mantrap.errors import DataError, UsageError


def split(images: ImageSet, shares: Mapping[str, float], *, rng: Rng) -> dict[str, ImageSet]:
    """Part a set so that no image and no group is in two parts.

    Images of equal content stay together, and so do those of one group (a video track, a person); each label is shared
    out in proportion as far as that allows. Which images go where depends on their content, groups and labels alone,
    never on their order.

    Args:
        images: What to part.
        shares: The share of the images that each part gets, in (0, 1], summing to at most 1; the rest is in no part.
        rng: Chooses the images.

    Returns:
        One set for each name, its images in their original order.

    Raises:
        UsageError: Shares out of range, or too few images, labels or groups for a part to get any.

    Example:
        >>> import numpy as np
        >>> digits = ImageSet.from_array(np.arange(10, dtype=np.uint8).reshape(10, 1, 1))
        >>> parts = split(digits, {"search": 0.6, "heldout": 0.4}, rng=Rng(0))
        >>> len(parts["search"]), len(parts["heldout"])
        (6, 4)
    """
    if not shares or any(not 0 < share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise UsageError(
            expected="shares above 0 that sum to at most 1",
            got=", ".join(f"{name} {share}" for name, share in shares.items()) or "no shares",
            remedy="Lower the shares.",
        )
    parts = _share_out(_clusters(images), images, shares, rng)
    for name, index in parts.items():
        if not index:
            grouped = "" if images.groups is None else f" in {len(set(images.groups))} groups"
            raise UsageError(
                expected=f"images for the part {name!r} ({shares[name]:.1%} of {images.name})",
                got=f"none out of {len(images)} images, {len(set(images.content_hashes))} different ones{grouped}",
                remedy=f"Give more images, or a larger share for {name!r}.",
            )
    return {name: images.subset(sorted(index)) for name, index in parts.items()}


def sample(labels: Sequence[int] | None, count: int, limit: int, *, rng: Rng) -> list[int]:
    """Choose ``limit`` of ``count`` images at random, each label in proportion; ascending indices.

    Raises:
        UsageError: The limit is below 1.
    """
    if limit < 1:
        raise UsageError(expected="a --limit of at least 1", got=f"{limit}", remedy="Ask for at least one image.")
    if limit >= count:
        return list(range(count))
    generator = rng.numpy()
    order = generator.permutation(count)
    if labels is None:
        return sorted(order[:limit].tolist())
    strata: dict[int, list[int]] = defaultdict(list)
    for i in order.tolist():
        strata[int(labels[i])].append(i)
    exact = {label: limit * len(members) / count for label, members in strata.items()}
    seats = {label: int(share) for label, share in exact.items()}
    # The seats left over go to the largest remainders; ties fall by the random order that the strata were met in.
    for label in sorted(exact, key=lambda k: seats[k] - exact[k])[: limit - sum(seats.values())]:
        seats[label] += 1
    return sorted(i for label, members in strata.items() for i in members[: seats[label]])


def check_labels(images: ImageSet, num_classes: int) -> None:
    """Refuse labels that a model has no class for; images without labels pass.

    Raises:
        DataError: Labels of ``num_classes`` or more.
    """
    if images.labels is None:
        return
    outside = images.labels[images.labels >= num_classes]
    if len(outside):
        worst = sorted(set(outside.tolist()))
        shown = ", ".join(map(str, worst[:5])) + (", ..." if len(worst) > 5 else "")
        raise DataError(
            expected=f"labels from 0 to {num_classes - 1}, the model's {num_classes} classes, in {images.name}",
            got=f"{len(outside)} of {len(images)} images with labels outside ({shown})",
            remedy="Give images of the model's classes, or number the labels as the model does.",
        )


def no_such_split(split: str, known: "list[str] | tuple[str, ...]", where: str) -> UsageError:
    """The error that a source has splits, but not this one."""
    return UsageError(
        expected=f"a split out of {', '.join(known)} of {where}",
        got=repr(split),
        remedy="Name one of these with --split.",
    )


def only_whole(split: str, where: str) -> None:
    """Refuse to call an undivided source anything but ``"test"`` or ``"all"``.

    Else training and measuring would silently use the same images.

    Raises:
        UsageError: Another split was asked for.
    """
    if split not in ("test", "all"):
        raise UsageError(
            expected=f"the split 'all' (or 'test', which is the same) of {where}, which is not divided",
            got=repr(split),
            remedy="Use --split all, or divide the source: folders train/ and test/, or arrays x_train and x_test.",
        )


def _clusters(images: ImageSet) -> list[tuple[str, list[int]]]:
    """What must stay together: an identity that depends on content and group alone, and the images."""
    keys = images.content_hashes
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for bonds in (keys, images.groups or ()):
        first: dict[str, int] = {}
        for i, bond in enumerate(bonds):
            parent[root(i)] = root(first.setdefault(bond, i))
    members: dict[int, list[int]] = defaultdict(list)
    for i in range(len(keys)):
        members[root(i)].append(i)
    return [(min(keys[i] for i in group), group) for group in members.values()]


def _share_out(
    clusters: Sequence[tuple[str, list[int]]], images: ImageSet, shares: Mapping[str, float], rng: Rng
) -> dict[str, list[int]]:
    """Label by label, each cluster in a random order goes where most is missing; what is missing carries over."""
    seed = rng.child("split").integer()
    strata: dict[int, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for identity, group in clusters:
        label = 0
        if images.labels is not None:
            votes = Counter(images.labels[group].tolist())
            label = min(votes, key=lambda k: (-votes[k], k))
        strata[label].append((hashlib.sha256(f"{seed}:{identity}".encode()).digest(), group))
    rest = max(0.0, 1.0 - sum(shares.values()))
    weights = np.array([*shares.values(), rest if rest > 1e-9 else 0.0])
    missing = np.zeros(len(weights))
    places: list[list[int]] = [[] for _ in weights]
    for _, stratum in sorted(strata.items()):
        missing = missing + weights * sum(len(group) for _, group in stratum)
        for _, group in sorted(stratum):
            place = int(np.argmax(missing))
            missing[place] -= len(group)
            places[place] += group
    return dict(zip(shares, places, strict=False))
