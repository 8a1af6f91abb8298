import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mantrap.data.decode import Header, read_header, read_pixels
from mantrap.errors import DataError, MissingDataError

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=2)


def encode(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM"])
def test_exact_formats_give_the_exact_pixels(kind):
    data = encode(COLOUR, kind)
    assert read_header(data, "x") == Header(3, 4, 3)
    assert np.array_equal(read_pixels(data, "x", channels=3), COLOUR)


def test_alpha_is_kept_where_it_is_asked_for_and_is_full_where_there_is_none():
    see_through = np.dstack([COLOUR, GREY])
    assert np.array_equal(read_pixels(encode(see_through, "PNG"), "x", channels=4), see_through)
    opaque = np.dstack([COLOUR, np.full((3, 4), 255, np.uint8)])
    for kind in ("PNG", "BMP", "PPM"):
        assert np.array_equal(read_pixels(encode(COLOUR, kind), "x", channels=4), opaque), kind
    keyed = encode(COLOUR, "PNG", transparency=tuple(COLOUR[1, 2].tolist()))
    assert (read_pixels(keyed, "x", channels=4)[..., 3] == 0).sum() == 1
    cmyk = io.BytesIO()
    Image.fromarray(COLOUR).convert("CMYK").save(cmyk, "JPEG", quality=95)
    assert read_pixels(cmyk.getvalue(), "x", channels=4).shape == (3, 4, 4)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_close(kind):
    smooth = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    found = read_pixels(encode(smooth, kind, quality=95), "x", channels=3)
    assert np.abs(found.astype(int) - smooth).max() <= 8


def test_grey_is_repeated_and_colour_becomes_luma():
    assert read_header(encode(GREY, "PNG"), "x").channels == 1
    assert np.array_equal(read_pixels(encode(GREY, "PNG"), "x", channels=3), np.repeat(GREY[..., None], 3, axis=2))
    luma = read_pixels(encode(COLOUR, "PNG"), "x", channels=1)
    assert np.abs(luma - COLOUR @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_of_a_gif_the_first_frame_counts():
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (40, 200)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert (read_pixels(file.getvalue(), "x", channels=1) == 40).all()


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    for kind in ("PNG", "PPM"):
        data = encode(deep, kind)
        assert read_header(data, "x").channels == 1
        assert read_pixels(data, "x", channels=1).tolist() == [[0, 1, 128, 255]], kind


def test_alpha_is_dropped_palettes_and_cmyk_become_colour():
    see_through = np.dstack([COLOUR, np.full((3, 4), 7, np.uint8)])
    assert np.array_equal(read_pixels(encode(see_through, "PNG"), "x", channels=3), COLOUR)
    file = io.BytesIO()
    Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE).save(file, "PNG", transparency=bytes([0, 9]))
    assert np.array_equal(read_pixels(file.getvalue(), "x", channels=3), COLOUR)
    printed = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    file = io.BytesIO()
    printed.save(file, "JPEG", quality=95)
    red, green, blue = read_pixels(file.getvalue(), "x", channels=3)[4, 4].tolist()
    assert red > 240
    assert max(green, blue) < 16


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(COLOUR, kind, exif=exif, lossless=True)
    upright = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: np.rot90(COLOUR, -1),
        7: COLOUR[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOUR, 1),
    }[orientation]
    assert np.array_equal(read_pixels(data, "x", channels=3), upright)
    assert (read_header(data, "x").height, read_header(data, "x").width) == upright.shape[:2]


def test_a_box_is_cut_out_and_must_lie_inside():
    assert np.array_equal(read_pixels(encode(GREY, "PNG"), "x", channels=1, box=(1, 0, 3, 2)), GREY[:2, 1:3])
    with pytest.raises(DataError, match=r"a box inside the 3x4 image sign\.ppm"):
        read_pixels(encode(GREY, "PNG"), "sign.ppm", channels=1, box=(1, 0, 9, 2))


def broken() -> dict[str, bytes]:
    whole = encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8), "PNG")
    return {
        "noise": b"\x00\x01\x02 this is no image",
        "half a PNG": whole[: len(whole) // 2],
        "half a JPEG": encode(COLOUR, "JPEG")[:400],
        "a damaged PNG": whole[:60] + b"\xff" * 30 + whole[90:],
        "another format": encode(COLOUR, "TIFF"),
        "floats": b"Pf\n2 2\n-1.0\n" + bytes(16),
    }


@pytest.mark.parametrize("name", list(broken()))
def test_a_broken_image_names_itself(tmp_path: Path, name):
    path = tmp_path / "picture.png"
    path.write_bytes(broken()[name])
    with pytest.raises(DataError, match=r"picture\.png"):
        read_pixels(path, str(path), channels=3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
    ],
)
def test_what_stands_in_for_an_image_is_called_by_its_name(content, words):
    with pytest.raises(DataError, match=words):
        read_header(content, "x.png")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(MissingDataError, match=r"gone\.png"):
        read_header(tmp_path / "gone.png", "gone.png")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(("height", "width"), [(6000, 6000), (60000, 60000)])
def test_a_bomb_is_refused_by_its_header(height, width):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match=r"megapixels|DecompressionBomb"):
        read_pixels(bomb, "bomb.png", channels=3)
