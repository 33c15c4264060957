"""dbx-auth sandbox: an emulated workspace on loopback, to try everything without a workspace."""

from __future__ import annotations

import click

from dbx_auth.errors import ConfigError
from dbx_auth.world import tell

from . import Duration


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes any free one.")
@click.option("--auto-approve", is_flag=True, help="Do not ask for consent in the browser.")
@click.option("--token-ttl", type=Duration(), default="1h", show_default=True, help="Life of an access token.")
def sandbox(port: int, auto_approve: bool, token_ttl: float) -> None:
    """Serve an emulated workspace on loopback until Ctrl-C. It is not Databricks, and says so on every page."""
    try:
        from dbx_auth.sandbox import Sandbox

        server = Sandbox(port=port, auto_approve=auto_approve, token_ttl=token_ttl)
        server.start()
    except ImportError as error:
        raise ConfigError("the sandbox is not installed", hint="pip install 'dbx-auth[sandbox]'") from error
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error.strerror}", hint="dbx-auth sandbox --port 0") from error
    click.echo(server.url)
    tell("an emulated workspace; this is not Databricks, and nothing leaves this machine. Try:")
    tell(f"  dbx-auth login {server.url}")
    tell(f"  echo {server.pat} | dbx-auth login {server.url} --with-token")
    tell(f"  printf '%s\\n' {server.client_id} {server.client_secret} | dbx-auth login {server.url} --method m2m")
    server.serve_forever()
