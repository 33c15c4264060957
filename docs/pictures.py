"""Draw docs/status.svg and docs/models.svg: what the two look like on a terminal, from the real commands' own pages."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from dbx_auth import models, profile, resolve
from dbx_auth.commands import models as models_command, status as status_command
from dbx_auth.sandbox import Sandbox
from dbx_auth.store import AuthJson
from dbx_auth.world import World

HERE = Path(__file__).parent

# The picture brings no font along and fetches none: a README should not make its reader's browser call anybody.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def draw(name: str, command: str, page: Any) -> None:
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ " + command, style="bold"))
    console.print(page)
    console.save_svg(str(HERE / f"{name}.svg"), title="dbx-auth", code_format=FORMAT, unique_id=f"dbx-auth-{name}")


def main() -> None:
    with tempfile.TemporaryDirectory() as home, Sandbox(port=8787) as sandbox:
        world = World(env={}, home=home)
        login = sandbox.add_login()
        fields = {"access": login.access_token, "refresh": login.refresh_token, "expires": login.expires_at * 1000}
        AuthJson(world).login({"type": "oauth", "host": sandbox.url, **fields})
        settings = profile.load(world)
        draw("status", "dbx-auth status", status_command.page(status_command.report(settings, world)))
        token = resolve.token(settings, world)
        listing = models.listing(token.host, token.subject, token.headers, world)
        shown = models.select(listing.models)
        draw("models", "dbx-auth models", models_command.table(shown))


if __name__ == "__main__":
    main()
