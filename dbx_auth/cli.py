"""The command line: a group that imports each verb when it is called, and the one place where errors end.

Exit codes are those of `errors`. What a program reads goes to stdout, what a person reads to stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from . import __version__, offers, output
from .commands import TOKEN, Group, offered
from .errors import AuthError, Refused, UsageError, mistake
from .profile import Flags
from .world import Ended, World, asked_to_end, end_in_order, tell

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VERBS = {
    "login": "Log in, and keep the credential.",
    "status": "Who you are, through which source, until when, and why.",
    "token": "Print one fresh token.",
    "models": "List the models that the workspace serves.",
    "logout": "Forget our login for a host, or all of them.",
    "profiles": "List the profiles of .databrickscfg.",
    "config": "Show and change our own settings.",
    "auth": "Do as `databricks auth` does.",
    "env": "Print a fresh token as variables of a shell.",
    "exec": "Run a command with a fresh token.",
    "doctor": "Look for what is wrong on this machine, and say what to do.",
    "serve": "Serve a gateway on loopback that any client can call.",
    "setup": "Let a client get a fresh token by itself.",
    "helper": "Answer other programs as a credential helper.",
    "completion": "Print the completion script of a shell.",
    "sandbox": "Serve an emulated workspace on loopback.",
}

COMPLETE = "_DBX_AUTH_COMPLETE"
"""The variable in which a completion script says for which shell it asks."""


class Verbs(Group):
    """Each verb is the function of that name in the module of that name; it is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(importlib.import_module(f"dbx_auth.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The options, and the verbs without importing any."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(verb, help=does) for verb, does in VERBS.items() if verb.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=Verbs,
    examples=("dbx-auth login https://adb-1.2.azuredatabricks.net", "dbx-auth status"),
    reads=TOKEN,
    exits=(4, 5, 6),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-p", "--profile", metavar="NAME", help="Profile of .databrickscfg.", shell_complete=offered(offers.profiles)
)
@click.option(
    "--host",
    metavar="URL",
    help="Workspace, such as https://adb-1.2.azuredatabricks.net.",
    shell_complete=offered(offers.hosts),
)
@click.option("--account-id", metavar="ID", help="Databricks account.")
@click.option("-v", "--verbose", count=True, help="Tell on stderr what is tried, and why; -vv each request and file.")
@click.version_option(__version__, message="dbx-auth %(version)s")
@click.pass_context
def cli(ctx: click.Context, profile: str | None, host: str | None, account_id: str | None, verbose: int) -> None:
    """A fresh Databricks token for every program on this machine."""
    ctx.obj = ctx.obj or World.terminal(verbose=verbose)
    ctx.meta["flags"] = Flags(profile or "", host or "", account_id or "")


def run(argv: Sequence[str], world: World | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong ends here as a message."""
    try:
        return int(cli.main(args=list(argv), prog_name="dbx-auth", standalone_mode=False, obj=world) or 0)
    except (click.Abort, KeyboardInterrupt):
        return _interrupted(asked_to_end() or 2)
    except Ended as signal:
        return _interrupted(signal.number)
    except Exception as error:
        if number := asked_to_end():  # a C module that is interrupted while it is loaded raises ImportError
            return _interrupted(number)
        return _failed(error, argv)


def _interrupted(number: int) -> int:
    tell("dbx-auth: interrupted")
    return 128 + number


def _failed(error: Exception, argv: Sequence[str]) -> int:
    match error:
        case AuthError():
            return _tell(error, argv)
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            return error.exit_code
        case click.UsageError():
            hint = f"{error.ctx.command_path} --help" if error.ctx else "dbx-auth --help"
            return _tell(UsageError(" ".join(error.format_message().split()).rstrip("."), hint=hint), argv)
        case BrokenPipeError():
            return 1  # the reader has gone, and with it everybody who could be told
        case OSError():
            why = error.strerror or str(error)
            if error.filename:
                return _tell(Refused(f"{error.filename} cannot be used: {why}", hint="dbx-auth doctor"), argv)
            return _tell(Refused(f"cannot write the output: {why}", hint="look where stdout goes"), argv)
    return _tell(mistake(error), argv)


def _tell(error: AuthError, argv: Sequence[str]) -> int:
    if _wants_json(argv):
        with contextlib.suppress(OSError):
            click.echo(output.failure(error))
    tell(f"dbx-auth: {error}")
    tell(f"hint: {error.hint}")
    return error.exit_code


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether the caller reads JSON. Asked of argv itself, because what went wrong may be the parsing of it."""
    end = next((number for number, word in enumerate(argv) if word in ("--", "exec")), len(argv))
    ours = argv[:end]  # what is behind it is another program's
    words = " ".join(ours).replace("=", " ").split()
    return any(pair in (("-o", "json"), ("--output", "json")) for pair in zip(words, words[1:], strict=False)) or (
        "-ojson" in words
    )


def main() -> NoReturn:
    if sys.stdout is None:  # started with >&-
        sys.stdout = open(os.devnull, encoding="utf-8")  # to read from, so that writing a token to it is an error
    elif isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the locale cannot spell is no reason to fail; and to a shell of Windows, \r is part of a token.
        sys.stdout.reconfigure(errors="backslashreplace", newline="\n")
    end_in_order()
    if asked := World.terminal().env.get(COMPLETE):
        from .commands.completion import answer

        code = answer(asked, World.terminal())
    else:
        code = run(sys.argv[1:])
    with contextlib.suppress(OSError, AttributeError):
        sys.stdout.flush()
    # Taking the interpreter down costs 7 of the 45 ms that a cached token takes, and nothing of ours waits for it.
    os._exit(code)
