"""A memo leads to the token of the last time, and to none at all once anything is different, or might be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, strategies as st
from machine import HOST, OTHER, Machine

from dbx_auth import Token, cli, memo, resolve, settings
from dbx_auth.memo import Seen
from dbx_auth.profile import FIELDS
from dbx_auth.world import World

TOKEN = "eyJ.the-token-of-a-memo.x"
ARGV = ("token", "-p", "DEV")


class Kept(NamedTuple):
    """A machine on which `dbx-auth token -p DEV` has left a memo, and how that is found again."""

    machine: Machine
    path: Path

    def recall(self, argv: tuple[str, ...] = ARGV, later: float = 1.0, **env: str | None) -> str | None:
        changed = {**self.machine.env, **env}
        there = {name: value for name, value in changed.items() if value is not None}
        found = memo.recall(argv, there, self.machine.clock() + later)
        return None if found is None else found.decode()

    @property
    def fields(self) -> list[str]:
        return self.path.read_bytes().decode().split("\0")

    @property
    def names(self) -> list[str]:
        """The variables that were looked at."""
        return [word.partition("=")[0] for word in self._groups()[1]]

    @property
    def files(self) -> list[Path]:
        return [Path(word) for word in self._groups()[2][::2]]

    def _groups(self) -> list[list[str]]:
        rest, groups = iter(self.fields[4:]), []
        for _ in range(3):
            groups.append([next(rest) for _ in range(int(next(rest)))])
        return groups


def run(machine: Machine, *argv: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """`dbx-auth` as a process of its own would run it, with files that were left alone for a while."""
    memo.seen.clear()
    machine.env.setdefault("HOME", str(machine.home))
    monkeypatch.setattr(sys, "argv", ["dbx-auth", *argv])
    monkeypatch.setattr(memo, "OTHERS", ())  # the tests have all of them
    world = machine.world._replace(env=Seen(dict(machine.env)))
    return cli.run(argv, world)


def memos(machine: Machine) -> list[Path]:
    return list((machine.home / ".cache" / "dbx-auth").glob("*.memo"))


@pytest.fixture
def aged(machine: Machine) -> Machine:
    """A machine on which everything was written an hour ago."""
    machine.clock = lambda: time.time() + 3600
    return machine


@pytest.fixture
def login(aged: Machine) -> Machine:
    aged.write(aged.config, f"[DEV]\nhost = {HOST}\nauth_type = databricks-cli\n")
    aged.cached_login("DEV", access_token=TOKEN, expiry="2099-01-01T00:00:00.5+00:00")
    return aged


@pytest.fixture
def kept(login: Machine, monkeypatch: pytest.MonkeyPatch) -> Kept:
    assert run(login, *ARGV, monkeypatch=monkeypatch) == 0
    [path] = memos(login)
    return Kept(login, path)


# ---- while nothing changes -------------------------------------------------------------------------------------------


def test_the_token_is_found_again(kept: Kept) -> None:
    assert kept.recall() == TOKEN
    assert kept.recall(later=memo.LONGEST - 1) == TOKEN


def test_no_secret_is_in_it_and_nobody_else_can_read_it(kept: Kept) -> None:
    assert TOKEN.encode() not in kept.path.read_bytes()
    assert kept.path.stat().st_mode & 0o777 == 0o600 or sys.platform == "win32"


def test_no_variable_that_holds_a_secret_is_ever_in_one() -> None:
    secret = [name for field in FIELDS.values() if field.secret for name in field.env]
    assert len(secret) > 5
    assert [name for name in secret if not memo._is_secret(name, {name: "x"})] == []


def test_what_has_nothing_to_do_with_it_may_change(kept: Kept) -> None:
    kept.machine.write(kept.machine.home / "another file", "x")
    assert kept.recall(PWD="/elsewhere", TERM="dumb") == TOKEN


def test_all_that_was_read_is_in_it(kept: Kept) -> None:
    here = kept.machine
    assert {here.config, here.cli_cache, here.auth_json} < set(kept.files)
    assert Path(settings.path(here.world)) in kept.files
    assert {"DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_FILE", "HOME"} < set(kept.names)


# ---- each input in turn ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [("token",), ("token", "-p", "PROD"), (*ARGV, "-o", "json"), (*ARGV, HOST), ()])
def test_another_command_line(kept: Kept, argv: tuple[str, ...]) -> None:
    shutil.copy(kept.path, memo._path(argv, {}, str(kept.machine.home)) if argv else kept.path.with_name(".memo"))
    assert kept.recall(argv) is None


def test_any_variable_that_was_looked_at(kept: Kept) -> None:
    for name in kept.names:
        was = kept.machine.env.get(name)
        for value in {"", "another", None} - {was}:
            if name == "HOME":  # where the memo itself is
                continue
            assert kept.recall(ARGV, 1.0, **{name: value}) is None or (was is None and value is None), (name, value)
    assert kept.recall() == TOKEN


def replaced(path: Path) -> None:
    """By a copy of itself."""
    shutil.copyfile(path, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def overwritten(path: Path) -> None:
    """By as many bytes, with the old time put back."""
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"a", b"b"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touched(path: Path) -> None:
    os.utime(path)


def opened_to_all(path: Path) -> None:
    path.chmod(0o644)


def removed(path: Path) -> None:
    path.unlink()


def linked(path: Path) -> None:
    """To another file with the same content."""
    other = path.with_name(f"{path.name}.other")
    shutil.copy2(path, other)
    path.unlink()
    path.symlink_to(other)


CHANGES = [replaced, overwritten, touched, opened_to_all, removed, linked]


@pytest.mark.parametrize("change", CHANGES)
def test_any_file_that_was_read(kept: Kept, change: Callable[[Path], None]) -> None:
    there = [path for path in kept.files if path.exists()]
    assert len(there) >= 2
    for path in there:
        before = kept.path.read_bytes()
        change(path)
        assert kept.recall() is None, path
        content = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        kept.machine.write(path, content)  # which is a new file
        kept.path.write_bytes(before)


def test_any_file_that_was_not_there(kept: Kept) -> None:
    missing = [path for path in kept.files if not path.exists()]
    assert len(missing) >= 2
    for path in missing:
        kept.machine.write(path, "{}")
        assert kept.recall() is None, path
        path.unlink()
        assert kept.recall() == TOKEN


@pytest.mark.parametrize("later", [-1.0, memo.LONGEST, memo.LONGEST + 1])
def test_a_time_before_it_or_after_it(kept: Kept, later: float) -> None:
    assert kept.recall(later=later) is None


@pytest.mark.skipif(sys.platform == "win32", reason="owners and rights")
def test_a_memo_that_others_may_read_is_not_ours(kept: Kept) -> None:
    kept.path.chmod(0o644)
    assert kept.recall() is None


def test_another_version_of_ours(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "__version__", "9.9.9")
    assert kept.recall() is None


def test_without_a_look_at_the_files_it_would_be_the_token_of_before(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept.machine.cli_cache
    path.write_bytes(path.read_bytes().replace(TOKEN.encode(), TOKEN[::-1].encode()))
    assert kept.recall() is None
    monkeypatch.setattr(memo, "_state", lambda status: "" if status is None else "as it was")
    fields = ["as it was" if memo_state(word) else word for word in kept.fields]
    kept.path.write_bytes("\0".join(fields).encode())
    assert kept.recall() == TOKEN[::-1]


def memo_state(word: str) -> bool:
    return len(word.split()) == 7


def test_a_memo_that_was_cut_off_is_none(kept: Kept) -> None:
    whole = kept.path.read_bytes()
    for end in range(len(whole)):
        kept.path.write_bytes(whole[:end])
        assert kept.recall() is None, end
    kept.path.write_bytes(whole)
    assert kept.recall() == TOKEN


@given(data=st.binary(max_size=200))
def test_what_is_no_memo_is_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    home = tmp_path_factory.mktemp("home")
    path = Path(memo._path(["token"], {}, str(home)))
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    path.chmod(0o600)
    assert memo.recall(["token"], {"XDG_CACHE_HOME": str(home / ".cache")}, 1.0) is None


# ---- when there is none ----------------------------------------------------------------------------------------------


def in_the_environment(machine: Machine) -> None:
    machine.env.update(DATABRICKS_HOST=HOST, DATABRICKS_TOKEN=TOKEN)


def beside_a_secret(machine: Machine) -> None:
    machine.env["DATABRICKS_CLIENT_SECRET"] = "s"


def twice(machine: Machine) -> None:
    machine.write(machine.auth_json, {"databricks": {"type": "api", "key": TOKEN, "host": OTHER}})


def escaped(machine: Machine) -> None:
    path = machine.cli_cache
    path.write_text(path.read_text().replace("eyJ", "\\u0065yJ"))


def about_to_end(machine: Machine) -> None:
    """It is good for another while, but not for one that a memo could promise."""
    ends = int(machine.clock() + memo.AHEAD - 60) * 1000
    entry = {"type": "oauth", "access": TOKEN, "refresh": "r", "expires": ends, "host": HOST}
    machine.cli_cache.unlink()
    machine.write(machine.auth_json, {"databricks": entry})


def young(machine: Machine) -> None:
    machine.clock = time.time


def relative(machine: Machine) -> None:
    machine.env["DATABRICKS_CONFIG_FILE"] = os.path.relpath(machine.config)


@pytest.mark.parametrize(
    "prepare",
    [in_the_environment, beside_a_secret, twice, escaped, about_to_end, young, relative],
    ids=lambda each: each.__name__,
)
def test_there_is_none_where_somebody_might_be_wrong(
    login: Machine, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[Machine], None]
) -> None:
    prepare(login)
    argv = ("token",) if prepare is in_the_environment else ARGV
    assert run(login, *argv, monkeypatch=monkeypatch) == 0
    assert memos(login) == []


@pytest.mark.parametrize(
    "more",
    [("-o", "json"), ("-o", "header"), ("--force-refresh",), ("--no-refresh",), ("--min-ttl", "1m"), ("--ephemeral",)],
)
def test_there_is_none_for_another_way_to_ask(
    login: Machine, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    run(login, *ARGV, *more, monkeypatch=monkeypatch)
    assert memos(login) == []


def test_there_is_none_where_somebody_else_was_asked(login: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        assert run(login, *ARGV, monkeypatch=patch) == 0
    for path in memos(login):
        path.unlink()
    monkeypatch.setattr(sys, "argv", ["dbx-auth", *ARGV])
    memo.seen.clear()
    assert cli.run(ARGV, login.world._replace(env=Seen({**login.env, "HOME": str(login.home)}))) == 0
    assert any(name in sys.modules for name in memo.OTHERS) and memos(login) == []


def test_there_is_none_after_a_warning(login: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has to be told the next time as well."""
    found = resolve.token

    def warned(profile: object, world: World, demand: object) -> Token:
        world.warn("something is odd")
        return found(profile, world, demand)  # type: ignore[arg-type]

    monkeypatch.setattr(resolve, "token", warned)
    assert run(login, *ARGV, monkeypatch=monkeypatch) == 0
    assert memos(login) == []


