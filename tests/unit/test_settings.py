"""config.toml: what may stand in it, and that nothing in it is lost."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings as hypothesis_settings, strategies as st
from machine import HOST, OTHER, Machine

from dbx_auth import catalogue, settings
from dbx_auth.errors import AuthError, ConfigError, UsageError
from dbx_auth.profile import LARGEST

EXAMPLES = {
    "profile": ("DEV", "DEV", "__settings__"),
    "storage": ("keyring", "keyring", "vault"),
    "min_ttl": ("15m", "15m", "soon"),
    "output": ("json", "json", "yaml"),
    "color": ("never", "never", "sometimes"),
    'models."m.1".name': ("My model", "My model", "a\tb"),
    'models."m.1".family': ("claude-sonnet", "claude-sonnet", " "),
    'models."m.1".apis': ("chat, responses", ["chat", "responses"], "chat,telepathy"),
    'models."m.1".tools': ("true", True, "yes"),
    'models."m.1".reasoning': ("false", False, "0"),
    'models."m.1".input': ("text,image", ["text", "image"], ""),
    'models."m.1".context': ("200000", 200_000, "0"),
    'models."m.1".output': ("8000", 8000, "8e3"),
    'models."m.1".cost.input': ("3", 3.0, "-1"),
    'models."m.1".cost.output': ("15.5", 15.5, "nan"),
    'models."m.1".cost.cache_read': ("0", 0.0, "free"),
    f'hosts."{HOST}".base_url': ("https://gw.example.com/x/", "https://gw.example.com/x", "http://gw.example.com"),
}
"""What each setting may be (typed, and in the file), and what it may not be."""


@pytest.fixture
def file(machine: Machine) -> Path:
    return Path(settings.path(machine.world))


def said(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text())


# ---- what there is ---------------------------------------------------------------------------------------------------


def test_no_setting_is_forgotten_here() -> None:
    in_tables = {
        settings.spelled((table, {"models": "m.1", "hosts": HOST}[table], *name.split(".")))
        for table, names in settings.TABLES.items()
        for name in names
    }
    assert {str(key) for key in settings.TOP} | in_tables == EXAMPLES.keys()


def test_the_facts_of_a_model_are_those_of_the_catalogue() -> None:
    assert {name.partition(".")[0] for name in settings.TABLES["models"]} >= {"family", "apis", "tools", "reasoning"}
    known = {*catalogue.Facts._fields, *(f"cost.{name}" for name in catalogue.Cost._fields)}
    assert settings.TABLES["models"].keys() - {"name"} <= known
    assert settings.TABLES["models"]["apis"].wanted.endswith(", ".join(catalogue.APIS))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_setting_can_be_said_and_taken_back(machine: Machine, file: Path, name: str) -> None:
    typed, value, _ = EXAMPLES[name]
    before = settings.get(machine.world, name)
    assert not settings.unset(machine.world, name) and not file.exists()
    settings.put(machine.world, name, typed)
    assert settings.get(machine.world, name) == value != before
    assert settings.Item(name, value, "file") in settings.items(machine.world)
    assert file.stat().st_mode & 0o777 == 0o600
    settings.put(machine.world, name, settings.shown(value))
    assert settings.get(machine.world, name) == value, "what is shown can be typed"
    assert settings.unset(machine.world, name)
    assert settings.get(machine.world, name) == before and said(file) == {}, "the table that it was in goes with it"


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_setting_cannot_be_is_refused_and_nothing_is_written(machine: Machine, file: Path, name: str) -> None:
    with pytest.raises(UsageError) as error:
        settings.put(machine.world, name, EXAMPLES[name][2])
    assert str(error.value).startswith(f"{name} is ") and error.value.hint == "dbx-auth config list"
    assert str(error.value).isprintable() and not file.exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_setting_cannot_be_in_the_file_is_named_with_its_line(machine: Machine, file: Path, name: str) -> None:
    for wrong in ("2020-01-01", "[1]", '"\\u001b"', '""', "-1"):
        machine.write(file, f"# mine\nother = 1\n\n{name} = {wrong}  # so\n")
        with pytest.raises(ConfigError, match=r"^~/\.config/dbx-auth/config\.toml: line 4: ") as error:
            settings.get(machine.world, name)
        assert name in str(error.value) and str(error.value).isprintable()
        with pytest.raises(ConfigError, match="line 4"):
            settings.items(machine.world)
    settings.put(machine.world, name, EXAMPLES[name][0])
    assert settings.get(machine.world, name) == EXAMPLES[name][1], "and it can be put right"


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("models.gpt.context", 'models."gpt".context'),
        ("models.claude-4.5.cost.input", 'models."claude-4.5".cost.input'),
        ("models.'a b'.tools", 'models."a b".tools'),
        ('models."my.cost".input', 'models."my.cost".input'),
        (f"hosts.{HOST}.base_url", f'hosts."{HOST}".base_url'),
        (f"hosts.'{HOST.upper()}/'.base_url", f'hosts."{HOST}".base_url'),
        ("hosts.dev.cloud.databricks.com.base_url", f'hosts."{HOST}".base_url'),
    ],
)
def test_a_shell_may_have_taken_the_quotes(typed: str, key: str) -> None:
    assert str(settings.key(typed)) == key


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("profil", "profile"),
        ("min-ttl", "min_ttl"),
        ("COLOUR", "color"),
        ("storge", "storage"),
        ("models.gpt.contxt", 'models."gpt".context'),
        ("models.gpt", None),
        (f"hosts.{HOST}.url", f'hosts."{HOST}".base_url'),
        ("hosts.https://me:canary@x.cloud.databricks.com.base_url", None),
        ("zzzzzzzz", ""),
        ("token", ""),
        ("", ""),
        ("\x1b[1m", ""),
        ("profile\n", "profile"),
        ("profile.x", None),
        ('models."a\tb".tools', None),
        ("models.a\"b'.tools", None),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(machine: Machine, typed: str, near: str | None) -> None:
    for call in (
        lambda: settings.get(machine.world, typed),
        lambda: settings.put(machine.world, typed, "canary"),
        lambda: settings.unset(machine.world, typed),
    ):
        with pytest.raises(UsageError, match="^there is no setting") as error:
            call()
        assert str(error.value).isprintable() and "canary" not in str(error.value)
        assert error.value.hint == "dbx-auth config list"
        if near is not None:
            assert str(error.value).partition("; did you mean ")[2] == (near and f"{near}?")


@pytest.mark.parametrize(
    "url", ["https://me:secret@gw.example.com", "https://gw.example.com?key=secret", "https://x/#secret", "secret://x"]
)
def test_an_address_that_may_hold_a_secret_is_not_repeated(machine: Machine, file: Path, url: str) -> None:
    name = f'hosts."{HOST}".base_url'
    with pytest.raises(UsageError) as error:
        settings.put(machine.world, name, url)
    assert "secret" not in str(error.value)
    machine.write(file, f'{name} = "{url}"\n')
    with pytest.raises(ConfigError) as damaged:
        settings.base_url(machine.world, HOST)
    assert "secret" not in str(damaged.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(900, 900), (0.5, 0.5), ("900", 900), ("90s", 90), (" 15m ", 900), ("2h", 7200), ("1.5h", 5400), (0, 0)],
)
def test_a_duration_is_a_number_or_has_a_unit(value: object, seconds: float) -> None:
    assert settings.seconds(value) == seconds


@pytest.mark.parametrize("value", [True, None, [], "", "m", "15 min", "-1", -1, "nan", "inf", 10**9, "1e400", "١٥d"])
def test_anything_else_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError):
        settings.seconds(value)


# ---- what the others ask ---------------------------------------------------------------------------------------------


def test_without_a_file_everything_has_its_default(machine: Machine, file: Path) -> None:
    world = machine.world
    assert settings.read(world) == {} == settings.models(world)
    assert (settings.storage(world), settings.output(world), settings.color(world)) == ("file", "text", "auto")
    assert settings.min_ttl(world) is None and settings.base_url(world, HOST) == ""
    assert [item.key for item in settings.items(world)] == [str(key) for key in settings.TOP]
    assert machine.files() == {}, "and asking leaves nothing behind"


def test_what_the_file_says_is_what_they_get(machine: Machine, file: Path) -> None:
    machine.write(
        file,
        f"""
