"""Models as other programs take them in: an example that runs, and ready configuration for clients.

None of it holds a secret. What can run a command is told to run `dbx-auth token`; the others read the environment
variable DATABRICKS_TOKEN when they start.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .calling import Base, preferred, small
from .models import Model

TOKEN = "DATABRICKS_TOKEN"

START = 'eval "$(dbx-auth token -o env)"'
"""What to run before a client that reads the environment."""


class Who(NamedTuple):
    """Whose token an example or a client is to use: a profile, or else a host; empty for whoever is asked."""

    profile: str = ""
    host: str = ""

    @property
    def options(self) -> list[str]:
        """The same as options of `dbx-auth token`."""
        return ["--profile", self.profile] if self.profile else ["--host", self.host] if self.host else []

    @property
    def credentials(self) -> str:
        """The same as an argument of `dbx_auth.Transport`."""
        if not self.options:
            return ""
        name, value = ("profile", self.profile) if self.profile else ("host", self.host)
        return f"dbx_auth.Credentials({name}={value!r})"


# ---- examples ------------------------------------------------------------------------------------------------------


def curl(model: Model, where: Base, who: Who) -> str:
    """A line for the shell; the token goes from one program to the other, and not into the list of processes."""
    api = preferred(model)
    if not api:
        return ""
    token = shlex.join(["dbx-auth", "token", *who.options, "-o", "header"])
    url, body = shlex.quote(where.url(model, api)), shlex.quote(json.dumps(small(model, api)))
    return f"{token} | curl -sS -H @- -H 'Content-Type: application/json' {url} -d {body}"


def python(model: Model, where: Base, who: Who) -> str:
    """A program: with openai's client where the API is one of OpenAI's, else with httpx alone."""
    api = preferred(model)
    if not api:
        return ""
    transport = f"transport=dbx_auth.Transport({who.credentials})"
    asked = small(model, api)
    if api in ("chat", "responses", "embeddings"):
        base = where.url(model, api).removesuffix(_OPENAI[api].path)
        lines = [
            "import httpx",
            "from openai import OpenAI",
            "",
            "import dbx_auth",
            "",
            f"http = httpx.Client({transport})",
            f"client = OpenAI(base_url={base!r}, api_key='the transport knows', http_client=http)",
            f"answer = client.{_OPENAI[api].call}(",
            *(f"    {name}={value!r}," for name, value in asked.items()),
            ")",
            f"print(answer.{_OPENAI[api].answer})",
        ]
    else:
        lines = [
            "import httpx",
            "",
            "import dbx_auth",
            "",
            f"with httpx.Client({transport}, timeout=60) as client:",
            f"    answer = client.post({where.url(model, api)!r}, json={asked!r})",
            "print(answer.json())",
        ]
    return "\n".join(lines)


class _Call(NamedTuple):
    path: str
    call: str
    answer: str


_OPENAI = {
    "chat": _Call("/chat/completions", "chat.completions.create", "choices[0].message"),
    "responses": _Call("/responses", "responses.create", "output"),
    "embeddings": _Call("/embeddings", "embeddings.create", "data[0].embedding"),
}


# ---- configuration -------------------------------------------------------------------------------------------------


def opencode(models: Sequence[Model], where: Base, who: Who) -> str:
    """The `provider` of an opencode.json: one for each API and address. https://opencode.ai/docs/providers"""
    kinds = {
        "chat": ("databricks", "@ai-sdk/openai-compatible", "/chat/completions"),
        "responses": ("databricks-responses", "@ai-sdk/openai", "/responses"),
        "messages": ("databricks-messages", "@ai-sdk/anthropic", "/messages"),
    }
    providers: dict[str, Any] = {}
    for model in models:
        if (api := preferred(model)) not in kinds:
            continue
        name, npm, path = kinds[api]
        is_gateways = where.of(model) != where.serving
        key = f"{name}-gateway" if is_gateways else name
        options: dict[str, Any] = {
            "baseURL": where.url(model, api).removesuffix(path),
            "apiKey": f"{{env:{TOKEN}}}",
            "headers": {"x-databricks-disable-beta-headers": "true"},
        }
        if api == "messages":  # Anthropic's client sends its key in a header that Databricks does not read
            options["headers"]["Authorization"] = f"Bearer {{env:{TOKEN}}}"
        new = {"npm": npm, "name": "Databricks", "options": options, "models": {}}
        providers.setdefault(key, new)["models"][model.id] = _for_opencode(model)
    return json.dumps({"$schema": "https://opencode.ai/config.json", "provider": providers}, indent=2)


def _for_opencode(model: Model) -> dict[str, Any]:
    said: dict[str, Any] = {"name": model.name}
    if model.tools is not None:
        said["tool_call"] = model.tools
    if model.reasoning is not None:
        said["reasoning"] = model.reasoning
    if model.input:
        said["attachment"] = model.input != ("text",)
        said["modalities"] = {"input": list(model.input), "output": ["text"]}
    if model.context and model.output:  # it takes both or neither
        said["limit"] = {"context": model.context, "output": model.output}
    if model.cost and model.cost.input is not None and model.cost.output is not None:
        said["cost"] = {name: price for name, price in model.cost._asdict().items() if price is not None}
    if "no-sampling" in model.quirks:
        said["temperature"] = False
    if "no-eager-input-streaming" in model.quirks and preferred(model) == "messages":
        said["options"] = {"toolStreaming": False}
    return said