def test_a_library_leaves_none(login: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    memo.seen.clear()
    monkeypatch.setattr(memo, "OTHERS", ())
    assert login.run(*ARGV).code == 0
    assert memos(login) == []


def test_a_cache_that_cannot_be_written_is_no_matter(login: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    login.write(login.home / ".cache", "a file")
    assert run(login, *ARGV, monkeypatch=monkeypatch) == 0


@pytest.mark.parametrize(
    ("platform", "env", "path"),
    [
        ("linux", {}, "/h/.cache/dbx-auth/token.memo"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/dbx-auth/token.memo"),
        ("linux", {"XDG_CACHE_HOME": "x"}, "/h/.cache/dbx-auth/token.memo"),
        ("darwin", {}, "/h/Library/Caches/dbx-auth/token.memo"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/dbx-auth/Cache/token.memo"),
        ("win32", {}, "/h/AppData/Local/dbx-auth/Cache/token.memo"),
        ("linux", {"DBX_AUTH_CACHE_DIR": "~/mine"}, "/h/mine/token.memo"),
        ("darwin", {"DBX_AUTH_CACHE_DIR": "/mine"}, "/mine/token.memo"),
    ],
)
def test_it_is_among_what_may_be_thrown_away(
    monkeypatch: pytest.MonkeyPatch, platform: str, env: dict[str, str], path: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert memo._path(["token"], env, "/h") == path


# ---- whole processes -------------------------------------------------------------------------------------------------


@pytest.fixture
def warm(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose processes have left a memo."""
    machine.write(machine.config, f"[DEFAULT]\nhost = {HOST}\nauth_type = databricks-cli\n")
    machine.cached_login(HOST, access_token=TOKEN, expiry="2099-01-01T00:00:00.5+00:00")
    time.sleep(memo.SETTLED + 0.1)
    assert machine.spawn("token").out == f"{TOKEN}\n"
    assert len(memos(machine)) == 1
    yield machine


def imported(machine: Machine) -> tuple[str, str]:
    argv = [sys.executable, "-X", "importtime", "-m", "dbx_auth", "token"]
    done = subprocess.run(argv, env=machine.child_env(), capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


def test_the_second_process_imports_nothing_of_the_road(warm: Machine) -> None:
    out, modules = imported(warm)
    assert out == f"{TOKEN}\n"
    for name in ("click", "json", "typing", "dbx_auth.cli", "dbx_auth.resolve"):
        assert f" {name}\n" not in modules


def test_after_a_change_the_road_is_taken_again(warm: Machine) -> None:
    warm.cached_login(HOST, access_token="another", expiry="2099-01-01T00:00:00.5+00:00")
    out, modules = imported(warm)
    assert out == "another\n" and " dbx_auth.resolve\n" in modules
    warm.cli_cache.unlink()
    assert warm.spawn("token").code == 4


def test_a_token_that_nobody_takes_ends_it_without_a_word(warm: Machine) -> None:
    done: Any = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m dbx_auth token >&-; echo $?"],
        env=warm.child_env(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() != "0" and "Traceback" not in done.stderr


@pytest.mark.real
@pytest.mark.skipif(not shutil.which("strace"), reason="strace")
def test_every_file_that_the_road_looks_at_is_in_the_memo(warm: Machine) -> None:
    [path] = memos(warm)
    names = Kept(warm, path).files
    path.unlink()
    log = warm.home.parent / "strace.log"
    argv = ["strace", "-f", "-e", "trace=%file", "-o", str(log), sys.executable, "-m", "dbx_auth", "token"]
    subprocess.run(argv, env=warm.child_env(), check=True, capture_output=True, timeout=60)
    looked = {line.split('"')[1] for line in log.read_text().splitlines() if f'"{warm.home}/' in line}
    assert {str(name) for name in names} >= {each for each in looked if "/.cache" not in each}
