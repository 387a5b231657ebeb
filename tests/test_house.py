"""The house: which module may import which, read from the source."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the ground up: a module may import what stands on its own level or below.
LEVELS = (
    ("nets",),
    ("core.config",),
    ("core.support",),
    ("core.imaging",),
    ("core.dataset", "core.VOCdataset", "core.ISBIdataset", "core.prediction"),
    ("core.evaluation", "core.training"),
    ("core.sources",),
    ("tools", "train", "predict", "evaluate"),
)
# What stands on one level but knows nothing of each other.
STRANGERS = (
    ("core.dataset", "core.prediction"),
    ("core.VOCdataset", "core.ISBIdataset"),
    ("core.evaluation", "core.training"),
    ("train", "predict", "evaluate", "tools"),
)


def modules():
    """The project's modules by name, with their paths."""
    files = [ROOT / f"{name}.py" for name in ("train", "predict", "evaluate")]
    for folder in ("core", "nets", "tools"):
        files += sorted((ROOT / folder).rglob("*.py"))
    found = {}
    for path in files:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path):
    """The project's modules that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        else:
            continue
        found |= {name for name in names if name in MODULES and MODULES[name].stem != "__init__"}
    return found


def below(name, parent):
    return name == parent or name.startswith(f"{parent}.")


def level(name):
    """The number of a module's level, None for the packages themselves."""
    return next((i for i, row in enumerate(LEVELS) if any(below(name, p) for p in row)), None)


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def test_every_module_has_its_level():
    homeless = [name for name in MODULES if level(name) is None]
    assert homeless == ["core"] and not IMPORTS["core"]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"core"}))
def test_imports_run_one_way(name):
    above = [other for other in IMPORTS[name] if level(other) > level(name)]
    assert not above, f"{name} imports {above} from above"
    for group in STRANGERS:
        mine = [part for part in group if below(name, part)]
        others = [part for part in group if part not in mine]
        met = [other for other in IMPORTS[name] if mine and any(below(other, p) for p in others)]
        assert not met, f"{name} imports {met}"


def test_there_is_no_circle():
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            path.append(name)
            for other in sorted(IMPORTS[name]):
                visit(other)
            done.add(path.pop())

    for name in sorted(MODULES):
        visit(name)


def test_the_rule_sees_imports_of_all_kinds(tmp_path):
    """`from core.support import errors`, `import core.config`, and those inside functions."""
    path = tmp_path / "module.py"
    path.write_text(
        "from core.support import errors\nimport core.config\nimport numpy\n"
        "def f():\n    from nets.unet import UNet\n"
    )
    assert imports(path) == {"core.support.errors", "core.config", "nets.unet"}
    path.write_text("from .support import errors\n")
    with pytest.raises(AssertionError, match="absolute"):
        imports(path)


def test_a_folder_of_core_has_at_most_nine_modules():
    """Those in folders below it included."""
    for folder in (path for path in (ROOT / "core").iterdir() if (path / "__init__.py").exists()):
        names = [p.name for p in folder.rglob("*.py") if p.name != "__init__.py"]
        assert 0 < len(names) <= 9, f"{folder.name} has {len(names)} modules"


def test_the_evening_s_reading_is_short():
    """The list in docs/code.md, and what it says of the lines."""
    text = (ROOT / "docs/code.md").read_text("utf-8")
    files = re.findall(r"^\d+\. `(\S+\.py)`", text, re.M)
    lines = sum(len((ROOT / file).read_text("utf-8").splitlines()) for file in files)
    promised = int(re.search(r"fewer than ([\d,]+)\s+lines", text)[1].replace(",", ""))
    assert len(files) == 11 and lines < promised <= 1800