def codex(models: Sequence[Model], where: Base, who: Who) -> str:
    """A config.toml for Codex, which runs `dbx-auth token` by itself and speaks Responses alone.

    https://developers.openai.com/codex/config-reference
    """
    ours = [model for model in models if "responses" in model.apis]
    addresses = list(dict.fromkeys(where.url(model, "responses").removesuffix("/responses") for model in ours))
    names = {address: f"databricks-{n}" if n else "databricks" for n, address in enumerate(addresses)}
    lines = []
    if ours:
        lines += [f"model = {_quoted(ours[0].id)}", f'model_provider = "{names[addresses[0]]}"']
    for address, name in names.items():
        lines += [
            "",
            f"[model_providers.{name}]",
            'name = "Databricks"',
            f"base_url = {_quoted(address)}",
            'wire_api = "responses"',
            'http_headers = { "x-databricks-disable-beta-headers" = "true" }',
            "",
            f"[model_providers.{name}.auth]",
            'command = "dbx-auth"',
            f"args = {json.dumps(['token', *who.options], ensure_ascii=False)}",
            "refresh_interval_ms = 240000  # a token has five minutes left when it is handed out",
        ]
    for model in ours:
        address = where.url(model, "responses").removesuffix("/responses")
        lines += ["", f"[profiles.{_quoted(model.id)}]", f"model = {_quoted(model.id)}"]
        lines.append(f'model_provider = "{names[address]}"')
        if model.context:
            lines.append(f"model_context_window = {model.context}")
    return "\n".join(lines) or "# none of these models speaks the Responses API, and Codex speaks no other"


def litellm(models: Sequence[Model], where: Base, who: Who) -> str:
    """A config.yaml for LiteLLM's proxy. https://docs.litellm.ai/docs/proxy/configs"""
    kinds = {
        "chat": ("databricks", "chat", "/chat/completions"),
        "responses": ("openai", "responses", "/responses"),
        "embeddings": ("databricks", "embedding", "/embeddings"),
    }
    lines = ["model_list:" if any(preferred(model) in kinds for model in models) else "model_list: []"]
    for model in models:
        if (api := preferred(model)) not in kinds:
            lines.append(f"  # left out: {model.id}, which LiteLLM's databricks provider cannot call")
            continue
        provider, mode, path = kinds[api]
        info: dict[str, Any] = {
            "mode": mode,
            "max_input_tokens": model.context,
            "max_output_tokens": model.output,
            "supports_function_calling": model.tools,
            "supports_reasoning": model.reasoning,
            "supports_vision": "image" in model.input if model.input else None,
        }
        lines += [
            f"  - model_name: {_quoted(model.id)}",
            "    litellm_params:",
            f"      model: {_quoted(f'{provider}/{model.id}')}",
            f"      api_base: {_quoted(where.url(model, api).removesuffix(path))}",
            f"      api_key: os.environ/{TOKEN}",
            "    model_info:",
            *(f"      {name}: {json.dumps(value)}" for name, value in info.items() if value is not None),
        ]
    return "\n".join(lines)


def models_dev(models: Sequence[Model], where: Base, who: Who) -> str:
    """A file for each model as models.dev keeps them, under a comment with its name. https://github.com/anomalyco/models.dev

    It wants `release_date`, `last_updated` and `open_weights` besides, which no workspace tells.
    """
    return "\n\n".join(_for_models_dev(model) for model in models)


def _for_models_dev(model: Model) -> str:
    lines = [
        f"# providers/databricks/models/{model.id}.toml",
        f"name = {_quoted(model.name)}",
        f"family = {_quoted(model.family)}",
    ]
    facts = {
        "attachment": model.input != ("text",) if model.input else None,
        "reasoning": model.reasoning,
        "tool_call": model.tools,
        "temperature": "no-sampling" not in model.quirks,
    }
    lines += [f"{name} = {json.dumps(fact)}" for name, fact in facts.items() if fact is not None]
    if model.cost:
        prices = {name: price for name, price in model.cost._asdict().items() if price is not None}
        lines += ["", "[cost]", *(f"{name} = {price}" for name, price in prices.items())]
    if model.context or model.output:
        limits = {"context": model.context, "output": model.output}
        lines += ["", "[limit]", *(f"{name} = {limit:_}" for name, limit in limits.items() if limit)]
    if model.input:
        lines += ["", "[modalities]", f"input = {json.dumps(list(model.input))}", 'output = ["text"]']
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A string as TOML and YAML both read it."""
    return json.dumps(text, ensure_ascii=False)


FORMATS: dict[str, Callable[[Sequence[Model], Base, Who], str]] = {
    "opencode": opencode,
    "codex": codex,
    "litellm": litellm,
    "models.dev": models_dev,
}

READ_FROM_ENVIRONMENT = ("opencode", "litellm")
"""The formats of clients that take the token from the environment when they start."""
