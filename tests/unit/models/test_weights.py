"""Weights out of strangers' files: plain tensors, or a refusal; never code."""

import collections
import contextlib
import os
import pickle
import struct
import warnings

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mantrap.errors import ModelError
from mantrap.models.weights import printable, read_weights

WEIGHTS = {"a.weight": torch.arange(600.0).view(20, 30), "a.bias": torch.ones(3, dtype=torch.float16)}


def save(tmp_path, value, **options):
    path = tmp_path / "model.pt"
    torch.save(value, path, **options)
    return path


def same(weights):
    assert list(weights) == list(WEIGHTS)
    assert all(
        torch.equal(weights[name], tensor) and weights[name].dtype == tensor.dtype for name, tensor in WEIGHTS.items()
    )


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "checkpoint",
    [
        WEIGHTS,
        collections.OrderedDict(WEIGHTS),
        {"state_dict": WEIGHTS, "epoch": 3, "best": torch.tensor(0.9)},
        {"model": {"state_dict": WEIGHTS}, "args": [1, "x", None, 0.5]},
        {
            "epoch": 1,
            "net": WEIGHTS,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1}]},
        },
        {"model_state_dict": {name: nn.Parameter(tensor) for name, tensor in WEIGHTS.items()}},
    ],
)
def test_a_state_dict_is_found_wherever_checkpoints_keep_it(tmp_path, checkpoint, legacy):
    same(read_weights(save(tmp_path, checkpoint, _use_new_zipfile_serialization=not legacy)))


def test_safetensors_are_read_under_any_name(tmp_path):
    (tmp_path / "model.pt").write_bytes(safetensors.torch.save(WEIGHTS))
    weights = read_weights(tmp_path / "model.pt")
    same({name: weights[name] for name in WEIGHTS})


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (os.mkdir, (self.target,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_pickle_never_runs_and_the_user_is_not_invited_to_run_it(tmp_path, legacy, protocol, nested):
    target = tmp_path / "owned"
    value = {"state_dict": WEIGHTS, "evil": Evil(target)} if nested else Evil(target)
    path = save(tmp_path, value, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    with pytest.raises(ModelError, match="could run code") as caught:
        read_weights(path)
    assert not target.exists()
    assert "weights_only" not in str(caught.value)
    assert caught.value.__cause__ is None
    # The same file does harm where it is trusted, so the test has teeth.
    torch.load(path, weights_only=False)
    assert target.exists()


def test_a_bare_pickle_never_runs(tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    with pytest.raises(ModelError, match="could run code"):
        read_weights(tmp_path / "model.pkl")
    assert not (tmp_path / "owned").exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match=r"'torch\.nn\.modules\.linear\.Linear'.*Save the weights alone"):
        read_weights(save(tmp_path, nn.Linear(2, 2)))


HUNGRY = b"\x8a\x05" + (10**11).to_bytes(5, "little") + b"\x85R."
"""Calls what lies on the pickle machine's stack with a very large number."""


def with_last_pickle(tmp_path, pickled):
    """A file of the old format whose object is this pickle."""
    template = save(tmp_path, {"a": torch.zeros(1)}, _use_new_zipfile_serialization=False).read_bytes()
    start = template.index(b"}", template.index(b"little_endian"))
    path = tmp_path / "crafted.pt"
    path.write_bytes(template[: template.index(b"\x80\x02", start)] + pickled + b"\x80\x02].")
    return path


@pytest.mark.parametrize("name", [b"builtins\nbytearray", b"torch\nFloatTensor", b"torch.storage\nUntypedStorage"])
def test_a_pickle_that_only_asks_for_memory_is_refused(tmp_path, name):
    """torch's own safe loader would call these with any size."""
    bomb = with_last_pickle(tmp_path, b"\x80\x02c" + name + b"\n" + HUNGRY)
    with pytest.raises(ModelError, match=name.split(b"\n")[1].decode()):
        read_weights(bomb)


def test_the_keys_of_an_old_file_are_looked_through_as_well(tmp_path):
    intact = save(tmp_path, WEIGHTS, _use_new_zipfile_serialization=False).read_bytes()
    keys = intact.index(b"\x80\x02]q")
    (tmp_path / "bomb.pt").write_bytes(intact[:keys] + b"\x80\x02cbuiltins\nbytearray\n" + HUNGRY)
    with pytest.raises(ModelError, match="bytearray"):
        read_weights(tmp_path / "bomb.pt")


def test_tuples_nested_without_end_are_refused_before_python_hashes_them(tmp_path):
    """A dictionary with such a key would overflow the C stack and take the whole process down."""
    for wrap in (b"\x85" * 200, b"q\x05h\x05\x86" * 200, b"\x85q\x01]q\x020h\x01" * 200):
        deep = with_last_pickle(tmp_path, b"\x80\x02}(N" + wrap + b"Nu.")
        with pytest.raises(ModelError, match="more than 100 tuples inside each other"):
            read_weights(deep)


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse tensors"),
        (quantised, "quantised tensors"),
        (lambda: torch.zeros(3, device="meta"), "tensors without values"),
        (lambda: torch.zeros(1).expand(10**9), "4000000000 bytes"),
    ],
)
def test_tensors_that_are_more_than_they_look_are_refused(tmp_path, make, says):
    with pytest.raises(ModelError, match=says):
        read_weights(save(tmp_path, {"w": make()}))


def test_tied_weights_count_once(tmp_path):
    tied = torch.arange(10_000.0)
    weights = read_weights(save(tmp_path, {"encoder": tied, "decoder": tied}))
    assert torch.equal(weights["encoder"], weights["decoder"])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "without a single tensor"),
        ([torch.zeros(3)], "list where the state dict should be"),
        (torch.zeros(3), "Tensor where the state dict should be"),
        ({"w": torch.zeros(3), "epoch": 3}, "1 entries that are no tensors ('epoch': int)"),
        ({"state_dict": {}}, "without a single tensor"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, value, says):
    with pytest.raises(ModelError) as caught:
        read_weights(save(tmp_path, value))
    assert says in str(caught.value)


def test_a_safetensors_file_that_lies_about_its_offsets_is_broken(tmp_path):
    header = b'{"w":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}'
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))
    with pytest.raises(ModelError, match="a broken or incomplete safetensors file"):
        read_weights(tmp_path / "m")


@given(data=st.data())
@settings(max_examples=60)
def test_damage_gives_weights_or_one_typed_error(tmp_path_factory, data):
    """Whatever happens to the bytes, it never ends in another kind of error."""
    tmp_path = tmp_path_factory.mktemp("damaged")
    form = data.draw(st.sampled_from(["safetensors", "zip", "legacy"]))
    if form == "safetensors":
        intact = safetensors.torch.save(WEIGHTS)
    else:
        intact = save(tmp_path, WEIGHTS, _use_new_zipfile_serialization=form == "zip").read_bytes()
    damaged = bytearray(intact)
    for place in data.draw(st.lists(st.integers(0, len(intact) - 1), max_size=3)):
        damaged[place] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(intact)), st.integers(0, len(intact))))
    (tmp_path / "damaged").write_bytes(damaged[:length])
    with contextlib.suppress(ModelError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_weights(tmp_path / "damaged").values())


def test_names_are_shown_without_what_a_terminal_obeys():
    shown = printable("a\x1b[31m\u202eb" + "x" * 200)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) < 120