storage = "keyring"
min_ttl = "10m"
output = "json"
color = "always"
hosts."{HOST.upper()}/".base_url = "https://gw.example.com/"
models.mine = {{ family = "gpt-5", new_fact = 1 }}
models.empty = {{}}
""",
    )
    world = machine.world
    assert (settings.storage(world), settings.output(world), settings.color(world)) == ("keyring", "json", "always")
    assert settings.min_ttl(world) == 600
    assert settings.base_url(world, HOST) == "https://gw.example.com" and settings.base_url(world, OTHER) == ""
    assert settings.models(world) == {"mine": {"family": "gpt-5", "new_fact": 1}, "empty": {}}
    machine.env["NO_COLOR"] = "1"
    assert settings.color(machine.world) == "never"


def test_what_is_wrong_elsewhere_stops_nobody(machine: Machine, file: Path) -> None:
    machine.write(file, 'min_ttl = "soon"\nprofile = 3\nstorage = "keyring"\nmodels.x.tools = "perhaps"\n')
    assert settings.storage(machine.world) == "keyring"
    with pytest.raises(ConfigError, match="line 1: min_ttl is a duration .*, not 'soon'"):
        settings.min_ttl(machine.world)
    with pytest.raises(ConfigError, match='line 4: models."x".tools is true or false'):
        settings.models(machine.world)
    settings.put(machine.world, "color", "never")
    assert settings.color(machine.world) == "never"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\nmodels = 3", "line 2: models is a table, not '3'"),
        ('[models]\n"a" = "b"', 'line 2: models."a" is a table'),
        ("[[hosts]]\nx = 1", "line 1: hosts is a table"),
        ("[models.a]\n\ncost = 1", 'line 3: models."a".cost is a table'),
        ("[hosts.'not a host']\nbase_url = 'https://x.y'", "'not a host' is not a host"),
        ("[hosts.'https://me:canary@x.y']\nbase_url = 'https://x.y'", "'https://***@x.y' is not a host"),
        ("[models.a]\napis = [\n  'chat',\n  'x',\n]", 'line 2: models."a".apis is one or several of'),
        ("models = { a = { tools = 1 } }", 'line 1: models."a".tools is true or false'),
        ("y = '''\nmin_ttl\n'''\n'min_ttl' = 'x'", "line 4: min_ttl is a duration"),
    ],
)
def test_a_table_that_is_none_is_named(machine: Machine, file: Path, text: str, line: str) -> None:
    machine.write(file, text)
    with pytest.raises(ConfigError) as error:
        settings.items(machine.world)
    assert line in str(error.value) and error.value.hint == "dbx-auth config edit"
    assert "canary" not in str(error.value)


def test_what_we_do_not_know_is_told_and_may_stay(machine: Machine, file: Path) -> None:
    machine.write(file, 'outptu = "json"\n[models.a]\ncontxt = 1\n[theirs]\ndeep = { er = 1 }\n')
    name = "~/.config/dbx-auth/config.toml"
    assert settings.unknown(machine.world) == [
        f"{name}: line 1: there is no setting outptu; did you mean output?",
        f'{name}: line 3: there is no setting models."a".contxt; did you mean models."a".context?',
        f"{name}: line 5: there is no setting theirs.deep.er",
    ]
    assert len(settings.items(machine.world)) == len(settings.TOP)
    assert settings.unset(machine.world, "outptu") and len(settings.unknown(machine.world)) == 2


# ---- a file that cannot be understood --------------------------------------------------------------------------------

DAMAGED: list[tuple[str | bytes, str]] = [
    ("profile = ", "line 1"),
    ("a = 1\nb = [", "line 2"),
    ("a = 1\n\nb = '''\n", "line 3"),
    ("a = 1\nb = 2\na = 3\n", "line 3"),
    ("a = 1\n[a]\n", "line 2"),
    (b"a = 1\nb = '\xff'\n", "line 2"),
    (b"a = 1\n\x00\n", "line 2"),
    ("a = 1\nb\x1b[31m = 2", "line 2"),
    ("{}", "line 1"),
    ("a = 1\nd = 2026-13-45\n", "line 2"),
    ("x = " + "[" * 100_000, "nested too deeply"),
    (b"x" * (LARGEST + 1), "larger than"),
]


@pytest.mark.parametrize(("text", "where"), DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_named_with_its_line_and_left(
    machine: Machine, file: Path, text: str | bytes, where: str
) -> None:
    machine.write(file, text)
    before = machine.files()
    for call in (
        lambda: settings.read(machine.world),
        lambda: settings.items(machine.world),
        lambda: settings.get(machine.world, "color"),
        lambda: settings.put(machine.world, "color", "never"),
        lambda: settings.unset(machine.world, "color"),
    ):
        with pytest.raises(ConfigError, match=r"^~/\.config/dbx-auth/config\.toml is ") as error:
            call()
        assert where in str(error.value) and str(error.value).isprintable()
    assert machine.files() == before


def test_names_that_lie_too_deep_are_no_mistake_of_ours(machine: Machine, file: Path) -> None:
    machine.write(file, "x = 1\n" + ".".join("a" * 3000) + " = 1\n")
    for call in (settings.items, settings.unknown, settings.models):
        with pytest.raises(ConfigError, match="nested too deeply"):
            call(machine.world)
    with pytest.raises(ConfigError):
        settings.put(machine.world, "color", "never")


def test_behind_a_value_of_many_lines_the_line_is_still_known(machine: Machine, file: Path) -> None:
    for lines in (settings.LONGEST - 10, settings.LONGEST * 3 + 7):
        machine.write(file, "x = [\n" + "  1,\n" * lines + ']\n\n[models.a]\ntools = "perhaps"\n')
        with pytest.raises(ConfigError, match=f"line {lines + 5}: "):
            settings.items(machine.world)


def test_a_file_that_may_not_be_read_is_named(machine: Machine, file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.read(machine.world)


@pytest.mark.parametrize("text", ["models = 3\n", "[[models]]\nx = 1\n"])
def test_what_cannot_be_changed_by_itself_is_left_for_a_person(machine: Machine, file: Path, text: str) -> None:
    machine.write(file, text)
    with pytest.raises(ConfigError, match='does not let models."b".context be changed by itself') as error:
        settings.put(machine.world, "models.b.context", "1")
    assert error.value.hint == "dbx-auth config edit" and file.read_text() == text


def test_a_writer_of_toml_that_errs_changes_nothing(
    machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'profile = "A"\nkept = 1\n'
    for wrong in ('profile = "B"\n', 'profile = "A"\nkept = 1\ncolor = "never"\n', "profile = "):
        machine.write(file, text)
        monkeypatch.setattr(settings, "changed", lambda *_, wrong=wrong: wrong)
        with pytest.raises(ConfigError, match="be changed by itself"):
            settings.put(machine.world, "profile", "B")
        assert file.read_text() == text
    monkeypatch.setattr(settings, "_is_just_that", lambda *_: True)
    settings.put(machine.world, "profile", "B")
    assert file.read_text() == "profile = ", "without the second reader the file would be lost"


# ---- nothing is lost -------------------------------------------------------------------------------------------------

MINE = """\
# What I want.  ünïcode

