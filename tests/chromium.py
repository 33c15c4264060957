"""A person in front of Chromium: looks at the consent page, presses a button, and notes down what was to be seen.

    BROWSER="python chromium.py NOTES BUTTON SCHEME"

`dbx-auth login` starts it as its browser, so it runs in a process of its own and tells what it saw in the file NOTES.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import traceback
from typing import Any

BROWSER, DRIVER = "chromium", "chromedriver"

# As root in a container there is nothing to build Chromium's own sandbox from, and it should find nobody but us.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)

LOOK = """
return {
    url: location.href,
    title: document.title,
    text: document.body.innerText,
    ink: getComputedStyle(document.body).color,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name),
}
"""


def installed() -> bool:
    return shutil.which(BROWSER) is not None and shutil.which(DRIVER) is not None


def visit(url: str, button: str, scheme: str) -> dict[str, Any]:
    """What the two pages of a login look like to somebody who presses `button` on the first."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(BROWSER) or BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which(DRIVER))) as chromium:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        chromium.get(url)
        consent = chromium.execute_script(LOOK)
        chromium.find_element(By.XPATH, f"//button[. = '{button}']").click()
        WebDriverWait(chromium, 20).until(lambda _: chromium.title.startswith("dbx-auth: "))
        callback = chromium.execute_script(LOOK)
        events, console = messages(chromium, "performance"), messages(chromium, "browser")
    return {"consent": consent, "callback": callback, "console": console, "requests": requests(events)}


def messages(chromium: Any, log: str) -> list[str]:
    return [entry["message"] for entry in chromium.get_log(log)]


def requests(events: list[str]) -> list[str]:
    """Every request that left the browser, without its query."""
    said = [json.loads(event)["message"] for event in events]
    asked = [event["params"]["request"] for event in said if event["method"] == "Network.requestWillBeSent"]
    return [f"{request['method']} {request['url'].partition('?')[0]}" for request in asked]


def main(notes: str, button: str, scheme: str, url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as litter:
        os.environ["TMPDIR"] = litter  # it leaves a directory behind for each of its starts
        try:
            seen = visit(url, button, scheme)
        except Exception:
            seen = {"failed": traceback.format_exc()}
    with open(f"{notes}.part", "w") as file:
        json.dump(seen, file)
    os.replace(file.name, notes)


if __name__ == "__main__":
    main(*sys.argv[1:])
