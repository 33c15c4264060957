"""The layers of docs/architecture.md, held."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dbx_auth"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
OURS = {name: path for name, path in MODULES.items() if not name.startswith("sandbox")}
HEAVY = {
    "anyio", "asyncio", "azure", "filelock", "google", "http", "httpx", "jeepney", "keyring", "logging", "msal",
    "platformdirs", "rich", "secretstorage", "socket", "ssl", "starlette", "subprocess", "tempfile", "tomlkit",
    "tomllib", "truststore", "uvicorn", "webbrowser",
}  # fmt: skip


def imports(name: str, *, nested: bool = True) -> set[str]:
    """What a module imports: full names; those of our own package without its name. Types only do not count."""
    return set(_imports(name, ast.parse(MODULES[name].read_text()).body, nested))


def _imports(name: str, body: list[ast.stmt], nested: bool) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        if isinstance(statement, ast.Import):
            yield from (alias.name.removeprefix("dbx_auth.") for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield from _from(name, statement)
        else:
            for field in ("body", "orelse", "finalbody", "handlers"):
                deeper = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                if nested or not deeper:
                    yield from _imports(name, getattr(statement, field, []), nested)


def _from(name: str, statement: ast.ImportFrom) -> Iterator[str]:
    module = statement.module or ""
    if statement.level:
        package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
        for _ in range(statement.level - 1):
            package = package.rpartition(".")[0]
        module = ".".join(filter(None, (package, module)))
    elif module.partition(".")[0] != "dbx_auth":
        yield module
        return
    module = module.removeprefix("dbx_auth").removeprefix(".")
    for alias in statement.names:
        whole = ".".join(filter(None, (module, alias.name)))
        yield whole if whole in MODULES else module


def reach(name: str) -> set[str]:
    """Every module of ours that `name` can get to, however late it imports it."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        found = imports(module) & MODULES.keys()
        if module == "sources":  # it loads them by name
            found |= {m for m in MODULES if m.startswith("sources.")}
        waiting += found
    return seen


@pytest.mark.parametrize("name", sorted(OURS))
def test_only_the_command_line_imports_click(name: str) -> None:
    if name != "cli" and not name.startswith("commands"):
        assert not [i for i in imports(name) if i.split(".")[0] == "click"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_nothing_heavy_is_imported_before_it_is_needed(name: str) -> None:
    heavy = {i for i in imports(name, nested=False) if i.split(".")[0] in HEAVY}
    assert not heavy or name in ("httpx_auth", "transport", "pool", "gateway.relay")


@pytest.mark.parametrize("name", sorted(m for m in MODULES if m.startswith("sources.")))
def test_a_source_knows_neither_another_source_nor_the_road_nor_the_login(name: str) -> None:
    others = {m for m in MODULES if m.startswith("sources.")} - {name}
    assert not imports(name) & (others | {"resolve", "login", "cli"})


def test_nothing_on_the_way_of_a_token_can_ask_a_person_anything() -> None:
    on_the_way = reach("resolve") | reach("credentials") | reach("httpx_auth")
    assert {"store", "oauth", "sources.databricks_cli"} <= on_the_way
    assert not on_the_way & {"login", "cli"} and not {m for m in on_the_way if m.startswith("commands")}


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_token_passes_through_the_one_road(name: str) -> None:
    """Nobody but `resolve` gets at the sources; `status` and the library ask `resolve`."""
    reached = {i for i in imports(name) if i == "sources" or i.startswith("sources.")}
    if not name.startswith("sources") and name != "resolve":
        assert not reached
    calls = [n.func for n in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(n, ast.Call)]
    if any(isinstance(f, ast.Name) and f.id == "Token" for f in calls):
        assert name in {"refresh", "login", "entra", "gcp"} or name.startswith("sources")


@pytest.mark.parametrize("name", sorted(OURS))
def test_only_the_world_touches_the_environment_the_clock_and_other_processes(name: str) -> None:
    used = {
        ast.unparse(node) for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Attribute)
    }
    outside = {"os.environ", "os.getenv", "time.time", "time.sleep", "time.monotonic", "datetime.now", "os.system"}
    outside |= {"subprocess.run", "subprocess.Popen", "httpx.Client", "httpx.get", "webbrowser.open"}
    if name == "transport":  # whose client is one of the world's (`open_client`)
        outside.remove("httpx.Client")
    if name == "__main__":  # which is there before there is a world
        outside -= {"os.environ", "time.time"}
    if name != "world":
        assert not used & outside


def test_modules_hang_together_one_way() -> None:
    """No module reaches itself through others, once imports at the top are all there are."""
    graph = {name: imports(name, nested=False) & OURS.keys() - {name} for name in OURS}
    done: set[str] = set()
    while ready := {name for name, needs in graph.items() if needs <= done} - done:
        done |= ready
    assert done == set(graph), f"in a circle: {sorted(set(graph) - done)}"
