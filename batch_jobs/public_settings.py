"""The settings in force as a release may hold them: without secrets, and without ids of buyers."""

import re
from typing import Any

from feature_repo.common.config import Config

MASKED = "***"
# Names of settings of other programs (spark.conf) whose values let somebody in.
_SECRET_NAME = re.compile(r"secret|passw|token|credential|(access|account|private|api)[._-]?key", re.IGNORECASE)
_USER = re.compile(r"://[^/?#\s]*@")  # user and password in an address of any kind
_WEB_PATH = re.compile(r"^(https?://[^/?#\s]*)[/?#].+", re.DOTALL)


def public_settings(config: Config) -> dict[str, Any]:
    """Every setting by section, as JSON values, with MASKED in place of what must not leave this machine.

    Masked are buyers' ids (`tawsiya forget` does not look into releases), values whose names tell that they are
    secret, the user of an address, and what follows the host of a web address, which can be a token.
    """
    settings = config.model_dump(mode="json")
    settings["data"]["exclude_buyers"] = [MASKED] * len(config.data.exclude_buyers)
    public: dict[str, Any] = _public(settings)
    return public


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: MASKED if isinstance(inner, str) and _SECRET_NAME.search(name) else _public(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    return _public_text(value) if isinstance(value, str) else value


def _public_text(text: str) -> str:
    text = _USER.sub(f"://{MASKED}@", text)
    return _WEB_PATH.sub(rf"\1/{MASKED}", text)
