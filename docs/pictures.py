"""Draw docs/status.svg and docs/models.svg: what the two look like on a terminal, from the real commands' own pages.

With Chromium also docs/login.png: the two pages of a login in the browser.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from dbx_auth import callback, models, profile, resolve
from dbx_auth.commands import models as models_command, status as status_command
from dbx_auth.sandbox import Sandbox, pages
from dbx_auth.sandbox.oauth import AuthorizationRequest
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


WINDOWS = """<!doctype html>
<meta charset="utf-8">
<style>
body { display: flex; gap: 10px; margin: 0; padding: 10px; background: #cfd6de }
figure { flex: 1; height: 264px; border-radius: 7px; margin: 0; overflow: hidden; background: #fff }
figcaption { padding: 5px 10px; background: #e6eaee; color: #4a5663; font: 9px system-ui, sans-serif }
iframe { width: 200%; height: 520px; border: 0; transform: scale(.5); transform-origin: 0 0 }
</style>
"""


def photograph(name: str, size: str, windows: dict[str, str]) -> None:
    """A picture of browser windows side by side: their addresses and what they show."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print(f"without Chromium {name}.png stays as it is")
        return
    figures = [
        f'<figure><figcaption>{address}</figcaption><iframe srcdoc="{html.escape(page)}"></iframe></figure>'
        for address, page in windows.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder, f"{name}.html")
        sheet.write_text(WINDOWS + "\n".join(figures))
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=2"]
        flags += [f"--user-data-dir={folder}", f"--window-size={size}", f"--screenshot={HERE / name}.png"]
        subprocess.run([chromium, *flags, sheet.as_uri()], check=True, stderr=subprocess.DEVNULL, timeout=60)


def photograph_login(sandbox: Sandbox) -> None:
    asked = AuthorizationRequest("databricks-cli", "http://localhost:8020", "offline_access all-apis", "", "")
    consent = pages.consent(asked, sandbox.user, "")
    with callback.listening("state") as (port, _):
        done = httpx.get(f"http://localhost:{port}/?code=code&state=state", trust_env=False).text
    photograph("login", "700,284", {f"{sandbox.url}/oidc/v1/authorize": consent, "http://localhost:8020": done})


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
        photograph_login(sandbox)


if __name__ == "__main__":
    main()
