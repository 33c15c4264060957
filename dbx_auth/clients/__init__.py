"""The clients that `setup` knows: one module each, which declares what the client needs and nothing else.

A client that runs a helper is told to run `dbx-auth token`. One that cannot is pointed at the gateway of
`dbx-auth serve`, which has one address and one key for all of them. One that keeps its settings in a program, in YAML
or in a shell gets text to paste.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dbx_auth.profile import Flags
from dbx_auth.world import World

if TYPE_CHECKING:
    from dbx_auth.models import Model

ORDER = (
    "claude-code",
    "codex",
    "opencode",
    "pi",
    "gemini-cli",
    "litellm",
    "aider",
    "continue",
    "zed",
    "openai-python",
    "databricks-sdk",
    "terraform",
    "dbt",
    "curl",
    "direnv",
    "mcp",
)
"""Their names, which with an underscore are those of their modules."""

PORT = 8788
"""Where the gateway listens for the clients that are set up for it."""

GATEWAY = f"http://127.0.0.1:{PORT}"

KEPT_MS = 240_000
"""Milliseconds that a client may use a token again: `dbx-auth token` hands it out with five minutes left."""


NEW_MODELS = "the models are those that dbx-auth models listed last: run both again when there are others"
"""For who is set up with a list of them."""


class Setup(NamedTuple):
    """For whom a client is set up: how dbx-auth is started, whose token it is to give, and for which host.

    `program` are the words that start dbx-auth, the first an absolute path; `options` say whose token, as
    `--profile NAME` does. `key` is that of the gateway, `***` where it is not to be seen or there is none yet; `named`
    is what a person said, empty where this is what applies without a word.
    """

    world: World
    host: str
    program: tuple[str, ...]
    options: tuple[str, ...]
    profile: str = ""
    key: str = "***"
    named: Flags = Flags()

    def argv(self, verb: str, *words: str) -> list[str]:
        """The words of a command of ours; the options come behind the verb, which may be of two words."""
        return [*self.program, *verb.split(), *self.options, *words]

    def shell(self, verb: str, *words: str) -> str:
        """The same for the shell that a client hands commands to."""
        return quoted(self.argv(verb, *words), self.world.platform)

    @property
    def serving(self) -> str:
        """Where model calls go, without a slash at the end."""
        from dbx_auth import calling

        return calling.base(self.host, self.world).serving

    @property
    def key_file(self) -> str:
        return os.path.join(self.world.config_dir, "gateway.key")

    @property
    def key_in_shell(self) -> str:
        """What a POSIX shell replaces by the key of the gateway."""
        return f"$(cat {quoted([self.key_file], self.world.platform)})"

    @property
    def serve(self) -> str:
        """What starts the gateway that clients are pointed at."""
        return self.shell("serve", "--port", str(PORT), "--key-file", self.key_file)

    @property
    def models(self) -> list[Model]:
        """What a chat client can rely on, of what the workspace was seen to serve, or else of what is known."""
        from dbx_auth import models

        seen = models.last_seen(self.host, self.world)
        return models.select(seen or models.offline(self.host, self.world).models)


class File(NamedTuple):
    """A file that a client reads: where it is, its format, and what is to stand in it, tables as dictionaries.

    `sign` is the key that says whose credentials the client uses, whoever wrote it.
    """

    path: Callable[[World], str]
    format: str
    wanted: Callable[[Setup], dict[str, Any]]
    sign: tuple[str, ...]


class Snippet(NamedTuple):
    """Text to paste."""

    text: Callable[[Setup], str]


class Program(NamedTuple):
    """A program of ours that a client runs: how it is put at `place` and taken away, and text to paste that names it.

    `install` returns the path, and `uninstall` whether there was anything.
    """

    place: Callable[[World], str]
    is_there: Callable[[World], bool]
    install: Callable[[Setup], str]
    uninstall: Callable[[World], bool]
    text: Callable[[Setup], str]


class Client(NamedTuple):
    """What `setup` knows of a client.

    `programs` are executables of which any shows that it is installed; `shadows` are variables of the environment that
    win over what is set up; `needs_gateway` says that it calls `dbx-auth serve`; `by_hand` is what is left for a
    person to do.
    """

    title: str
    what: File | Program | Snippet
    programs: tuple[str, ...] = ()
    shadows: tuple[str, ...] = ()
    needs_gateway: bool = False
    by_hand: Callable[[Setup], Sequence[str]] = lambda setup: ()


def module_of(name: str) -> str:
    """The name of the module of a client; a word of Python has one underscore more."""
    from keyword import iskeyword

    word = name.replace("-", "_")
    return f"{word}_" if iskeyword(word) else word


def load(name: str) -> Client:
    client: Client = importlib.import_module(f"{__name__}.{module_of(name)}").CLIENT
    return client


def folder(world: World, variable: str, below_home: str) -> str:
    """The directory that a variable names, else one below home."""
    return world.expand(world.env.get(variable) or os.path.join("~", below_home))


def quoted(words: Sequence[str], platform: str) -> str:
    """A command line, for POSIX shells, or for those that a program may find on Windows.

    There cmd wants quotes around a path with slashes, and a shell of Git would take backslashes away.
    """
    import shlex

    if platform != "win32":
        return shlex.join(words)
    first, *rest = words
    return " ".join([f'"{_slashed(first)}"', *(_for_windows(word) for word in rest)])


def _slashed(path: str) -> str:
    return path.replace("\\", "/")


def _for_windows(word: str) -> str:
    word = _slashed(word) if re.match(r"[A-Za-z]:\\", word) else word
    return word if re.fullmatch(r"[\w./:@%+,=-]+", word) else '"' + word.replace('"', '\\"') + '"'
