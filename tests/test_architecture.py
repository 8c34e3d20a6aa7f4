"""The shape of the house: who may import whom, what is public, what a cold start costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import spatial_zb as zb

PACKAGE = Path(zb.__file__).parent
MODULES = {
    ".".join(("spatial_zb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text("utf-8")) for module, path in MODULES.items()}
#: Rooms by floor: a room imports from floors above its line only, never sideways, whether on import, in a function or
#: for types.
FLOORS = (
    {"base"},
    {"core"},
    {"data"},
    {"weights"},
    {"models", "indices", "study"},
    {"effects"},
    {"inference", "report", "explore"},
    {"hypotheses"},
    {"compare", "simulate"},
    {"pipeline", "tests"},
    {"cli"},
    {"__main__"},
)
#: The folders that each folder imports from, itself left out. A new arrow is a decision: docs/architecture.md.
ARROWS = {
    "base": set(),
    "cli": {"base", "pipeline", "pipeline/examples", "pipeline/replication", "study"},
    "compare": {
        "base",
        "core",
        "core/likelihood",
        "core/logdet",
        "data",
        "effects",
        "explore",
        "hypotheses",
        "inference/bootstrap",
        "models",
        "models/system",
        "weights",
    },
    "core": set(),
    "core/indices": {"base"},
    "core/laws": {"core", "core/likelihood", "core/logdet", "core/random"},
    "core/likelihood": {"core", "core/logdet", "core/statistics"},
    "core/logdet": {"base", "core"},
    "core/random": {"core", "core/likelihood", "core/logdet"},
    "core/statistics": {"base", "core", "core/indices"},
    "core/system": {"core", "core/logdet"},
    "data": {"base"},
    "data/expressions": {"base", "core/indices"},
    "effects": {
        "base",
        "core",
        "core/likelihood",
        "core/logdet",
        "core/system",
        "data",
        "models",
        "models/system",
        "weights",
    },
    "explore": {
        "base",
        "core/likelihood",
        "core/statistics",
        "data",
        "effects",
        "explore/dynamics",
        "models",
        "weights",
        "weights/build",
    },
    "explore/dynamics": {"base", "core/statistics", "data", "explore", "models", "weights", "weights/build"},
    "hypotheses": {
        "base",
        "core",
        "core/laws",
        "core/likelihood",
        "core/logdet",
        "core/random",
        "core/system",
        "data",
        "effects",
        "inference/bootstrap",
        "models",
        "models/system",
        "weights",
    },
    "indices": {"base", "core/indices"},
    "inference": {
        "base",
        "core",
        "core/laws",
        "core/likelihood",
        "core/system",
        "data",
        "effects",
        "inference/bootstrap",
        "models",
        "models/system",
    },
    "inference/bootstrap": {
        "base",
        "core",
        "core/laws",
        "core/likelihood",
        "core/logdet",
        "core/random",
        "core/system",
        "data",
        "effects",
        "models",
        "models/system",
    },
    "models": {
        "base",
        "core",
        "core/likelihood",
        "core/logdet",
        "core/random",
        "core/system",
        "data",
        "weights",
    },
    "models/system": {
        "base",
        "core",
        "core/likelihood",
        "core/system",
        "data",
        "models",
        "weights",
    },
    "pipeline": {
        "base",
        "core/indices",
        "core/statistics",
        "data",
        "data/expressions",
        "effects",
        "explore",
        "inference",
        "models",
        "models/system",
        "pipeline/examples",
        "pipeline/stages",
        "report",
        "report/drawing",
        "report/page",
        "report/tables",
        "report/tables/writers",
        "study",
        "weights",
        "weights/build",
        "weights/files",
    },
    "pipeline/examples": {"base", "data", "pipeline", "report", "study", "weights", "weights/build"},
    "pipeline/replication": {"base", "pipeline", "report", "report/tables/writers", "study"},
    "pipeline/stages": {
        "base",
        "compare",
        "core",
        "core/statistics",
        "data",
        "effects",
        "explore",
        "explore/dynamics",
        "hypotheses",
        "indices",
        "inference",
        "models",
        "models/system",
        "pipeline",
        "report",
        "report/drawing",
        "report/figures",
        "report/maps",
        "report/page",
        "report/tables",
        "report/tables/layouts",
        "simulate",
        "study",
        "weights",
    },
    "report": {
        "base",
        "data",
        "effects",
        "models/system",
        "report/drawing",
        "report/figures",
        "report/maps",
        "report/tables",
        "report/tables/writers",
        "weights",
    },
    "report/drawing": {"base", "report", "weights"},
    "report/figures": {"base", "core/statistics", "report", "report/drawing", "weights"},
    "report/maps": {"base", "core/statistics", "data", "effects", "report/drawing", "weights"},
    "report/page": {
        "base",
        "report",
        "report/drawing",
        "report/figures",
        "report/maps",
        "report/tables",
        "report/tables/writers",
    },
    "report/tables": {"base", "report/tables/layouts"},
    "report/tables/layouts": {
        "base",
        "core/indices",
        "core",
        "core/statistics",
        "report",
        "report/tables",
    },
    "report/tables/writers": {"base", "report", "report/tables"},
    "simulate": {
        "base",
        "core",
        "core/laws",
        "core/likelihood",
        "core/logdet",
        "core/system",
        "data",
        "effects",
        "models",
        "models/system",
        "weights",
    },
    "study": {"base", "data", "data/expressions", "study/sections"},
    "study/sections": {"base", "study"},
    "tests": {"compare", "effects", "hypotheses", "models"},
    "weights": {"base", "core/logdet", "data", "weights/build", "weights/files"},
    "weights/build": {"base", "data", "weights"},
    "weights/files": {"base", "data", "weights"},
}
#: Rooms that a user's script pays for only when it asks for them.
REPORT = {"report", "pipeline", "cli", "__main__"}
MOST_MODULES, MOST_ROOMS, MOST_LINES = 259, 24, 450


def listed(module: str) -> set[str]:
    """Modules from which the front of a folder loads its names, which stand in ``__init__.pyi``."""
    stub = MODULES[module].with_suffix(".pyi")
    if module == "spatial_zb" or not stub.exists():
        return set()
    nodes = [node for node in ast.parse(stub.read_text("utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {f"{module}.{part}" for node in nodes for part in ([node.module] if node.module else
                                                             [alias.name for alias in node.names])}  # fmt: skip


def imports(module: str) -> set[str]:
    """Modules of this package that a module imports: at its top, in functions, for types, and by its list of names."""
    found = listed(module)
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    # The package itself holds the version and imports nothing.
    return {name for name in found if name.startswith("spatial_zb.")}


IMPORTS = {module: imports(module) for module in MODULES}


def room(module: str) -> str:
    """``spatial_zb.core.logdet.traces`` → ``core``."""
    return module.split(".")[1] if "." in module else ""


def folder(module: str) -> str:
    """``spatial_zb.core.logdet.traces`` → ``core/logdet``."""
    return MODULES[module].parent.relative_to(PACKAGE).as_posix()


def test_every_room_has_a_floor_and_imports_from_lower_ones():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    assert {room(module) for module in MODULES} - {""} == set(floor)
    wrong = {
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if room(module) and room(name) != room(module) and floor[room(name)] >= floor[room(module)]
    }
    assert not wrong


def test_every_folder_imports_from_the_folders_of_its_row():
    found: dict[str, set[str]] = {folder(module): set() for module in MODULES}
    for module, names in IMPORTS.items():
        found[folder(module)] |= {folder(name) for name in names} - {folder(module)}
    found.pop(".")
    assert {key: sorted(row) for key, row in found.items()} == {
        key: sorted(row) for key, row in ARROWS.items()
    }


def test_no_module_imports_itself_by_others():
    state: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != 1, " → ".join((*trail[trail.index(module) :], module))
        if module not in state:
            state[module] = 1
            for name in sorted(IMPORTS[module]):
                # A package whose front imports its parts is asked for by them only through itself.
                if not module.startswith(f"{name}."):
                    visit(name, (*trail, module))
            state[module] = 2

    for module in MODULES:
        visit(module, ())


def test_the_house_keeps_its_size():
    rooms = {room(module) for module in MODULES} - {"", "__main__"}
    assert len(MODULES) <= MOST_MODULES
    assert len(rooms) <= MOST_ROOMS
    loose = {path.name for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__.py", "__main__.py"}
    long = {
        m: n for m, path in MODULES.items() if (n := len(path.read_text("utf-8").splitlines())) > MOST_LINES
    }
    assert not long
    assert (PACKAGE / "py.typed").exists()


def test_core_knows_arrays_only():
    allowed = {"numpy", "scipy", "sksparse", "spatial_zb"} | set(sys.stdlib_module_names)
    wrong = {}
    for module in MODULES:
        if room(module) == "core":
            nodes = list(ast.walk(TREES[module]))
            names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
            names |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}
            if outside := {name.split(".")[0] for name in names} - allowed:
                wrong[module] = outside
    assert not wrong


def test_only_pipeline_and_cli_import_report():
    wrong = {m for m, names in IMPORTS.items() if room(m) not in REPORT and {room(n) for n in names} & REPORT}
    assert not wrong


def test_nothing_prints():
    def prints(module: str) -> bool:
        calls = [n for n in ast.walk(TREES[module]) if isinstance(n, ast.Call)]
        return any(
            isinstance(c.func, ast.Name) and c.func.id in ("print", "breakpoint", "input") for c in calls
        )

    assert not [module for module in MODULES if room(module) != "cli" and prints(module)]


def test_every_module_says_what_it_is():
    assert not [module for module, tree in TREES.items() if not ast.get_docstring(tree)]


def test_stars_globals_and_global_seeds_are_absent():
    def bad(node: ast.AST) -> bool:
        star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        seed = isinstance(node, ast.Attribute) and ast.unparse(node) == "np.random.seed"
        return star or seed or isinstance(node, ast.Global)

    assert not [module for module, tree in TREES.items() if any(map(bad, ast.walk(tree)))]


PUBLIC = sorted(set(zb.__all__) - {"__version__"})
NAMESPACES = [name for name in PUBLIC if inspect.ismodule(getattr(zb, name))]


def test_public_names_stand_once_and_exist():
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text("utf-8"))
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == PUBLIC
    assert not [name for name in PUBLIC if getattr(zb, name, None) is None]


def _functions(name: str) -> dict[str, object]:
    """The function, or the public functions of a class or of a namespace."""
    obj = getattr(zb, name)
    if inspect.isfunction(obj):
        return {name: obj}
    if inspect.ismodule(obj):
        own = {key: getattr(obj, key) for key in dir(obj)}
        return {f"{name}.{key}": value for key, value in own.items() if inspect.isfunction(value)}
    own = {key: value for key, value in vars(obj).items() if not key.startswith("_")}
    return {
        f"{name}.{key}": value.fget if isinstance(value, property) else value
        for key, value in own.items()
        if inspect.isfunction(value) or isinstance(value, property)
    }


def test_the_front_door_is_small():
    # 48 that estimate, test and show, and `example`, by which a newcomer tries them without a file.
    assert 40 <= len(PUBLIC) <= 56, len(PUBLIC)
    assert set(dir(zb)) == set(zb.__all__)


def _is_own(item: object) -> bool:
    own = item.__name__ if inspect.ismodule(item) else item.__module__
    return own.startswith("spatial_zb.")


def test_each_namespace_shows_its_public_names_only():
    for name in NAMESPACES:
        room = getattr(zb, name)
        shown = {key: getattr(room, key) for key in dir(room)}
        assert shown, name
        strange = [key for key in shown if key.startswith("_") or not _is_own(shown[key])]
        assert not strange, (name, strange)


def test_a_name_that_moved_warns_and_is_what_it_was():
    for old, new in zb.MOVED.items():
        with pytest.warns(DeprecationWarning, match=f"spatial_zb.{new}"):
            found = getattr(zb, old)
        assert found.__name__ == new.rpartition(".")[2]
    assert not set(zb.MOVED) & set(PUBLIC)


#: No function takes more arguments than these; what travels together is one record.
MOST_ARGUMENTS = 8
#: Except for the function that everyone calls: a W for each lag is data, as W itself is, and no record of options.
MORE_ARGUMENTS = {"fit_durbin": 10, "diagnose": 9}


def test_no_public_function_takes_more_than_eight_arguments():
    many = {
        where: len(set(inspect.signature(function).parameters) - {"self"})
        for name in PUBLIC
        for where, function in _functions(name).items()
    }
    assert not {
        where: count for where, count in many.items() if count > MORE_ARGUMENTS.get(where, MOST_ARGUMENTS)
    }


def test_public_names_are_documented():
    found = {
        where: f for name in PUBLIC for where, f in {name: getattr(zb, name), **_functions(name)}.items()
    }
    assert not [where for where, item in found.items() if not (inspect.getdoc(item) or "").strip()]


def test_public_functions_are_typed():
    bare = []
    for name in PUBLIC:
        for where, function in _functions(name).items():
            signature = inspect.signature(function)
            bare += [
                f"{where}({p.name})"
                for p in signature.parameters.values()
                if p.annotation is p.empty and p.name != "self"
            ]
            if where not in UNTYPED_RETURNS and signature.return_annotation is signature.empty:
                bare.append(f"{where} ->")
    assert not bare


#: The type is that of an optional import.
UNTYPED_RETURNS = {"Weights.to_graph"}


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="fit_durbn"):
        _ = zb.fit_durbn


HEAVY = ("numpy", "pandas", "scipy", "geopandas", "matplotlib", "libpysal", "mapclassify", "docx", "pydantic")


@pytest.mark.parametrize("module", ["spatial_zb", "spatial_zb.base.errors", "spatial_zb.cli"])
def test_a_cold_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_first_fit_loads_only_what_it_needs():
    # scipy.stats and scipy.optimize take longer to load than the fit, its effects and Moran's I take to compute
    code = """
import sys, numpy as np, pandas as pd, spatial_zb as zb
units = list("abcdef")
W = zb.Weights(np.roll(np.eye(6), 1, 1) + np.roll(np.eye(6), -1, 1), units).standardise("row")
values = np.random.default_rng(1).normal(size=(60, 2))
frame = pd.DataFrame({"unit": units * 10, "year": np.repeat(range(10), 6), "y": values[:, 0], "x": values[:, 1]})
panel = zb.build_panel(frame, unit="unit", period="year", units=W.ids)
zb.moran(panel, "y", W, permutations=99, rng=1), zb.local_moran(panel, "y", W, period=3, permutations=99, rng=1)
zb.spatial_effects(zb.fit_durbin(zb.DurbinSpec("y", ["x"], fixed_effects="two_way"), panel, W)).tidy()
slow = ("scipy.stats", "scipy.optimize", "scipy.spatial", "geopandas", "matplotlib", "libpysal", "pydantic", "joblib")
print([name for name in slow if name in sys.modules])
"""
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_core_loads_without_pandas():
    names = [m for m in MODULES if room(m) == "core"]
    code = f"import sys, {', '.join(names)}; print([m for m in ('pandas', 'geopandas', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
