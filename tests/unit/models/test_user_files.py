"""Constructors in the user's own files."""

import sys

import pytest
import torch
from torch import nn

from mantrap.core import Spec
from mantrap.errors import MissingDataError, UsageError
from mantrap.models.user_files import construct

GOOD = """
import torch
from torch import nn

class Net(nn.Linear):
    def __init__(self, units=2):
        super().__init__(3, units)

def make():
    return nn.Flatten()

broken = lambda: 1 / 0

def number():
    return 3

def leave():
    raise SystemExit(0)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize(("call", "units"), [("Net", 2), ("Net()", 2), ("Net(units=7)", 7)])
def test_a_class_is_called_with_the_options(file, call, units):
    assert construct(Spec.parse(f"{file}:{call}")).out_features == units


def test_a_function_will_do(file):
    assert isinstance(construct(Spec.parse(f"{file}:make")), nn.Flatten)


def test_an_edited_file_is_run_again(file):
    construct(Spec.parse(f"{file}:Net"))
    file.write_text(GOOD.replace("(3, units)", "(3, units + 100)"))
    assert construct(Spec.parse(f"{file}:Net")).out_features == 102


def test_the_file_may_import_its_neighbours_and_the_path_is_put_back(tmp_path):
    (tmp_path / "mantrap_test_neighbour.py").write_text("from torch import nn\nlayer = nn.Flatten\n")
    (tmp_path / "nets.py").write_text("from mantrap_test_neighbour import layer\ndef make():\n    return layer()\n")
    before = list(sys.path)
    assert isinstance(construct(Spec.parse(f"{tmp_path / 'nets.py'}:make")), nn.Flatten)
    assert sys.path == before


def test_the_global_random_numbers_are_put_back(file):
    before = torch.get_rng_state()
    construct(Spec.parse(f"{file}:Net"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("Nett", "no 'Nett' that can be called. Did you mean Net?"),
        ("broken", "ZeroDivisionError: division by zero ({file}, line 12)"),
        ("leave", "SystemExit: 0 ({file}, line 18)"),
        ("number", "to return a torch.nn.Module, got int"),
        ("Net(unitz=3)", "unexpected keyword argument 'unitz'"),
    ],
)
def test_what_fails_in_the_constructor_is_named_with_its_line(file, call, says):
    with pytest.raises(UsageError) as caught:
        construct(Spec.parse(f"{file}:{call}"))
    assert says.format(file=file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nclass Net(\n", "SyntaxError: .*line 2"),
        ("\n\nimport mantrap_no_such_module\n", "ModuleNotFoundError: .*line 3"),
        ("raise SystemExit('no')", "SystemExit: no .*line 1"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(tmp_path, text, says):
    (tmp_path / "bad.py").write_text(text)
    names = set(sys.modules)
    with pytest.raises(UsageError, match=says):
        construct(Spec.parse(f"{tmp_path / 'bad.py'}:Net"))
    assert not {name for name in set(sys.modules) - names if name.startswith("mantrap_user_")}


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingDataError, match="nothing there"):
        construct(Spec.parse(f"{tmp_path / 'none.py'}:Net"))