profile = "DEV"          # the one at work
[theirs]                 # not ours
when = 2026-01-02T03:04:05Z
list = [ 1, # one
  2 ]

    [models."m.1"]       # indented
    context = 1_000      # a guess
# the end
"""


def test_comments_order_blanks_and_what_we_do_not_know_survive(machine: Machine, file: Path) -> None:
    machine.write(file, MINE)
    settings.put(machine.world, "profile", "PROD")
    settings.put(machine.world, "models.m.1.context", "2000")
    assert file.read_text() == MINE.replace('"DEV" ', '"PROD" ').replace("1_000 ", "2000 ")
    settings.put(machine.world, "color", "never")
    assert set(MINE.splitlines()[3:]) - set(file.read_text().splitlines()) == {"    context = 1_000      # a guess"}
    settings.unset(machine.world, "models.m.1.context")
    assert "# the end" in file.read_text(), "a table that holds a comment stays"


def test_the_ends_of_lines_are_those_of_the_file(machine: Machine, file: Path) -> None:
    machine.write(file, b'profile = "A" # x\r\n[b]\r\nc = 1\r\n')
    settings.put(machine.world, "color", "never")
    settings.put(machine.world, "models.x.context", "1")
    assert b"# x\r\n" in file.read_bytes() and file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


def test_a_value_that_is_there_already_is_not_written(machine: Machine, file: Path) -> None:
    settings.put(machine.world, "color", "never")
    before = file.stat()
    settings.put(machine.world, "color", "never")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_stays_a_link(machine: Machine, file: Path, tmp_path: Path) -> None:
    real = machine.write(tmp_path / "dotfiles" / "dbx.toml", '# mine\nprofile = "A"\n')
    file.parent.mkdir(parents=True)
    file.symlink_to(real)
    settings.put(machine.world, "profile", "B")
    settings.put(machine.world, "models.x.context", "1")
    assert file.is_symlink() and said(real)["profile"] == "B" and real.read_text().startswith("# mine\n")


TOP_LINES = [
    "# a comment",
    "",
    'profile = "A" # c',
    "min_ttl = 900",
    "other = 1 # o",
    "'quoted key' = [1, 2,\n 3]",
    "x.y = 1",
]
HEADERS = [
    "[models.a] # h",
    '[models."b.c"]',
    f'[hosts."{HOST}"]',
    "[theirs]",
    "[theirs.deeper]",
    "[[rows]]",
    "[[rows]]",
]
INSIDE = [
    "# inside",
    "",
    "context = 5 # c",
    "cost = { input = 1.5, output = 2 }",
    "note = '''\n# no comment\n'''",
    "z = nan",
]


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A file that people may have written."""
    lines = draw(st.lists(st.sampled_from(TOP_LINES), unique=True))
    for header in draw(st.lists(st.sampled_from(HEADERS), unique_by=lambda h: h if "[[" not in h else object())):
        lines += [header, *draw(st.lists(st.sampled_from(INSIDE), unique=True))]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


