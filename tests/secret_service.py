"""A keyring as a desktop has it: gnome-keyring on a session bus of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest

PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon")
START_TIMEOUT = 20

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
"""Nobody is started because somebody asks: who is not on this bus is not there."""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Item(NamedTuple):
    """What a client of the keyring that is not ours sees of one entry."""

    label: str
    attributes: dict[str, str]
    secret: bytes
    content_type: str


class SecretService:
    """A session bus at `address`, and on it, once `unlock` was called, a keyring that is open."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="keyring-"))  # short, as the path of a socket has to be
        self.address = f"unix:path={self.folder / 'bus'}"
        self.env = {"XDG_RUNTIME_DIR": str(self.folder), "DBUS_SESSION_BUS_ADDRESS": self.address}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        config = self.folder / "bus.conf"
        config.write_text(BUS.format(path=self.folder / "bus"))
        self._start("dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile")
        self._wait((self.folder / "bus").exists)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            with process:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def unlock(self) -> Self:
        """Start the keyring with a collection `login` that is open."""
        keyring = self._start("gnome-keyring-daemon", "--foreground", "--components=secrets", "--unlock")
        assert keyring.stdin is not None
        keyring.stdin.write(b"password")
        keyring.stdin.close()
        self._wait(self._collection_is_there)
        return self

    def start_empty(self) -> Self:
        """Start the keyring as it is for somebody who never had one: it has no collection to keep anything in."""
        import secretstorage

        self._start("gnome-keyring-daemon", "--foreground", "--components=secrets")

        def answers() -> bool:
            with closing(self._connection()) as connection:
                return secretstorage.check_service_availability(connection)

        self._wait(answers)
        return self

    def lock(self) -> None:
        """Close the collection, as it is before somebody has logged in to the desktop."""
        with closing(self._connection()) as connection:
            self._collection(connection).lock()

    def items(self, **attributes: str) -> list[Item]:
        """Every entry with these attributes, whoever put it there."""
        with closing(self._connection()) as connection:
            return [
                Item(i.get_label(), i.get_attributes(), i.get_secret(), i.get_secret_content_type())
                for i in self._collection(connection).search_items(attributes)
            ]

    def add(self, secret: str, **attributes: str) -> None:
        """Put an entry there as another program would."""
        with closing(self._connection()) as connection:
            self._collection(connection).create_item("theirs", attributes, secret.encode(), replace=True)

    def stop_answering(self) -> None:
        """Let every question to the keyring hang, as one does behind a dialog that nobody sees."""
        import signal

        self._processes[-1].send_signal(signal.SIGSTOP)

    def answer_again(self) -> None:
        """Go on after `stop_answering`, and first with what has been asked meanwhile."""
        import signal

        self._processes[-1].send_signal(signal.SIGCONT)
        self._wait(self._collection_is_there)

    def _start(self, *argv: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        env = {**self.env, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(
            [shutil.which(argv[0]) or argv[0], *argv[1:]], env=env, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet
        )
        self._processes.append(process)
        return process

    def _wait(self, ready: Any) -> None:
        end = time.monotonic() + START_TIMEOUT
        while not ready():
            if time.monotonic() > end or self._processes[-1].poll() is not None:
                raise RuntimeError(f"{self._processes[-1].args!r} did not start")
            time.sleep(0.02)

    def _connection(self) -> Any:
        from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped,unused-ignore]

        return open_dbus_connection(self.address)

    def _collection(self, connection: Any) -> Any:
        import secretstorage

        return secretstorage.Collection(connection, "/org/freedesktop/secrets/collection/login")

    def _collection_is_there(self) -> bool:
        import secretstorage

        try:
            with closing(self._connection()) as connection:
                return not self._collection(connection).is_locked()
        except (secretstorage.SecretStorageException, OSError):
            return False


@pytest.fixture
def session_bus() -> Iterator[SecretService]:
    """A session bus on which nobody keeps secrets yet."""
    if absent := missing():
        pytest.skip(f"needs {' and '.join(absent)}")
    with SecretService() as bus:
        yield bus


@pytest.fixture
def secret_service(session_bus: SecretService) -> SecretService:
    """A keyring that is open."""
    return session_bus.unlock()
