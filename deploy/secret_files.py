"""Secrets from files: for each secret setting `JCM_MRV_X` there is `JCM_MRV_X_FILE`, which names a file that holds it.

What systemd's `LoadCredential=`, Compose's `secrets` and a mounted Kubernetes secret give is a file: it stands in no
environment that a child process inherits or a support bundle shows.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from deploy.errors import ConfigurationError

SUFFIX = "_file"


def opened(given: Mapping[str, Any], secrets: Collection[str], *, prefix: str = "") -> dict[str, Any]:
    """Put what the files hold in the place of their names.

    Parameters
    ----------
    given
        Settings by name in lower case, without the prefix.
    secrets
        The names of the settings that are secrets.
    prefix
        Set before a name where a message tells it.

    Raises
    ------
    ConfigurationError
        A file cannot be read or is empty, or the secret itself is given as well.
    """
    found = dict(given)
    for name in secrets:
        path = found.pop(f"{name}{SUFFIX}", None)
        if path is None:
            continue
        told = f"{prefix}{name}{SUFFIX}".upper()
        if name in found:
            raise ConfigurationError(f"{told}: {prefix.upper()}{name.upper()} is given as well; give one of them")
        found[name] = _read(Path(str(path)), told)
    return found


def _read(path: Path, told: str) -> str:
    try:
        content = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{told} names {path}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{told} names {path}, which is not text") from None
    if not content:
        raise ConfigurationError(f"{told} names {path}, which is empty")
    return content
