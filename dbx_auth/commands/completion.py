"""dbx-auth completion: the script that makes a shell complete our verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  dbx-auth completion bash > ~/.local/share/bash-completion/completions/dbx-auth
    zsh:   dbx-auth completion zsh > "${fpath[1]}/_dbx-auth"
    fish:  dbx-auth completion fish > ~/.config/fish/completions/dbx-auth.fish
    """
    click.echo(script(shell), nl=False)


def script(shell: str) -> str:
    """The script of a shell; it asks `dbx-auth` itself for the words, so it never ages."""
    from dbx_auth.cli import cli

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover  click knows all three
        raise LookupError(shell)
    return kind(cli, {}, "dbx-auth", "_DBX_AUTH_COMPLETE").source().strip() + "\n"
