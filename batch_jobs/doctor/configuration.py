"""Variables, rights of files and folders, and the port of the API."""

import difflib
import http.client
import json
import os
import socket
import stat
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from batch_jobs.doctor.diagnosis import GOOD, PROBLEM, WARNING, Diagnosis, judged
from feature_repo.access.api_keys import api_keys_path
from feature_repo.common.config import Config, known_keys
from feature_repo.common.config_loading import ENV_FILE, ENV_PREFIX, SECRET_VARIABLES, environment
from feature_repo.common.paths import shop_paths

_GROUP = "configuration"
RIGHTS = "permissions"
# Variables beside the settings: of the program, of the mappings of research data, and of docker-compose.yml.
VARIABLES = (*SECRET_VARIABLES, "TAWSIYA_REDIS_TYPE", "TAWSIYA_SHARED_DATA", "TAWSIYA_TEXT_ENCODER")
# The program sets them itself.
_OWN = ("TAWSIYA_PROJECT", "TAWSIYA_SERVE_CONFIG", "TAWSIYA_SHOP_DIR")
_SECRET_WORDS = ("SECRET", "TOKEN", "SALT", "PASSWORD", "TAWSIYA_REDIS")
TIMEOUT_S = 2.0


def configuration_checks(config: Config) -> Iterator[Diagnosis]:
    """What was set, who may read and write what, and the API if it runs."""
    yield variables_check(environment())
    yield from rights_checks(config)
    yield api_check(config.api.host, config.api.port)


def variables_check(names: Iterable[str]) -> Diagnosis:
    """Whether a variable looks like one of Tawsiya's and is none; one with two underscores is refused at once."""
    known = {*VARIABLES, *_OWN, *(f"{name}_FILE" for name in SECRET_VARIABLES)}
    own = [name for name in names if name.startswith("TAWSIYA_") and not name.startswith(ENV_PREFIX)]
    unknown = sorted(set(own) - known)
    if not unknown:
        return Diagnosis(_GROUP, "variables", GOOD, "all are known")
    meant = _meant(unknown[0])
    remedy = f"rename {unknown[0]} to {meant}" if meant else f"unset {unknown[0]}"
    return Diagnosis(_GROUP, "variables", WARNING, f"nothing reads {', '.join(unknown)}", remedy)


def _meant(name: str) -> str | None:
    """The variable that was meant by one with one underscore for two, or a slip."""
    settings = {f"TAWSIYA_{key.replace('.', '_').upper()}": key for key in known_keys()}
    if name in settings:
        return ENV_PREFIX + settings[name].replace(".", "__").upper()
    return next(iter(difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)), None)


def rights_checks(config: Config) -> Iterator[Diagnosis]:
    """Whether this user can write where the jobs write, and others can read secrets."""
    root = shop_paths(config).root
    closed = [folder for folder in (config.data_dir, root) if not os.access(existing(folder), os.W_OK)]
    if closed:
        remedy = f"sudo chown -R {os.getuid()} {closed[0]}"
        yield Diagnosis(RIGHTS, "folders", PROBLEM, f"user {os.getuid()} may not write to {closed[0]}", remedy)
    else:
        yield Diagnosis(RIGHTS, "folders", GOOD, f"user {os.getuid()} may write to {root}")
    owner = existing(root).stat().st_uid
    if os.getuid() == 0 and owner != 0:
        text = f"root works in the folder of user {owner}, who cannot replace the files that root makes"
        yield Diagnosis(RIGHTS, "user", WARNING, text, f"sudo -u '#{owner}' tawsiya ...")
    yield secrets_check([path for path in (ENV_FILE, api_keys_path(config)) if path.is_file()])


def secrets_check(files: Iterable[Path]) -> Diagnosis:
    """Whether files with secrets are closed to other users of the machine."""
    open_files = [path for path in files if path.stat().st_mode & stat.S_IROTH and _has_secret(path)]
    if not open_files:
        return Diagnosis(RIGHTS, "secrets", GOOD, "no file with secrets is open to other users")
    names = " ".join(map(str, open_files))
    return Diagnosis(RIGHTS, "secrets", WARNING, f"every user of this machine can read {names}", f"chmod 600 {names}")


def api_check(host: str, port: int) -> Diagnosis:
    """Whether the API answers, the port is free, or another program has it."""
    place = f"{host}:{port}"
    target = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    try:
        socket.create_connection((target, port), timeout=TIMEOUT_S).close()
    except OSError:
        return Diagnosis("api", "api", GOOD, f"does not run; {place} is free")
    try:
        with urllib.request.urlopen(f"http://{target}:{port}/readyz", timeout=TIMEOUT_S) as answer:
            ready, content = True, answer.read(100_000)
    except urllib.error.HTTPError as error:
        ready, content = False, error.read(100_000)
    except (OSError, ValueError, http.client.HTTPException):  # another protocol
        ready, content = False, b""
    return _api_state(place, port, ready=ready, content=content)


def _api_state(place: str, port: int, *, ready: bool, content: bytes) -> Diagnosis:
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not {"status"} <= said.keys():
        remedy = f"end it, or choose another port: --set api.port={port + 1}"
        return Diagnosis("api", "api", WARNING, f"another program listens on {place}", remedy)
    text = f"answers on {place}: {said['status'] if ready else said.get('detail', said['status'])}"
    return judged("api", "api", text, None if ready else f"curl http://{place}/readyz, and read the API's log")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _has_secret(path: Path) -> bool:
    if path.name != ENV_FILE.name:
        return True
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(word in line.partition("=")[0].upper() for line in lines for word in _SECRET_WORDS)
