"""dbx-auth sandbox: an emulated workspace on loopback, to try everything without a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dbx_auth.errors import ConfigError
from dbx_auth.world import tell

from . import Duration, Verb

if TYPE_CHECKING:
    from dbx_auth.sandbox import Kind, Sandbox

KINDS: tuple[Kind, ...] = ("workspace", "account", "unified")


@click.command(
    cls=Verb,
    examples=("dbx-auth sandbox", "dbx-auth sandbox --kind unified --port 0 --token-ttl 90s"),
    exits=(5,),
)
@click.option("--kind", type=click.Choice(KINDS), default="workspace", show_default=True, help="What it emulates.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes any free one.")
@click.option("--auto-approve", is_flag=True, help="Do not ask for consent in the browser.")
@click.option("--token-ttl", type=Duration(), default="1h", show_default=True, help="Life of an access token.")
def sandbox(kind: Kind, port: int, auto_approve: bool, token_ttl: float) -> None:
    """Serve an emulated workspace on loopback until Ctrl-C. It is not Databricks, and says so on every page.

    A workspace also plays login.databricks.com; an account is an account console; unified is a host that serves an
    account and its workspaces under one name.
    """
    try:
        from dbx_auth.sandbox import Sandbox

        server = Sandbox(kind=kind, port=port, auto_approve=auto_approve, token_ttl=token_ttl)
        server.start()
    except ImportError as error:
        raise ConfigError("the sandbox is not installed", hint="pip install 'dbx-auth[sandbox]'") from error
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error.strerror}", hint="dbx-auth sandbox --port 0") from error
    click.echo(server.url)
    emulated = {"account": "account console", "unified": "unified host"}.get(kind, kind)
    tell(f"an emulated {emulated}; this is not Databricks, and nothing leaves this machine. Try:")
    for line in _to_try(server):
        tell(f"  {line}")
    server.serve_forever()


def _to_try(server: Sandbox) -> list[str]:
    """A command for each way to log in; an account console takes no personal access token."""
    where = {
        "workspace": server.url,
        "account": f"{server.url} --account-id {server.account_id}",
        "unified": f"'{server.url}/?o={server.workspace_id}'",
    }[server.kind]
    browser = f"dbx-auth login {where}"
    pat = f"echo {server.pat} | dbx-auth login {where} --with-token"
    m2m = f"printf '%s\\n' {server.client_id} {server.client_secret} | dbx-auth login {where} --method m2m"
    return [browser, m2m] if server.kind == "account" else [browser, pat, m2m]
