"""What the doctor says of variables, rights and the port."""

import contextlib
import http.server
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch_jobs.doctor.configuration import api_check, existing, rights_checks, secrets_check, variables_check
from feature_repo.common.config import Config


@pytest.mark.parametrize(
    ("names", "text", "remedy"),
    [
        (["TAWSIYA_REDIS", "TAWSIYA_REDIS_FILE", "TAWSIYA__API__PORT", "HOME"], "all are known", None),
        (["TAWSIYA_REDSI"], "nothing reads TAWSIYA_REDSI", "rename TAWSIYA_REDSI to TAWSIYA_REDIS"),
        (["TAWSIYA_X"], "nothing reads TAWSIYA_X", "unset TAWSIYA_X"),
        (["TAWSIYA_API_PORT"], "nothing reads TAWSIYA_API_PORT", "rename TAWSIYA_API_PORT to TAWSIYA__API__PORT"),
    ],
)
def test_variables_that_nothing_reads_are_named(names: list[str], text: str, remedy: str | None) -> None:
    item = variables_check(names)
    assert (item.state, item.text) == ("warning" if remedy else "ok", text)
    assert item.remedy == remedy


def test_secrets_that_everybody_can_read_are_a_warning(tmp_path: Path) -> None:
    keys, env = tmp_path / "api_keys.json", tmp_path / ".env"
    keys.write_text("{}")
    env.write_text("TAWSIYA__DATA__SOURCE=csv\n")
    keys.chmod(0o600)
    env.chmod(0o644)
    assert secrets_check([keys, env]).state == "ok", "this .env has no secret"
    env.write_text("TAWSIYA_BUYER_TOKEN_SECRETS=x\n")
    item = secrets_check([keys, env])
    assert (item.state, item.remedy) == ("warning", f"chmod 600 {env}")
    keys.chmod(0o604)
    assert secrets_check([keys, env]).remedy == f"chmod 600 {keys} {env}"


def test_the_nearest_folder_that_exists_is_asked_for_its_rights(tmp_path: Path) -> None:
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(tmp_path) == tmp_path


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_this_user_may_not_write_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o500)
    item = next(iter(rights_checks(Config.model_validate({"data_dir": tmp_path / "var"}))))
    assert (item.state, item.remedy) == ("problem", f"sudo chown -R {os.getuid()} {tmp_path / 'var'}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_root_in_the_folder_of_another_user_is_a_warning(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    found = {item.name: item for item in rights_checks(Config.model_validate({"data_dir": tmp_path}))}
    assert (found["user"].state, found["user"].remedy) == ("warning", "sudo -u '#1234' tawsiya ...")


@contextmanager
def answering(code: int, content: bytes) -> Iterator[int]:
    """The port of an HTTP server with one answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_free_port_is_well_and_one_of_another_program_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert api_check("127.0.0.1", port).text == f"does not run; 127.0.0.1:{port} is free"
    with answering(200, b"<html>") as port:
        item = api_check("127.0.0.1", port)
    assert (item.state, item.text) == ("warning", f"another program listens on 127.0.0.1:{port}")
    assert item.remedy == f"end it, or choose another port: --set api.port={port + 1}"


def test_a_program_that_does_not_speak_http_is_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def greet() -> None:
            for _ in range(2):  # the doctor's two connections
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        item = api_check("127.0.0.1", port)
        thread.join()
    assert (item.state, item.text) == ("warning", f"another program listens on 127.0.0.1:{port}")


def test_an_api_that_answers_is_asked_how_it_is() -> None:
    with answering(200, json.dumps({"status": "ok", "release": "r"}).encode()) as port:
        item = api_check("0.0.0.0", port)
    assert (item.state, item.text) == ("ok", f"answers on 0.0.0.0:{port}: ok")
    with answering(503, json.dumps({"status": 503, "detail": "draining"}).encode()) as port:
        item = api_check("127.0.0.1", port)
    assert (item.state, item.text) == ("warning", f"answers on 127.0.0.1:{port}: draining")
    assert item.remedy == f"curl http://127.0.0.1:{port}/readyz, and read the API's log"
