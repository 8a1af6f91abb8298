"""One door to all images: named sets, and anybody's files."""

import contextlib
import os
from pathlib import Path

import numpy as np

from mantrap.core import ImageSet, Rng, Spec
from mantrap.data.decode import SUFFIXES
from mantrap.data.files import is_there
from mantrap.data.folder import TABLE, read_folder
from mantrap.data.idx import holds_idx, read_idx, read_idx_folder
from mantrap.data.named import NAMED
from mantrap.data.npz import read_npz
from mantrap.data.parquet import read_parquet
from mantrap.data.pictures import Picture, Pictures
from mantrap.data.pixels import check_request, fitted
from mantrap.data.splits import only_whole, sample
from mantrap.errors import DataError, MantrapError, MissingDataError, SpecError

_FIRST = Rng(0)


def load(
    source: str,
    *,
    split: str = "test",
    limit: int | None = None,
    resize: tuple[int, int] | None = None,
    channels: int | None = None,
    rng: Rng = _FIRST,
) -> ImageSet:
    """Images by name or path.

    Small sets are read into memory, so that a broken image shows before any work is done; sets above 256 MiB of pixels
    are decoded as they are read.

    Args:
        source: A named set (``mnist``, ``signs(classes=10)``; see :data:`NAMED`), or the path of a folder of images, an
            ``.npz``, ``.parquet``, idx or image file. What is written like a path, with a separator or a dot, and is
            there, is a path; so is any other name that no set has.
        split: The part of the source: ``train``, ``test``, or another that it has. A source that is not divided has
            ``all``, which ``test`` stands for too.
        limit: Draw this many images at random, each label in proportion; before anything large is decoded.
        resize: Height and width in pixels to bring the images to; as they are where ``None``.
        channels: 3 repeats grey, 1 turns colour to grey (ITU-R 601); as they are where ``None``.
        rng: Chooses the images under ``limit``.

    Returns:
        The images, without labels where the source has none.

    Raises:
        UsageError: An unknown set or split, no such file, images of several sizes without ``resize``, or a ``limit``,
            ``resize`` or ``channels`` out of range.
        DataError: A file is broken, or is not what it claims to be.

    Example:
        >>> load("signs(classes=3, size=16)", limit=6)
        ImageSet('signs', 6 images of 3x16x16, labelled)
    """
    check_request(resize, channels)
    try:
        found = _find(source, split)
    except MantrapError:
        raise
    except OSError as error:
        raise DataError(
            expected=f"files that can be read for {source!r}",
            got=str(error),
            remedy="See to the permissions and the disk.",
        ) from error
    if limit is not None:
        labels = None if found.labels is None else np.asarray(found.labels).tolist()
        index = sample(labels, len(found), limit, rng=rng.child("limit"))
        found = found.subset(index)
    if isinstance(found, Pictures):
        found = found.open(resize=resize, channels=channels)
    return fitted(found, resize, channels)


def _find(source: str, split: str) -> ImageSet | Pictures:
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - Path.expanduser raises for a user that is not there
    like_a_path = "." in source or os.sep in source
    if like_a_path and is_there(path):
        return _read(path, split)
    spec = None
    with contextlib.suppress(SpecError):  # what is no name is a path that is not there
        spec = Spec.parse(source)
    if spec is not None and not spec.file and spec.name not in NAMED and is_there(path):
        return _read(path, split)
    if spec is None or spec.file or (like_a_path and spec.name not in NAMED):
        raise MissingDataError(
            expected=f"a file or folder, or one of the sets {', '.join(NAMED.names)}",
            got=f"{source!r:.200}, which is not there",
            remedy="Correct the path or the name.",
        )
    return NAMED.create(spec).load(split)


def _read(path: Path, split: str) -> ImageSet | Pictures:
    if path.is_dir():
        if holds_idx(path) and not (path / TABLE).exists():
            return read_idx_folder(path, split)
        return read_folder(path, split)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_npz(path, split)
    if suffix == ".parquet":
        return read_parquet(path, split)
    if "idx3-ubyte" in path.name:
        only_whole(split, str(path))
        return read_idx(path)
    if suffix in SUFFIXES:
        only_whole(split, str(path))
        return Pictures((Picture(path, str(path)),), name=path.name)
    raise DataError(
        expected="a folder, or an .npz, .parquet, idx3-ubyte or image file",
        got=f"{path.name!r} ({path})",
        remedy="Convert the data to one of these.",
    )
