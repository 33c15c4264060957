"""dbx-auth serve: a gateway on loopback for clients that cannot get a fresh token, or the right API, by themselves."""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import click

from dbx_auth.errors import ConfigError
from dbx_auth.profile import Flags
from dbx_auth.world import World, is_running, many_files, tell, without_query

from . import TOKEN, Verb, identity, need_gateway

if TYPE_CHECKING:
    from dbx_auth.gateway import Server
    from dbx_auth.gateway.relay import Served


@click.command(
    cls=Verb,
    examples=(
        "dbx-auth serve",
        "dbx-auth serve -p DEV --port 8788 --key-file ~/.config/dbx-auth/gateway.key",
        "dbx-auth serve --metadata --parent $$ &",
    ),
    reads=(*TOKEN, "key"),
    exits=(4, 5, 6),
)
@identity
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0, the default, takes any free one.")
@click.option(
    "--key-file", type=click.Path(), help="Keeps the key from one start to the next; made if it is not there."
)
@click.option("--metadata", is_flag=True, help="Serve tokens to the Databricks SDKs and Terraform as well.")
@click.option("--parent", type=click.IntRange(1), metavar="PID", help="End when that process has ended.")
@click.option("--quiet", is_flag=True, help="No line for each request.")
def serve(
    world: World, flags: Flags, port: int, key_file: str | None, metadata: bool, parent: int | None, quiet: bool
) -> None:
    """Serve a gateway on loopback that any client can call.

    It speaks OpenAI's Chat Completions and Responses, Anthropic's Messages and Google's generateContent, translates
    where a model speaks another API, and sends each request with a fresh token, until Ctrl-C. Clients show the key that
    is printed, or the one of DBX_AUTH_GATEWAY_KEY.
    """
    need_gateway()
    from dbx_auth.credentials import Credentials
    from dbx_auth.gateway import Server

    credentials = Credentials.of(flags, world)
    told = None if quiet or not _is_shown() else _line
    key, origin = _key(world, key_file)
    server = Server(credentials, port=port, key=key, metadata=metadata, told=told)
    token = credentials.token()  # a gateway that cannot get one is of no use to anybody
    world.harden()
    many_files()
    try:
        server.start()
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error.strerror}", hint="dbx-auth serve --port 0") from error
    # What was made until now stays: it is not looked through again each time that 700 more objects were made.
    gc.freeze()
    gc.set_threshold(10_000)

    def ready() -> None:
        click.echo(server.url)
        sys.stdout.flush()
        tell(f"a gateway to {token.host}, as {token.auth_type} ({token.origin}); it listens on this machine alone")
        for line in _to_try(server, origin):
            tell(f"  {line}")

    server.serve_forever((lambda: is_running(parent)) if parent else (lambda: True), ready)


def _is_shown() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _key(world: World, path: str | None) -> tuple[str, str]:
    """The key, empty where one is to be made, and where it is from. Raises ConfigError for a file that has none."""
    from dbx_auth.gateway import key

    if path:
        return key.made(os.path.abspath(world.expand(path)), world), path
    return world.env.get(key.NAME, ""), key.NAME if world.env.get(key.NAME) else ""


def _to_try(server: Server, origin: str) -> list[str]:
    """What clients are to be told; the key itself only where nobody else has it."""
    lines = [
        f"OpenAI clients: OPENAI_BASE_URL={server.url}/v1",
        f"Anthropic clients: ANTHROPIC_BASE_URL={server.url}",
        f"Google clients: GOOGLE_GEMINI_BASE_URL={server.url}",
        f"their key: {server.key}" if not origin else f"their key: that of {origin}",
    ]
    if server.metadata_url:
        lines.append(f"Databricks SDKs, Terraform: export DATABRICKS_METADATA_SERVICE_URL={server.metadata_url}")
    return lines


def _line(served: Served) -> None:
    """One request, when it is over."""
    done = ", ".join(filter(None, (served.way, *served.fixes)))
    words = (
        str(served.status or "gone"),
        served.method,
        without_query(served.path),
        served.model,
        f"{served.seconds * 1000:.0f} ms",
        done and f"({done})",
    )
    tell(" ".join(filter(None, words)))
