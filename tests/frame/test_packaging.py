"""What the package says about itself agrees with itself."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mantrap


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def pins(root):
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def declared(project):
    """Every requirement that pyproject.toml declares."""
    extras = project["project"]["optional-dependencies"].values()
    texts = [*project["build-system"]["requires"], *project["project"]["dependencies"], *(t for e in extras for t in e)]
    return [r for r in map(Requirement, texts) if r.name != "mantrap"]


def installed(name):
    """The version of a distribution that is here, or ``None``."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def closure(requirements):
    """These requirements and all that they need in turn, as far as it is installed."""
    seen, todo = set(), [(r.name, frozenset(r.extras)) for r in requirements]
    while todo:
        name, extras = todo.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        needs = [Requirement(text) for text in distribution(name).requires or []] if installed(name) else []
        todo += [
            (r.name, frozenset(r.extras))
            for r in needs
            if r.marker is None or any(r.marker.evaluate({"extra": extra}) for extra in extras | {""})
        ]
    return {name for name, _ in seen}


def test_the_version_is_the_installed_one():
    if installed("mantrap") is None:
        pytest.skip("mantrap runs from its source tree and is not installed")

    assert installed("mantrap") == mantrap.__version__


def test_the_version_is_a_version():
    assert str(Version(mantrap.__version__)) == mantrap.__version__


def test_every_pin_is_exact(pins):
    assert all(re.fullmatch(r"==[\w.]+", pin) for pin in pins.values())


def test_every_dependency_is_pinned_also_the_transitive_ones(project, pins):
    assert closure(declared(project)) <= pins.keys()


def test_nothing_is_pinned_that_nobody_needs(project, pins):
    # What the build backend needs in turn is known only where the backend is installed.
    assert {name for name in pins if installed(name)} <= closure(declared(project))


def test_every_pin_meets_its_lower_bound(project, pins):
    for requirement in declared(project):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)].removeprefix("==")), requirement


def test_every_dependency_has_a_lower_bound_and_no_upper_one(project):
    assert all([s.operator for s in r.specifier] == [">="] for r in declared(project))


def test_no_file_of_the_frame_names_a_machine_or_a_registry(root):
    for name in ("pyproject.toml", "constraints.txt", "Makefile", ".ci/run"):
        assert not re.search(r"https?://|file:|/home/|/root/|/work/", (root / name).read_text()), name


def test_the_program_is_named(project):
    assert project["project"]["scripts"] == {"mantrap": "mantrap.cli:main"}


def test_every_public_name_is_there():
    missing = [name for name in getattr(mantrap, "__all__", []) if not hasattr(mantrap, name)]

    assert missing == []


def test_the_package_is_imported_without_torch(root):
    program = "import sys; sys.path.insert(0, 'src'); import mantrap; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
