"""An emulated cloud for tests: Entra, Azure, Databricks, Google and two CI systems behind one proxy on loopback."""

from .cloud import Cloud
from .wire import Answer, Misbehaviour, Request, html, redirect, reply

__all__ = ["Answer", "Cloud", "Misbehaviour", "Request", "html", "redirect", "reply"]
