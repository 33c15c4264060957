"""What is in the workspace and its account: their numbers, their people and the serving endpoints."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from .oauth import Principal

WORKSPACE_ID = "1234567890123456"
ACCOUNT_ID = "5a9db0c5-0000-4000-8000-000000000000"
CLOUD = "AWS"

Kind = Literal["workspace", "account", "unified"]
"""A workspace, an account console, or a host that serves an account and its workspaces under one name."""

OIDC: dict[Kind, str] = {
    "workspace": "/oidc",
    "account": f"/oidc/accounts/{ACCOUNT_ID}",
    "unified": f"/oidc/accounts/{ACCOUNT_ID}",
}
"""Where each kind of host has its authorization server."""

USER = Principal("4217000000000001", "sandbox.user@example.com", "Sandbox User")

CHAT = "mlflow/v1/chat/completions"
RESPONSES = "openai/v1/responses"
MESSAGES = "anthropic/v1/messages"
GENERATE = "gemini/v1/generateContent"
EMBEDDINGS = "mlflow/v1/embeddings"
PREDICT = "predict"  # a custom model's own columns; the only one that is not an api_type of the workspace

FAMILY_APIS = {
    "claude": (CHAT, MESSAGES),
    "gpt": (CHAT, RESPONSES),
    "codex": (RESPONSES,),
    "gemini": (CHAT, GENERATE),
    "gpt-oss": (CHAT,),
    "llama": (CHAT,),
    "qwen": (CHAT,),
    "gemma": (CHAT,),
    "glm": (CHAT,),
    "inkling": (CHAT,),
    "kimi": (CHAT,),
    "embedding": (EMBEDDINGS,),
    "external": (CHAT,),
    "custom": (PREDICT,),
}

SAMPLING, EFFORT_WITH_TOOLS = "sampling", "effort with tools"

DATABRICKS, SYSTEM_AI = "databricks-", "system.ai."
"""How the names of Databricks' own models begin: among the endpoints, and in Unity Catalog."""


class Endpoint(NamedTuple):
    """A serving endpoint: what the lists say about it, and what it can be asked.

    `provider` is who serves an external model. `refuses` is what it refuses beyond its family, `most` how many tokens
    of output it may be asked for, where it has such a limit.
    """

    name: str
    family: str
    display_name: str
    context: str = ""
    apis: tuple[str, ...] = ()
    task: str = "llm/v1/chat"
    ready: bool = True
    provider: str = ""
    refuses: tuple[str, ...] = ()
    most: int = 0

    @property
    def speaks(self) -> tuple[str, ...]:
        return self.apis or FAMILY_APIS[self.family]

    @property
    def foundation(self) -> bool:
        """Whether it is one of Databricks' own, which everybody sees and nobody created."""
        return self.name.startswith(DATABRICKS)

    @property
    def entity(self) -> str:
        """The model behind it, as Unity Catalog calls it."""
        return SYSTEM_AI + self.name.removeprefix(DATABRICKS) if self.foundation else f"main.models.{self.display_name}"


EMBEDDING, CLASSIC = "llm/v1/embeddings", ""

