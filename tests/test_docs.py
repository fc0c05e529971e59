"""Documents that can rot are run: code blocks execute, links resolve, every command has help and stands in the docs.

In README.md and docs/**/*.md, in the order of each document, in one directory and one namespace per document:
- a ```python block is executed;
- in a ```console or ```bash block the lines that start with `$ ` are executed (a `\\` at the end continues a line),
  the other lines show what is printed and are not compared;
- a block after `<!-- file: recipe.yaml -->` is written to that file;
- a block after `<!-- long -->` runs in the test marked long only; one after `<!-- not run: reason -->` never.
The directory holds reviews.csv (id, text, label: 1,000 rows of the built-in example) and reviews_test.csv; for
documents that name runs/reviews-tiny-1 also that run, finished, of
`leadline train reviews.csv --id id --model tiny --epochs 5 --test reviews_test.csv` (README.md trains it itself in the
long test).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import leadline
from leadline.demo import write_demo

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]  # their links are checked too
SHELL = {"console", "bash", "sh", "shell"}
MARK = re.compile(r"<!-- (not run|long|file)(?:: (.+?))? -->$")


def title(document: Path) -> str:
    return str(document.relative_to(ROOT))


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int  # of its first line of code, counted from 1
    mark: str = ""  # "", not run, long, file
    detail: str = ""  # the reason, or the file's name

    @property
    def runs(self) -> bool:
        return self.mark == "file" or (self.mark != "not run" and self.language in SHELL | {"python"})


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a document."""
    lines = text.splitlines()
    start, fence = 0, ""
    for number, line in enumerate(lines):
        opened = re.match(r"\s*(`{3,})(\w*)", line)
        if fence and line.strip() == fence:
            first = lines[start]
            indent = len(first) - len(first.lstrip())
            mark = MARK.match(lines[start - 1].strip()) if start else None
            code = "\n".join(inner[indent:] for inner in lines[start + 1 : number])
            language = first.strip().lstrip("`").split(" ")[0]
            yield Block(language, code, start + 2, *((mark[1], mark[2] or "") if mark else ()))
            fence = ""
        elif not fence and opened:
            start, fence = number, opened[1]
    assert not fence, f"the block that opens in line {start + 1} is never closed"


def commands(block: Block) -> list[str]:
    """The lines after `$ `, continued lines joined."""
    joined = block.text.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="session")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the how-to pages read, trained once."""
    directory = tmp_path_factory.mktemp("run")
    write_demo(directory / "reviews.csv", n=1000, n_test=200)
    with contextlib.chdir(directory):
        run = leadline.train(data="reviews.csv", id="id", model="tiny", epochs=5, test="reviews_test.csv")
    return directory / run.path


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which a document runs; `leadline` and `python` are those of this environment."""
    programs, directory = tmp_path / "bin", tmp_path / "here"
    for name, call in {"python": "", "leadline": "-m leadline"}.items():
        programs.mkdir(exist_ok=True)
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    write_demo(directory / "reviews.csv", n=1000, n_test=200)
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def prepared(workplace: Path, request: pytest.FixtureRequest) -> Path:
    """The workplace, with the finished run where the document names it; the README makes it, but quickly only once."""
    document, long = request.getfixturevalue("document"), request.node.get_closest_marker("long")
    named = "runs/reviews-tiny-1" in document.read_text(encoding="utf-8")
    if named and not (document.name == "README.md" and long):
        done: Path = request.getfixturevalue("a_run")
        shutil.copytree(done, workplace / "runs" / done.name)
    return workplace


