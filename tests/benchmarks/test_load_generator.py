"""The load generator against a tiny server on loopback."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.tools.load_generator import BROKEN, NO_RESPONSE, Load, get_request
from benchmarks.tools.server_process import free_port

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
REPOSITORY = Path(__file__).parents[2]


def response(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class TinyServer:
    """Answers each request with what `answer` writes, and remembers what was asked and how many connected."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.paths: list[str] = []
        self.connections = self.under_way = self.most_under_way = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.paths.append(head.split(" ")[1])
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                await self._answer(self.paths[-1], writer)
                self.under_way -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def run(
    answer: Answer, concurrency: int = 2, seconds: float = 0.2, *, patience: float = 30, inspect: bool = False
) -> tuple[TinyServer, Load]:
    server = TinyServer(answer)

    async def both() -> Load:
        listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
        async with listening:
            port = listening.sockets[0].getsockname()[1]
            requests = [get_request(f"/buyers/{number}") for number in range(5)]
            load = Load(requests, port, seed=7, patience=patience, inspect=inspect)
            await load.run(concurrency, seconds)
            return load

    return server, asyncio.run(both())


async def good(path: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0.005)
    writer.write(response(b'{"items": []}'))


def test_connections_are_kept_and_as_many_requests_are_under_way_as_asked() -> None:
    server, load = run(good, concurrency=3)
    assert server.connections == server.most_under_way == 3
    assert load.statuses == {200: len(server.paths)}
    assert len(load.latencies_us) == len(server.paths) > 10
    assert min(load.latencies_us) >= 5_000
    assert set(server.paths) == {f"/buyers/{number}" for number in range(5)}


def test_the_seed_decides_what_is_asked() -> None:
    one, _ = run(good, concurrency=1)
    two, _ = run(good, concurrency=1)
    shared = min(len(one.paths), len(two.paths))
    assert one.paths[:shared] == two.paths[:shared]


def test_an_answer_in_pieces_is_one_answer() -> None:
    async def in_pieces(path: str, writer: asyncio.StreamWriter) -> None:
        whole = response(b'{"title": "\xd8\xaa"}')
        for start in range(0, len(whole), 7):
            writer.write(whole[start : start + 7])
            await asyncio.sleep(0.001)

    server, load = run(in_pieces)
    assert load.statuses == {200: len(server.paths)}


def test_statuses_are_counted_and_bad_ones_have_no_latency() -> None:
    async def busy(path: str, writer: asyncio.StreamWriter) -> None:
        body = response(b"{}") if path == "/buyers/0" else response(b"{}", "503 Service Unavailable")
        writer.write(body)

    server, load = run(busy)
    assert set(load.statuses) == {200, 503}
    assert load.statuses[200] == len(load.latencies_us) == server.paths.count("/buyers/0")


def test_an_answer_that_is_no_json_object_is_broken() -> None:
    async def cut(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.001)
        writer.write(response(b'{"items": ['))

    server, load = run(cut)
    assert load.statuses == {BROKEN: len(server.paths)}
    assert load.latencies_us == []


def test_an_answer_without_a_length_is_broken_and_the_next_connection_goes_on() -> None:
    async def chunked(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")

    server, load = run(chunked)
    assert set(load.statuses) == {BROKEN}
    assert server.connections >= load.statuses[BROKEN] > 2


def test_a_lost_connection_is_an_error_and_the_next_one_goes_on() -> None:
    async def sometimes(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.001)
        if path == "/buyers/0":
            writer.transport.abort()
        else:
            writer.write(response(b"{}"))

    server, load = run(sometimes)
    assert load.statuses[NO_RESPONSE] == server.paths.count("/buyers/0") > 0
    assert load.statuses[200] == len(server.paths) - load.statuses[NO_RESPONSE]


def test_an_answer_that_ends_the_connection_counts() -> None:
    async def last(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(response(b"{}", headers="Connection: close\r\n"))

    server, load = run(last)
    assert load.statuses == {200: len(server.paths)}
    assert server.connections >= len(server.paths) > 2


def test_answers_under_way_at_the_end_are_waited_for() -> None:
    async def slow(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(response(b"{}"))

    server, load = run(slow, concurrency=2, seconds=0.05)
    assert load.statuses == {200: 2}
    assert len(server.paths) == 2


def test_an_answer_that_takes_too_long_is_unfinished_and_no_failure() -> None:
    async def never(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)

    _, load = run(never, concurrency=2, seconds=0.05, patience=0.1)
    assert load.unfinished == 2
    assert not load.statuses


def test_inspection_sees_release_and_degraded() -> None:
    async def degraded(path: str, writer: asyncio.StreamWriter) -> None:
        parts = ["feature_store"] if path == "/buyers/0" else []
        writer.write(response(json.dumps({"release": "r1", "degraded": parts}).encode()))

    server, load = run(degraded, inspect=True)
    assert len(load.answers) == len(server.paths)
    assert {(status, release) for _, _, status, release, _ in load.answers} == {(200, "r1")}
    assert sum(down for *_, down in load.answers) == server.paths.count("/buyers/0")


def test_the_command_prints_a_report_also_where_nobody_listens(tmp_path: Path) -> None:
    paths = tmp_path / "paths"
    paths.write_text("/a\n/b", encoding="utf-8")
    options = ["--port", str(free_port()), "--paths", str(paths), "--concurrency", "1", "--seconds", "0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tools.load_generator", *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        check=True,
    )
    report = json.loads(done.stdout)
    assert set(report["statuses"]) == {str(NO_RESPONSE)}
    assert report["latencies_us"] == []


def test_a_signal_ends_the_run_with_a_report(tmp_path: Path) -> None:
    paths = tmp_path / "paths"
    paths.write_text("/a", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        options = ["--port", str(port), "--paths", str(paths), "--concurrency", "1", "--seconds", "100"]
        command = [sys.executable, "-m", "benchmarks.tools.load_generator", *options]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
            connection, _ = listening.accept()
            process.terminate()
            while connection.recv(1000):
                connection.sendall(response(b"{}"))
            output, _ = process.communicate(timeout=30)
    assert set(json.loads(output)["statuses"]) <= {"200"}
