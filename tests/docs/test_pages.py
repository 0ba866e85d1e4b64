"""What the documentation names exists, its links lead somewhere, and its pages keep their limits."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

from acdc_fast.commands.cli import main

PAGES = [
    *sorted(ROOT.glob("*.md")), ROOT / "configs" / "README.md", *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "acdc_fast" / "pretrained").rglob("*.md")),
]  # fmt: skip
#: Logs tell of files as they were.
LOGS = ("training-log.md", "kernel-history.md", "CHANGELOG.md")
NAMED = [p for p in PAGES if p.name not in LOGS]
#: What a build makes.
BUILT = ("acdc_fast/_cuda.so", "acdc_fast._cuda.so", "acdc_fast._native")
TOPS = ("acdc_fast", "kernels", "csrc", "training", "tests", "bench", "configs", "docs", "examples")
#: Suffixes of code, and of other text.
CODE = (".py", ".cpp", ".h", ".cu", ".cuh")
TEXT = (".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".cff")
#: Files that a user writes or a run makes.
OF_A_RUN = {"own.yaml", "owl.yaml", "small.yaml"}


def tracked() -> list[Path]:
    """Every file of the project, without what is built, downloaded or ignored."""
    left_out = {".git", ".venv", "build", "shared", "out", "runs", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
    files = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in left_out and not f.endswith((".egg-info", "__pycache__")))
        files += [Path(folder) / name for name in sorted(names)]
    return [f for f in files if f.suffix in (*CODE, *TEXT) or f.name in ("Makefile", ".gitignore", "run")]


TRACKED = tracked()


def texts(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code(page: Path) -> list[str]:
    """Inline code, without fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?^```$", "", texts(page), flags=re.S | re.M))


def paths_named(page: Path) -> set[str]:
    named = set()
    for text in code(page):
        for word in re.findall(r"[\w./*<>-]+", text):
            if "<" in word or "*" in word or word.startswith(("/", "-")):
                continue
            if word.split("/")[0] in TOPS and "/" in word:
                named.add(word.rstrip("./"))
    return named


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    missing = [n for n in sorted(paths_named(page)) if not (ROOT / n).exists() and n not in BUILT]
    assert not missing, f"{page.relative_to(ROOT)} names {', '.join(missing)}"


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_files_named_without_their_folder_exist(page: Path) -> None:
    known = {path.name for path in TRACKED} | OF_A_RUN
    name = re.compile(r"(?<![\w./*<>-])[^\W_][\w-]*\.(?:py|cpp|h|cu|cuh|yaml)\b")
    files = {word for text in code(page) for word in name.findall(text)}
    missing = sorted(files - known)
    assert not missing, f"{page.relative_to(ROOT)} names {', '.join(missing)}"


def test_comments_and_docstrings_name_files_that_exist() -> None:
    wrong = []
    name = re.compile(rf"(?<![\w./])(?:{'|'.join(TOPS)})/[\w./-]+\.(?:py|cpp|h|cuh?|md)\b")
    for path in TRACKED:
        if path.suffix not in CODE or path.is_relative_to(ROOT / "tests"):
            continue  # tests make files of their own
        for word in name.findall(texts(path)):
            if not (ROOT / word).exists() and word not in BUILT:
                wrong.append(f"{path.relative_to(ROOT)}: {word}")
    assert not wrong, wrong


def test_docstrings_name_modules_that_exist() -> None:
    """`acdc_fast.a.b` in the text of a module; `from acdc_fast.a import b` cannot be wrong."""
    wrong = []
    for path in TRACKED:
        if path.suffix == ".py" and path != Path(__file__):
            for symbol in re.findall(r"`(acdc_fast(?:\.\w+)+)`", texts(path)):
                if not found(symbol) and symbol not in BUILT:
                    wrong.append(f"{path.relative_to(ROOT)}: {symbol}")
    assert not wrong, wrong


def symbols_named(page: Path) -> set[str]:
    named = set(re.findall(r"\bacdc_fast(?:\.[A-Za-z_]\w*)+", texts(page)))
    named |= set(re.findall(r"^::: ([\w.]+)$", texts(page), re.M))
    for module, names in re.findall(r"from (acdc_fast[\w.]*) import ([\w, ]+)", texts(page)):
        named |= {f"{module}.{name.strip()}" for name in names.split(",")}
    return named


def found(symbol: str) -> bool:
    """Read from the source, because a page may name modules that need an extra."""
    parts = symbol.replace("acdc_fast.training", "training").replace("acdc_fast.kernels", "kernels").split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.is_file():
            rest = parts[count:]
            text = module.read_text(encoding="utf-8")
            return not rest or re.search(rf"\b{re.escape(rest[0])}\b", text) is not None
    return False


@pytest.mark.parametrize("page", NAMED, ids=lambda page: page.name)
def test_symbols_exist(page: Path) -> None:
    missing = [s for s in sorted(symbols_named(page)) if not found(s) and s not in BUILT]
    assert not missing, f"{page.relative_to(ROOT)} names {', '.join(missing)}"


def anchors(page: Path) -> set[str]:
    """The anchors that the site makes from headings."""
    out = set(re.findall(r"\{#([\w-]+)\}", texts(page)))
    for heading in re.findall(r"^#+ (.*?)(?: \{#.*)?$", texts(page), re.M):
        words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        out.add(re.sub(r"[-\s]+", "-", words))
    return out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", texts(page)):
        place, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{page.relative_to(ROOT)} links to {', '.join(broken)}"


def test_readme_fits_two_screens() -> None:
    text = texts(ROOT / "README.md")
    words = len(re.sub(r"```.*?```", "", text, flags=re.S).split())
    assert words <= 900, f"README.md has {words} words beside its code"
    long = [i for i, line in enumerate(text.splitlines(), 1) if len(line) > 300]
    assert not long, f"README.md: lines {long} have more than 300 characters"


def test_readme_says_the_terms_on_its_first_screen() -> None:
    first = "\n".join(texts(ROOT / "README.md").splitlines()[:30])
    assert "Apache-2.0" in first and "research use" in first


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guides").glob("*.md")), ids=lambda page: page.name)
def test_guides_are_short(page: Path) -> None:
    assert len(texts(page).splitlines()) <= 120


def test_every_page_is_in_the_site() -> None:
    menu = texts(ROOT / "mkdocs.yml")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    left = [page for page in pages if page not in menu]
    assert not left, f"mkdocs.yml leaves out {', '.join(left)}"


@pytest.mark.parametrize("command", ["align", "video", "batch", "train", "evaluate", "export", "bench", "env"])
def test_command_line_page_fits_the_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if command in ("train", "evaluate"):
        pytest.importorskip("yaml", reason="the training extra is not installed")
    page = texts(ROOT / "docs" / "reference" / "command-line.md")
    part = page.split(f"\n## {command}\n")[1].split("\n## ")[0]
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    shown, real = (set(re.findall(r"--[a-z][a-z-]*", text)) for text in (part, said))
    words = [set(re.sub(r"\s+", " ", text).split()) for text in (part, said)]
    assert shown == real, f"{command}: run python docs/scripts/command_line.py"
    # Some words may differ: each version of Python wraps and lists options in its own way.
    assert len(words[1] - words[0]) <= 12, f"{command}: run python docs/scripts/command_line.py"


def test_no_word_of_elsewhere() -> None:
    """No file names a folder of the machine that it was written on, or speaks of how its authors work."""
    assert len(TRACKED) > 500
    elsewhere = re.compile(r"(?<![\w.])/(?:wor[k]|tmp/w[t]|hom[e]/\w|roo[t]/)|\bissu[e] #?\d+")
    for path in TRACKED:
        if path.suffix in CODE + TEXT or not path.suffix:
            named = elsewhere.search(texts(path))
            assert not named, f"{path.relative_to(ROOT)}: {named[0]}"
