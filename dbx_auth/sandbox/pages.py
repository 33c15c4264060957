"""The pages a person sees: calm, self-contained, and never to be taken for Databricks."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from .oauth import AuthorizationRequest
from .workspace import ACCOUNT_ID, WORKSPACE_ID, Kind

STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6876; --paper: #f5f6f8; --card: #fff; --line: #dfe3e8;
        --accent: #245fa6; --note: #fff6dd; --note-ink: #6a4b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --soft: #9aa6b2; --paper: #14181d; --card: #1c2229;
        --line: #313a44; --accent: #7db0ee; --note: #33290f; --note-ink: #f0d48a } }
* { box-sizing: border-box }
body { margin: 0; padding: 4rem 1.25rem; background: var(--paper); color: var(--ink);
       font: 16px/1.6 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 42rem; margin: auto; padding: 2rem 2.25rem; background: var(--card); border: 1px solid var(--line);
       border-radius: 12px }
h1 { margin: 1.25rem 0 .5rem; font-size: 1.4rem; line-height: 1.3; font-weight: 600 }
p { margin: .75rem 0 }
.note { margin: 0; padding: .5rem .9rem; border-radius: 8px; background: var(--note); color: var(--note-ink);
        font-size: .9rem; text-wrap: balance }
a { color: var(--accent) }
pre { padding: 1rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--paper) }
code, pre { font: .85em/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.25rem; margin: 1.25rem 0 }
dt, .soft { color: var(--soft) }
dd { margin: 0; overflow-wrap: anywhere }
form { display: flex; gap: .75rem; margin-top: 1.75rem }
button { padding: .55rem 1.4rem; border: 1px solid var(--line); border-radius: 8px; background: none; color: inherit;
         font: inherit; cursor: pointer }
button.main { border-color: var(--accent); background: var(--accent); color: var(--card); font-weight: 600 }
button:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px }
"""

NOT_DATABRICKS = "This is the dbx-auth sandbox on your own machine. It is not Databricks."


KINDS: dict[Kind, tuple[str, str]] = {
    "workspace": (
        "An emulated workspace",
        """
<p>It answers like a Databricks workspace, so that you can try tools, write tests and run them in CI without one.
It knows one person, one service principal and a few models that echo what you say.</p>
<pre>export DATABRICKS_HOST={url}
dbx-auth login
dbx-auth token
dbx-auth models</pre>
<p>It also plays login.databricks.com, where a login begins that knows no host:</p>
<pre>export DATABRICKS_DISCOVERY_HOST={url}</pre>""",
    ),
    "account": (
        "An emulated account console",
        """
<p>It answers like a Databricks account console: it has one account with one workspace, one person and one service
principal, and none of a workspace's own APIs.</p>
<pre>export DATABRICKS_HOST={url}
export DATABRICKS_ACCOUNT_ID={account_id}</pre>""",
    ),
    "unified": (
        "An emulated unified host",
        """
<p>It answers like a host that serves a whole Databricks account under one name. The APIs of its one workspace are
there for requests that carry the workspace's id in the header <code>X-Databricks-Workspace-Id</code>.</p>
<pre>export DATABRICKS_HOST={url}
export DATABRICKS_ACCOUNT_ID={account_id}
export DATABRICKS_WORKSPACE_ID={workspace_id}</pre>""",
    ),
}


def index(url: str, kind: Kind) -> str:
    """What this is and how to use it."""
    title, text = KINDS[kind]
    return _page(
        title,
        f"""{text.format(url=escape(url), account_id=ACCOUNT_ID, workspace_id=WORKSPACE_ID)}
<p>The personal access token and the service principal's secret are known to whoever started it, and are not shown
here. What it was asked is at <a href="/_sandbox/log"><code>/_sandbox/log</code></a>.</p>
<p class="soft">It listens on this machine only, keeps everything in memory, and forgets it all when it stops.</p>""",
    )


def consent(request: AuthorizationRequest, user: str, ticket: str) -> str:
    """The question a person answers when a client asks for access."""
    where = urlsplit(request.redirect_uri).netloc
    group = f"\n<dt>In the role of</dt><dd>group {escape(request.group_id)}</dd>" if request.group_id else ""
    return _page(
        f"Allow {request.client_id}?",
        f"""
<p><strong>{escape(request.client_id)}</strong> asks for access to this sandbox.</p>
<dl>
<dt>As</dt><dd>{escape(user)}</dd>{group}
<dt>Scopes</dt><dd>{escape(request.scope)}</dd>
<dt>Answer goes to</dt><dd>{escape(where)}</dd>
</dl>
<form method="post" action="authorize">
<input type="hidden" name="ticket" value="{escape(ticket)}">
<button class="main" name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>""",
    )


def problem(description: str) -> str:
    """Why a login cannot go on."""
    return _page(
        "This login cannot go on",
        f"""
<p>{escape(description)}.</p>
<p class="soft">Nothing was sent anywhere. Close this tab and start the login again.</p>""",
    )


def sign_in() -> str:
    """What a unified host shows to a request that names no workspace: a page, whoever asks and whatever for."""
    return _page(
        "Sign in",
        """
<p>A request for a workspace's API has to name the workspace in the header <code>X-Databricks-Workspace-Id</code>.
Without it the host takes whoever asks for a person, and answers with a page such as this one.</p>""",
    )


def missing() -> str:
    """What an account console shows where it has nothing."""
    return _page(
        "There is nothing here", "\n<p>This is an account console: it has no workspace's APIs, and no such page.</p>"
    )


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · dbx-auth sandbox</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<p class="note">{NOT_DATABRICKS}</p>
<h1>{escape(title)}</h1>{body}
</main>
</body>
</html>
"""
