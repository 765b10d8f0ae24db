"""A headless Chromium, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 20.0
ARGUMENTS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers give /dev/shm too little
    "--disable-background-networking",
    "--lang=en-GB",
)


class Page:
    """One open page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._commands = 0
        self.complaints: list[str] = []  # what a person would see in red in the console
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and returns its result."""
        self._commands += 1
        self._socket.send(json.dumps({"id": self._commands, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._commands:
                assert "error" not in message, f"{method}: {message}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until the JavaScript condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.js(condition):
            assert time.monotonic() < deadline, f"waited too long for {condition}; the page: {self.text('body')}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """The text of the first match."""
        text = self.js(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
        assert isinstance(text, str)
        return text.strip()

    def texts(self, selector: str) -> list[str]:
        """The texts of all matches."""
        texts = self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map((one) => one.textContent.trim())")
        assert isinstance(texts, list)
        return texts

    def click(self, selector: str) -> None:
        """A mouse click on the middle of the first match, as the browser itself sees one."""
        spot = self.js(f"""(() => {{
            const target = document.querySelector({json.dumps(selector)});
            target.scrollIntoView({{ block: "center" }});
            const box = target.getBoundingClientRect();
            return {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }};
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **spot)

    def press_enter(self) -> None:
        """The Enter key, for whatever has the focus."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.command("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
        self.command("Input.dispatchKeyEvent", type="keyUp", **key)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def screenshot(self, path: Path) -> None:
        """The visible part as PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


@contextmanager
def browser_page(folder: Path) -> Iterator[Page]:
    """A page of a browser that keeps its files in the empty `folder`, and ends with the block."""
    assert CHROMIUM
    # Chromium's sandbox refuses to run for root, which is whom containers run as.
    more = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [CHROMIUM, *ARGUMENTS, *more, f"--user-data-dir={folder}", "about:blank"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            address = f"http://127.0.0.1:{_debugging_port(process, folder)}/json/list"
            (target,) = [one for one in httpx.get(address).json() if one["type"] == "page"]
            with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            # Its renderers too: the session is theirs alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _debugging_port(process: "subprocess.Popen[bytes]", folder: Path) -> int:
    """The port that the browser chose."""
    path = folder / "DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE_S
    while not (path.exists() and "\n" in path.read_text()):
        assert process.poll() is None, f"{CHROMIUM} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{CHROMIUM} did not start"
        time.sleep(0.05)
    return int(path.read_text().splitlines()[0])
