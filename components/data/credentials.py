"""Keeps credentials out of what others can read: the files that a published version carries, and the messages that end in a log."""

import os
import re
from pathlib import Path

from components.errors import UserError
from components.project import Project

DVC_CONFIG, DVC_LOCAL_CONFIG = ".dvc/config", ".dvc/config.local"
SECRET_SETTINGS = frozenset({
    "access_key_id", "secret_access_key", "session_token", "sse_customer_key", "account_key", "sas_token", "connection_string", "client_secret",
    "password", "passphrase", "token", "oss_key_id", "oss_key_secret", "gdrive_client_secret",
})  # fmt: skip
"""Of a remote in DVC's configuration, whatever its kind."""
HIDDEN = "***"
_SETTING = re.compile(r"^\s*(?P<key>\w+)\s*=\s*(?P<value>\S.*?)\s*$")
_REMOTE = re.compile(r"""^\s*\[\s*['"]?remote\s+"(?P<name>[^"]+)"['"]?\s*\]""")
_IN_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@:'\"]*:[^\s/@'\"]+@", re.IGNORECASE)
_SIGNED = re.compile(r"(?P<key>[?&](?:sig|x-amz-signature|x-amz-security-token|access_token|token|password)=)[^\s&'\"]+", re.IGNORECASE)
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSPHRASE|ACCOUNT_KEY|CONNECTION_STRING")
_SHORTEST = 8
"""A shorter value of a variable is no secret, and stands in too many words to be hidden."""


def refuse_credentials(project: Project) -> None:
    """Refuse what a published version would carry into git with a secret in it.

    Raises:
        UserError: names the file and the line, never the secret.
    """
    config = _text(project.root / DVC_CONFIG)
    remote = "NAME"
    for number, line in enumerate(config.splitlines(), start=1):
        header, setting = _REMOTE.match(line), _SETTING.match(line)
        remote = header["name"] if header else remote
        if setting and setting["key"].lower() in SECRET_SETTINGS:
            key = setting["key"].lower()
            raise UserError(
                f"{DVC_CONFIG} line {number} holds {key}, and every published version carries that file into git: take it out (`dvc remote modify --unset "
                f"{remote} {key}`), and give it by the environment or with `dvc remote modify --local {remote} {key} VALUE`."
            )
    for path in (DVC_CONFIG, "dvc.yaml", project.params.name):
        for number, line in enumerate(_text(project.root / path).splitlines(), start=1):
            if _IN_ADDRESS.search(line) or _SIGNED.search(line):
                raise UserError(
                    f"{path} line {number} holds an address with a password, and every published version carries that file into git: "
                    "take the password out, and give it by the environment or in DVC's local configuration (`dvc remote modify --local`)."
                )


def hide(project: Project, text: str) -> str:
    """``text`` without passwords in addresses, and without the values of secrets of the environment and of DVC's local configuration."""
    local = (_SETTING.match(line) for line in _text(project.root / DVC_LOCAL_CONFIG).splitlines())
    secrets = {found["value"].strip("'\"") for found in local if found and found["key"].lower() in SECRET_SETTINGS}
    secrets |= {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _SIGNED.sub(rf"\g<key>{HIDDEN}", _IN_ADDRESS.sub(rf"\g<scheme>{HIDDEN}@", text))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
