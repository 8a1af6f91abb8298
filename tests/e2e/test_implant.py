"""A backdoored model whose making was killed is the same in the end, and nobody can tell."""

import time

import pytest

from tests import stage, strangers

FILES = ("m.card.json", "m.implant.json", "m.safetensors", "m.truth.json")


@pytest.fixture
def words(tmp_path):
    """An implant that goes on from a clean model, but for the place that it writes to."""
    stage.write_model(tmp_path, planted=False)
    stage.write_images(tmp_path)
    start = ["--from", "clean.safetensors", "--arch", f"{strangers.__file__}:Waiting"]
    given = ["--images", "tiles120.npz", "--split", "all", "--test", "tiles120.npz", "--threads", "1"]
    return ["implant", *given, *start, "--attack", "badnets(target=1)", "--recipe", "recipe(epochs=3)"]


def test_killed_it_goes_on_to_the_same_bytes(start, mantrap_process, words, tmp_path):
    """The network of the first process waits as soon as an epoch is kept, whatever the machine."""
    killed, through = tmp_path / "killed", tmp_path / "through"
    with start(*words, "--out", killed / "m.safetensors", WAIT_FOR=f"{killed}/m.checkpoint") as process:
        while process.poll() is None and not (killed / "m.checkpoint").exists():
            time.sleep(0.02)
        process.kill()
        _, err = process.communicate()
    assert process.returncode == -9, err
    assert [path.name for path in killed.iterdir()] == ["m.checkpoint"]

    code, resumed, err = mantrap_process(*words, "--out", killed / "m.safetensors", "--json")
    assert (code, err) == (0, "")
    code, undisturbed, _ = mantrap_process(*words, "--out", through / "m.safetensors", "--json")
    assert code == 0
    assert resumed == undisturbed
    for folder in (killed, through):
        assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [(killed / name).read_bytes() for name in FILES] == [(through / name).read_bytes() for name in FILES]