def run(document: Path, to_run: list[Block], directory: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in to_run:
        where = f"{title(document)}, line {block.line}"
        if block.mark == "file":
            (directory / block.detail).write_text(block.text + "\n", encoding="utf-8")
        elif block.language == "python":
            code = "\n" * (block.line - 1) + block.text  # so that a traceback shows the document's line
            exec(compile(code, str(document), "exec"), namespace)
        else:
            for command in commands(block):
                shell(command, where)


def shell(command: str, where: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{where}: $ {command}\nleft with {done.returncode}:\n{done.stdout[-4000:]}"


def runnable(long: bool) -> list[Any]:
    """The documents with something to run; for long, those with a long block."""
    found = []
    for document in DOCUMENTS:
        if not document.is_file():
            continue
        here = [block for block in blocks(document.read_text(encoding="utf-8")) if block.runs]
        if any(block.mark == "long" if long else block.mark != "long" for block in here):
            found.append(pytest.param(document, id=title(document)))
    return found


@pytest.mark.parametrize("document", runnable(long=False))
def test_code_of_the_documents_runs(document: Path, prepared: Path) -> None:
    found = list(blocks(document.read_text(encoding="utf-8")))
    run(document, [block for block in found if block.runs and block.mark != "long"], prepared)


@pytest.mark.long
@pytest.mark.parametrize("document", runnable(long=True))
def test_the_whole_code_of_the_documents_runs(document: Path, prepared: Path) -> None:
    found = list(blocks(document.read_text(encoding="utf-8")))
    run(document, [block for block in found if block.runs], prepared)


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_no_block_is_left_out_without_a_reason(document: Path) -> None:
    for block in blocks(document.read_text(encoding="utf-8")):
        where = f"{document.name}, line {block.line}"
        if block.mark == "not run":
            assert block.detail, f"{where}: `<!-- not run: reason -->` needs a reason"
        elif block.mark == "file":
            assert block.detail, f"{where}: `<!-- file: name -->` needs a name"
        elif block.language in SHELL:
            assert commands(block), f"{where}: no line starts with `$ `, so nothing would be run"


def test_blocks_are_found_with_their_marks() -> None:
    text = "\n".join(
        [
            "a `$ x` b",
            "```python",
            "x = 1",
            "```",
            "<!-- not run: needs a GPU -->",
            "```bash",
            "make",
            "```",
            "<!-- file: a.yaml -->",
            "```yaml",
            "k: 1",
            "```",
            "- item",
            "  <!-- long -->",
            "  ```console",
            "  $ one \\",
            "      two",
            "  printed",
            "  $ three",
            "  ```",
            "````",
            "```python",
            "not code",
            "```",
            "````",
        ]
    )
    found = list(blocks(text))
    assert [(b.language, b.line, b.mark, b.detail, b.runs) for b in found] == [
        ("python", 3, "", "", True),
        ("bash", 7, "not run", "needs a GPU", False),
        ("yaml", 11, "file", "a.yaml", True),
        ("console", 16, "long", "", True),
        ("", 22, "", "", False),
    ]
    assert commands(found[3]) == ["one      two", "three"]


def test_a_failing_block_fails(workplace: Path) -> None:
    document = ROOT / "README.md"
    run(document, [Block("python", "x = 1", 1), Block("console", "$ test -f reviews.csv", 2)], workplace)
    with pytest.raises(AssertionError, match=r"README.md, line 2: \$ false \| true"):
        run(document, [Block("console", "$ false | true", 2)], workplace)
    with pytest.raises(NameError):
        run(document, [Block("python", "y", 1)], workplace)


# Links


def without_code(text: str) -> str:
    text = re.sub(r"^\s*(`{3,})[^\n]*\n.*?^\s*\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def links(text: str) -> list[str]:
    """Targets of links and pictures: inline, by reference, and in HTML."""
    text = without_code(text)
    inline = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)", text)
    reference = re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    return inline + reference + re.findall(r"(?:href|src)=\"([^\"]+)\"", text)


def anchors(text: str) -> set[str]:
    """The names of a document's headings as GitHub makes them, and anchors written by hand."""
    plain = re.sub(r"^\s*(`{3,})[^\n]*\n.*?^\s*\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    names: set[str] = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", plain))
    for heading in re.findall(r"^#{1,6} (.+?)\s*#*$", plain, flags=re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        again = sum(other == name or re.fullmatch(re.escape(name) + r"-\d+", other) is not None for other in names)
        names.add(f"{name}-{again}" if again else name)
    return names


def broken(page: Path) -> list[str]:
    problems = []
    for link in links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        goal = page.parent / path if path else page
        if not goal.exists():
            problems.append(f"{link}: no such file")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            problems.append(f"{link}: no such heading")
    return problems


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_resolve(page: Path) -> None:
    assert broken(page) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text(
        '# One\n## `leadline map` and more!\n# One\n<a id="own"></a>\n```\n# no heading\n```\n'
    )
    good = [
        "b.md",
        "b.md#one",
        "b.md#one-1",
        "b.md#leadline-map-and-more",
        "b.md#own",
        "#here",
        "https://x.org/nothing",
    ]
    bad = ["c.md", "b.md#two", "b.md#no-heading", "#there"]
    (tmp_path / "a.md").write_text("# Here\n" + "\n".join(f"[x]({link})" for link in good + bad) + "\n`[x](code.md)`\n")
    assert [problem.split(": ")[0] for problem in broken(tmp_path / "a.md")] == bad


# Commands


def every_command() -> dict[str, Any]:
    """{"sweep summary": command}: every command of the CLI, those inside groups too."""
    from typer.main import get_command

    app = importlib.import_module("leadline.cli").app

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None or name:
            yield name, command
        for own, child in (inner or {}).items():
            yield from walk(child, f"{name} {own}".strip())

    return dict(walk(get_command(app), ""))


def test_every_command_has_help_with_an_example() -> None:
    missing = []
    for name, command in every_command().items():
        shown = f"{command.help or ''}\n{command.epilog or ''}"
        if f"leadline {name}" not in shown:
            missing.append(f"leadline {name}: its help shows no example")
        for parameter in command.params:
            if not getattr(parameter, "help", None) and not getattr(parameter, "hidden", False):
                missing.append(f"leadline {name}: {parameter.name} has no help")
    assert missing == []


def test_every_command_stands_in_the_documents() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    assert [name for name in every_command() if not re.search(rf"\bleadline {name}\b", text)] == []


def test_the_documents_name_no_command_that_does_not_exist() -> None:
    known = {name.split()[0] for name in every_command()}
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|\$ )leadline ([a-z]+)", text))
        assert named <= known, f"{document.name} names commands that are not there"
