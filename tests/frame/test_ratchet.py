"""The ratchet finds what it is there to find, and lets nothing slip back."""

import json
import subprocess
import sys

import pytest

from tools.ratchet import ROOT, logical_lines


@pytest.fixture
def tree(tmp_path):
    """A small tree with nothing to complain about."""
    (tmp_path / "src" / "crooked").mkdir(parents=True)
    (tmp_path / "src" / "crooked" / "__init__.py").touch()
    (tmp_path / "tools").mkdir()
    return tmp_path


def write(tree, name, text):
    (tree / "src" / "crooked" / name).write_text(text)


def ratchet(tree, *options):
    """Run it as `make check` does: exit code, and all that it said."""
    program = [sys.executable, str(ROOT / "tools" / "ratchet.py"), "--root", str(tree), *options]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def baseline(tree, **figures):
    (tree / "tools" / "ratchet.json").write_text(json.dumps({k.replace("__", "."): v for k, v in figures.items()}))


def statements(count):
    return "".join(f"x{i} = {i} + 1\n" for i in range(count))


def function(lines, parameters=0):
    body = "".join(f"    x = {i}\n" for i in range(lines - 1))
    return f"def long({', '.join(f'a{i}' for i in range(parameters))}):\n{body}"


def test_our_own_tree_passes():
    code, said = ratchet(ROOT)

    assert code == 0, said


def test_a_good_tree_passes(tree):
    write(tree, "good.py", function(60, parameters=7))

    assert ratchet(tree)[0] == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (statements(401), "401 file lines (aim 250, wall 400)"),
        (function(71), "71 function lines (aim 60, wall 70)"),
        (function(3, parameters=9), "9 parameters (aim 7, wall 8)"),
    ],
)
def test_beyond_a_wall_no_baseline_helps(tree, text, complaint):
    baseline(tree, src__file_lines=1000, src__function_lines=1000, src__parameters=1000)
    write(tree, "bad.py", text)

    code, said = ratchet(tree)

    assert code == 1
    assert "Beyond the wall" in said
    assert complaint in said


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        (statements(251), "src.file_lines rose from 0 to 1"),
        (function(65), "src.function_lines rose from 0 to 5"),
        (function(3, parameters=8), "src.parameters rose from 0 to 1"),
    ],
)
def test_beyond_an_aim_the_sum_may_not_rise(tree, text, figure):
    write(tree, "bad.py", text)

    code, said = ratchet(tree)

    assert code == 1
    assert figure in said
    assert "src/crooked/bad.py" in said


def test_what_the_baseline_knows_passes(tree):
    baseline(tree, src__function_lines=5)
    write(tree, "known.py", function(65))

    assert ratchet(tree)[0] == 0


def test_a_figure_that_fell_is_to_be_written_down(tree):
    baseline(tree, src__function_lines=9)
    write(tree, "better.py", function(65))

    code, said = ratchet(tree)
    ratchet(tree, "--lower")

    assert code == 0
    assert "src.function_lines 9 -> 5" in said
    assert json.loads((tree / "tools" / "ratchet.json").read_text())["src.function_lines"] == 5


def test_lower_never_raises(tree):
    baseline(tree, src__function_lines=2)
    write(tree, "worse.py", function(65))

    code, _ = ratchet(tree, "--lower")

    assert code == 1
    assert json.loads((tree / "tools" / "ratchet.json").read_text())["src.function_lines"] == 2


def test_self_and_the_fields_of_a_dataclass_are_no_parameters(tree):
    fields = "".join(f"    a{i}: int\n" for i in range(20))
    method = f"    def verb(self, {', '.join(f'a{i}' for i in range(7))}): ...\n"
    write(tree, "data.py", f"from dataclasses import dataclass\n@dataclass\nclass A:\n{fields}{method}")

    assert ratchet(tree)[0] == 0


def test_star_arguments_are_parameters(tree):
    write(tree, "stars.py", "def f(a, b, c, d, e, /, *args, f, **kwargs): ...\n")

    assert "8 parameters" in ratchet(tree)[1]


def test_six_equal_lines_in_two_files_are_a_duplicate(tree):
    write(tree, "one.py", statements(6))
    write(tree, "two.py", "# elsewhere\n\n" + statements(6).replace(" + ", "  +  "))

    code, said = ratchet(tree)

    assert code == 1
    assert "src.duplicated_lines rose from 0 to 12" in said
    assert "src/crooked/two.py:3 as in src/crooked/one.py" in said


def test_five_equal_lines_are_none(tree):
    write(tree, "one.py", statements(5) + "a = 1\n")
    write(tree, "two.py", statements(5) + "b = 2\n")

    assert ratchet(tree)[0] == 0


def test_modules_that_import_each_other_are_refused_also_for_types(tree):
    write(tree, "hen.py", "import crooked.egg\n")
    write(tree, "egg.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import crooked.hen\n")

    code, said = ratchet(tree)

    assert code == 1
    assert "crooked.hen" in said
    assert "crooked.egg" in said


def test_layout_comments_docstrings_and_imports_do_not_count():
    text = '"""Doc."""\nimport os\n\n\ndef f(\n    a,\n    b,\n):  # why\n    """Doc."""\n    return a\n'

    assert logical_lines(text) == [(5, "def f ( a b ) :"), (10, "return a")]
