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
#: Who may import from which part, beside itself: everything to the right of it.
ALLOWED = {
    "errors": set(),
    "text": {"errors"},
    "arguments": {"errors"},
    "printing": {"errors"},
    "result_store": {"errors"},
    "execute": {"arguments", "errors", "result_store"},
    "study": {"errors", "text", "data"},
    "core": {"errors"},
    "data": {"errors", "text"},
    "weights": {"core", "data", "errors", "text", "printing"},
    "indices": {"data", "errors", "text", "printing"},
    "explore": {"core", "data", "weights", "errors", "text", "models", "printing"},
    "models": {"arguments", "printing", "core", "data", "weights", "errors", "text"},
    "report": None,
    "pipeline": None,
    "cli": None,
}
NEVER_REPORT = {"report", "pipeline", "cli"}


def imports(path: Path, top_level_only: bool = False) -> list[str]:
    """Full names of the modules a file imports; ``from a import b`` gives a.b where that is a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _executed(tree) if top_level_only else list(ast.walk(tree))
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in inner]
    return found


def _executed(tree: ast.Module) -> list[ast.stmt]:
    """Statements run on import: not those of functions, nor under TYPE_CHECKING."""
    out, queue = [], list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        out.append(node)
        queue += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return out


def part(module: str) -> str:
    """``spatial_zb.core.transforms`` → ``core``."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize(
    "module", [m for m in MODULES if part(m) in ALLOWED and ALLOWED[part(m)] is not None]
)
def test_imports_point_one_way(module):
    mine = part(module)
    inside = [name for name in imports(MODULES[module]) if name.startswith("spatial_zb")]
    wrong = [name for name in inside if part(name) not in {mine, *ALLOWED[mine]}]
    assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) == "core"])
def test_core_knows_arrays_only(module):
    allowed = {"numpy", "scipy", "numba", "sksparse"} | set(sys.stdlib_module_names)
    outside = {name.split(".")[0] for name in imports(MODULES[module])} - {"spatial_zb"}
    assert not outside - allowed, f"{module} imports {outside - allowed}"


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) not in NEVER_REPORT])
def test_only_pipeline_and_cli_import_report(module):
    root = module == "spatial_zb"  # whose public names load on first use
    assert not [name for name in imports(MODULES[module], top_level_only=root) if part(name) in NEVER_REPORT]


def test_no_cycles():
    graph = {
        module: {name for name in imports(path, top_level_only=True) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module not in done:
            for following in graph[module]:
                visit(following, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) != "cli"])
def test_nothing_prints(module):
    calls = [n for n in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))) if isinstance(n, ast.Call)]
    assert not [
        c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("print", "breakpoint", "input")
    ]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_and_stars_and_globals_are_absent(module):
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    assert ast.get_docstring(tree), f"{module} has no docstring"
    stars = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    assert not stars
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Global)]
    seeds = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n) == "np.random.seed"]
    assert not seeds


PUBLIC = sorted(set(zb.__all__) - {"__version__"})


def test_homes_and_all_agree():
    modules = {name for name in zb.__all__ if inspect.ismodule(getattr(zb, name))}
    assert set(zb._HOMES) == set(zb.__all__) - modules - {"__version__"}
    assert len(zb.__all__) == len(set(zb.__all__))
    assert dir(zb) == zb.__all__


def test_type_checkers_see_the_same_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    seen = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert seen == set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    assert (inspect.getdoc(getattr(zb, name)) or "").strip()


def _functions(name: str) -> dict[str, object]:
    """The function, or the class's own public methods."""
    obj = getattr(zb, name)
    if inspect.isfunction(obj):
        return {name: obj}
    if not inspect.isclass(obj):
        return {f"{name}.{k}": getattr(obj, k) for k in obj.__all__ if inspect.isfunction(getattr(obj, k))}
    own = {k: v for k, v in vars(obj).items() if not k.startswith("_")}
    return {f"{name}.{k}": v.fget if isinstance(v, property) else v for k, v in own.items()
            if inspect.isfunction(v) or isinstance(v, property)}  # fmt: skip


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_are_typed(name):
    for where, function in _functions(name).items():
        assert inspect.getdoc(function), f"{where} has no docstring"
        signature = inspect.signature(function)
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
        assert not bare, f"{where}: no annotation of {bare}"
        if where not in UNTYPED_RETURNS:
            assert signature.return_annotation is not signature.empty, f"{where} does not say what it returns"


#: The type is that of an optional import.
UNTYPED_RETURNS = {"Weights.to_graph"}


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="fit_durbn"):
        _ = zb.fit_durbn


HEAVY = ("numpy", "pandas", "scipy", "geopandas", "matplotlib", "libpysal", "mapclassify", "docx", "pydantic")


@pytest.mark.parametrize("module", ["spatial_zb", "spatial_zb.base.errors", "spatial_zb.cli.main"])
def test_a_cold_import_loads_nothing_heavy(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_core_loads_without_pandas():
    names = [m for m in MODULES if part(m) == "core"]
    code = f"import sys, {', '.join(names)}; print([m for m in ('pandas', 'geopandas', 'matplotlib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