# The limits of output are those that the gateway names when it is asked for more (mlflow/mlflow#25360,
# omnigent-ai/omnigent#6209); for GLM it is the one that databricks/unity-gateway keeps to.
ENDPOINTS = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint("databricks-claude-haiku-4-5", "claude", "Claude Haiku 4.5", "200K"),
        Endpoint("databricks-claude-opus-4-1", "claude", "Claude Opus 4.1", "200K"),
        Endpoint("databricks-claude-opus-4-5", "claude", "Claude Opus 4.5", "200K"),
        Endpoint("databricks-claude-opus-4-6", "claude", "Claude Opus 4.6", "1M"),
        Endpoint("databricks-claude-opus-4-7", "claude", "Claude Opus 4.7", "1M", refuses=(SAMPLING,)),
        Endpoint("databricks-claude-opus-5-5", "claude", "Claude Opus 5.5", "1M", apis=(MESSAGES,)),
        Endpoint("databricks-claude-sonnet-4", "claude", "Claude Sonnet 4", "200K"),
        Endpoint("databricks-claude-sonnet-4-5", "claude", "Claude Sonnet 4.5", "200K"),
        Endpoint("databricks-claude-sonnet-4-6", "claude", "Claude Sonnet 4.6", "1M"),
        Endpoint("databricks-gpt-5", "gpt", "GPT-5", "400K"),
        Endpoint("databricks-gpt-5-1", "gpt", "GPT-5.1", "400K"),
        Endpoint("databricks-gpt-5-2", "gpt", "GPT-5.2", "400K"),
        Endpoint("databricks-gpt-5-4", "gpt", "GPT-5.4", "1M"),
        Endpoint("databricks-gpt-5-5", "gpt", "GPT-5.5", "1M", refuses=(EFFORT_WITH_TOOLS,)),
        Endpoint("databricks-gpt-5-mini", "gpt", "GPT-5 mini", "400K"),
        Endpoint("databricks-gpt-5-nano", "gpt", "GPT-5 nano", "400K"),
        Endpoint("databricks-gpt-5-1-codex-max", "codex", "GPT-5.1 Codex Max", "400K"),
        Endpoint("databricks-gpt-5-1-codex-mini", "codex", "GPT-5.1 Codex Mini", "400K"),
        Endpoint("databricks-gpt-5-3-codex", "codex", "GPT-5.3 Codex", "400K"),
        Endpoint("databricks-gemini-2-5-flash", "gemini", "Gemini 2.5 Flash", "1M"),
        Endpoint("databricks-gemini-2-5-pro", "gemini", "Gemini 2.5 Pro", "1M"),
        Endpoint("databricks-gemini-3-flash", "gemini", "Gemini 3 Flash", "1M"),
        Endpoint("databricks-gemini-3-pro", "gemini", "Gemini 3 Pro", "1M"),
        Endpoint("databricks-gpt-oss-120b", "gpt-oss", "GPT OSS 120B", "128K", most=25_000),
        Endpoint("databricks-gpt-oss-20b", "gpt-oss", "GPT OSS 20B", "128K", most=25_000),
        Endpoint("databricks-llama-4-maverick", "llama", "Llama 4 Maverick", "128K", most=8_192),
        Endpoint("databricks-meta-llama-3-1-8b-instruct", "llama", "Meta Llama 3.1 8B Instruct", "128K", most=8_192),
        Endpoint("databricks-meta-llama-3-3-70b-instruct", "llama", "Meta Llama 3.3 70B Instruct", "128K", most=8_192),
        Endpoint("databricks-qwen3-next-80b-a3b-instruct", "qwen", "Qwen3-Next 80B A3B Instruct", "256K", most=10_000),
        Endpoint("databricks-gemma-3-12b", "gemma", "Gemma 3 12B", "128K", most=8_192),
        Endpoint("databricks-glm-5-3", "glm", "GLM-5.3", "1M", most=25_000),
        Endpoint("databricks-inkling", "inkling", "Inkling", "1M", most=65_536),
        Endpoint("databricks-kimi-k3", "kimi", "Kimi K3", "1M", refuses=(SAMPLING,), most=65_536),
        Endpoint("databricks-bge-large-en", "embedding", "BGE Large (En)", "512", task=EMBEDDING),
        Endpoint("databricks-gte-large-en", "embedding", "GTE Large (En)", "8K", task=EMBEDDING),
        Endpoint("databricks-qwen3-embedding-0-6b", "embedding", "Qwen3 Embedding 0.6B", "32K", task=EMBEDDING),
        Endpoint("churn-forecast", "custom", "churn_forecast", task=CLASSIC),
        Endpoint("policy-chat", "llama", "llama_3_3_policy"),
        Endpoint("team-claude", "claude", "claude-sonnet-4-5-20250929", apis=(CHAT,), provider="anthropic"),
        Endpoint("team-gpt", "external", "gpt-4o", provider="openai"),
        Endpoint("support-chat", "llama", "support_chat", ready=False),
    )
}


def endpoints(total: int = 0) -> dict[str, Endpoint]:
    """Those above, and with a larger `total` as many more as people make for themselves in a large workspace."""
    return {**ENDPOINTS, **{made.name: made for made in map(_made, range(len(ENDPOINTS), total))}}


def _made(number: int) -> Endpoint:
    name, ready = f"team-{number:04}", number % 10 != 0
    kinds = (
        Endpoint(f"{name}-forecast", "custom", f"forecast_{number}", task=CLASSIC, ready=ready),
        Endpoint(f"{name}-llama", "llama", f"llama_3_3_tuned_{number}", ready=ready),
        Endpoint(f"{name}-gpt", "external", "gpt-4o", ready=ready, provider="openai"),
        Endpoint(
            f"{name}-claude", "claude", "claude-sonnet-4-5-20250929", "200K", (CHAT,), ready=ready, provider="anthropic"
        ),
    )
    return kinds[number % len(kinds)]


def me(principal: Principal) -> dict[str, Any]:
    """SCIM's answer to "who am I"."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": principal.id,
        "userName": principal.user_name,
        "displayName": principal.display_name,
        "active": True,
    }


def no_such_user(principal: Principal) -> dict[str, Any]:
    """SCIM's answer to the same from a group, which is nobody (RFC 7644, 3.12)."""
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "detail": f"User with id {principal.group_id} not found.",
        "status": "404",
    }


def introspection() -> dict[str, Any]:
    """What a token is good for."""
    scope = {"account_id": ACCOUNT_ID, "workspace_id": int(WORKSPACE_ID)}
    return {"principal_context": {"authentication_scope": scope}}


def workspaces() -> list[dict[str, Any]]:
    """The account's list of its workspaces."""
    return [
        {
            "account_id": ACCOUNT_ID,
            "workspace_id": int(WORKSPACE_ID),
            "workspace_name": "sandbox",
            "deployment_name": "sandbox",
            "workspace_status": "RUNNING",
            "aws_region": "us-east-1",
        }
    ]