def flat(table: dict[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for name, value in table.items():
        found |= flat(value, (*above, name)) if isinstance(value, dict) and value else {(*above, name): repr(value)}
    return found


@hypothesis_settings(deadline=None, max_examples=300)
@given(text=documents(), name=st.sampled_from(sorted(EXAMPLES) + ["models.a.context", "models.b.c.cost.input"]))
def test_a_change_changes_one_thing(text: str, name: str) -> None:
    typed = EXAMPLES.get(name, ("7",))[0]
    wanted = settings.key(name)
    value = settings.value_of(wanted, typed)
    before = flat(tomllib.loads(text))
    new = settings.changed(text, wanted.path, value)
    if tomlkit.dumps(tomlkit.parse(text)) != text:
        assert new == text, "what cannot even be copied is left alone"
        return
    assert settings._is_just_that(text, new, wanted.path, value)
    after = flat(tomllib.loads(new))
    assert after.pop(wanted.path) == repr(value)
    before.pop(wanted.path, None)
    gone = {place for place in before.keys() - after.keys() if wanted.path[: len(place)] != place}
    assert not gone and all(before[place] == after[place] for place in before.keys() & after.keys())
    assert after.keys() <= before.keys()
    comments = [line for line in text.split("\n") if line.startswith("#")]
    assert [line for line in new.split("\n") if line.startswith("#")] == comments
    back = settings.changed(new, wanted.path, None)
    assert settings._is_just_that(new, back, wanted.path, None)
    assert [line for line in back.split("\n") if line.startswith("#")] == comments


TWO_AT_ONCE = """
import sys, time
from contextlib import nullcontext
from dbx_auth import settings, store
from dbx_auth.world import World
if "unlocked" in sys.argv:
    store.JsonFile.locked = lambda self: nullcontext()
change = settings.changed
def slowly(*args):
    print("read", flush=True)
    time.sleep(0.5)
    return change(*args)
settings.changed = slowly
print("ready", flush=True)
sys.stdin.readline()
settings.put(World.system(), sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize(("how", "kept"), [("locked", 2), ("unlocked", 1)])
def test_two_processes_that_set_at_once_lose_nothing(machine: Machine, file: Path, how: str, kept: int) -> None:
    """And without the lock the slower one writes over the other."""
    machine.write(file, "# mine\n")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_AT_ONCE, *change, how],
            env=machine.child_env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for change in (("profile", "DEV"), ("color", "never"))
    ]
    for child in children:
        assert child.stdout and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
        assert child.returncode == 0
    assert len(said(file)) == kept and file.read_text().startswith("# mine\n")


def test_a_file_that_cannot_be_written_is_as_it_was(
    machine: Machine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write(file, MINE)

    def full(path: str, data: bytes) -> None:
        raise ConfigError(f"{path} cannot be written: No space left on device", hint="make room")

    monkeypatch.setattr("dbx_auth.files.write_private", full)
    with pytest.raises(AuthError, match="No space left"):
        settings.put(machine.world, "color", "never")
    assert file.read_text() == MINE


# ---- on the way of a token -------------------------------------------------------------------------------------------

LOADED = """
import sys
from dbx_auth import profile
from dbx_auth.world import World
name = profile.preferred_profile(World.system())
heavy = ("dbx_auth.settings", "tomllib", "tomlkit", "keyring", "filelock", "difflib")
print(name, *[module for module in heavy if module in sys.modules])
"""


@pytest.mark.parametrize(
    ("text", "loaded"), [(None, ""), ("", ""), ('profile = "DEV"\n', "DEV dbx_auth.settings tomllib")]
)
def test_a_token_loads_what_reads_the_file_only_where_there_is_one(
    machine: Machine, file: Path, text: str | None, loaded: str
) -> None:
    if text is not None:
        machine.write(file, text)
    env = machine.child_env()
    done = subprocess.run([sys.executable, "-c", LOADED], env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == (loaded, "")


def test_a_key_can_be_pasted_into_a_shell() -> None:
    for name in EXAMPLES:
        assert str(settings.key(shlex.split(name)[0])) == name, "even where the shell takes the quotes"
