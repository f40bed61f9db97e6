"""The house keeps its shape: imports point one way, and files stay short."""

import ast
import sys
from pathlib import Path

import pytest

import millstream

ROOT = Path(millstream.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the ground up: a module may import those of earlier floors, and those of its own package.
FLOORS: list[set[str]] = [
    {"errors", "frame"},
    {"params"},
    {"core", "embedded", "copies", "queues", "turns", "progress", "options"},
    {"backends", "memory", "leaving"},
    {"models", "conditioning"},
    {"engine"},
    {"feed", "media"},
    {"live"},
    {"pipeline"},
    {"server", "cluster"},
    {"client"},
    {"doctor", "bench", "compat"},
    {"cli"},
    {"__main__", "__init__"},  # the package's own face: everything may be named there, nothing imports it
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
NETWORKS = {"diffusers", "transformers", "peft"}
NETWORKS_IN = {"models", "bench"}  # bench for the peers it is compared with
CORE = {"torch", "numpy", "jaxtyping"}
IMPURE = {"threading", "multiprocessing", "concurrent", "asyncio", "queue", "os", "io", "pathlib", "time", "socket"}


def part(file: Path) -> str:
    """The module or package right under the root that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    """Every module that is imported anywhere in a file, in functions too, with dots."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            module = node.module or ""
            names += [f"{module}.{alias.name}" if module == "millstream" else module for alias in node.names]
    return names


def parse(file: Path) -> ast.AST:
    return ast.parse(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    own = part(file)
    assert own in FLOOR, f"{own}: give it a floor"
    for name in imported(parse(file)):
        top, _, rest = name.partition(".")
        if top != "millstream":
            continue
        other = rest.split(".")[0]
        assert other == own or FLOOR.get(other, len(FLOORS)) < FLOOR[own], f"{own} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_only_models_know_the_networks(file: Path) -> None:
    if part(file) not in NETWORKS_IN:
        assert not NETWORKS & {name.split(".")[0] for name in imported(parse(file))}


@pytest.mark.parametrize("file", sorted((ROOT / "core").rglob("*.py")), ids=lambda file: file.name)
def test_the_core_is_pure(file: Path) -> None:
    tops = {name.split(".")[0] for name in imported(parse(file))}
    assert tops <= CORE | set(sys.stdlib_module_names) | {"millstream"}
    assert not tops & IMPURE


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_stay_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_walk_sees_imports_of_every_form() -> None:
    source = "import a.b\nfrom c import d\ndef f():\n    from millstream import core, params as p\n    import e as g\n"
    assert set(imported(ast.parse(source))) == {"a.b", "c", "millstream.core", "millstream.params", "e"}
    assert len(FILES) > 10
