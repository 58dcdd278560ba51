"""A real headless Chromium, spoken to over its DevTools pipe; needs no package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = os.environ.get("ARTS_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE_S = 120.0
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking", "--force-device-scale-factor=1"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-component-update", "--hide-scrollbars"),
)
_KEYS = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36} | {
    f"Arrow{side}": 37 + place for place, side in enumerate(("Left", "Up", "Right", "Down"))
}


class Browser:
    """One browser, one page. Everything that the page complains of is in `complaints`."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        to_read, self._to_write = os.pipe()
        self._to_read, to_write = os.pipe()
        command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", CHROMIUM]
        self._process = subprocess.Popen(
            [*command, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        pages = [one for one in self._send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        target = pages[0]["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Security", "Accessibility"):
            self._send(f"{domain}.enable")

    def open(self, page: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a file and wait until it has been drawn."""
        self.resize(width, height)
        self.set_dark(dark)
        self._send("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.body && document.body.dataset.ready === 'true' && !artsTree.state().isDirty")

    def resize(self, width: int, height: int, ratio: float = 1) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=ratio, mobile=False
        )

    def set_dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, script: str) -> Any:
        """The value of an expression on the page."""
        answer = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script: str) -> None:
        """Ask after each frame until the expression holds."""
        settled = (
            f"new Promise(done => {{ const ask = () => {{ let holds = false; try {{ holds = {script} }} catch {{}} "
        )
        settled += "if (holds) done(true); else setTimeout(ask, 10); }; ask(); })"
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                assert self.evaluate(settled) is True
                return
            except (AssertionError, LookupError):  # the page was replaced meanwhile
                if time.monotonic() > end:
                    raise

    @property
    def state(self) -> dict[str, Any]:
        """What the page says of itself, after the next frame."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        state: dict[str, Any] = self.evaluate("artsTree.state()")
        return state

    def press(self, *keys: str, modifiers: int = 0) -> None:
        """Press keys as a user does: characters, or names such as ArrowDown; modifiers: 8 is shift."""
        for key in keys:
            code = _KEYS.get(key, ord(key[0].upper()))
            text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
            press = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
            self._send("Input.dispatchKeyEvent", type="keyDown", **press, **text)
            self._send("Input.dispatchKeyEvent", type="keyUp", **press)

    def click(self, x: float, y: float, *, count: int = 1) -> None:
        for number in range(1, count + 1):
            where = {"x": x, "y": y, "button": "left", "clickCount": number}
            self._send("Input.dispatchMouseEvent", type="mousePressed", **where)
            self._send("Input.dispatchMouseEvent", type="mouseReleased", **where)

    def hover(self, x: float, y: float) -> None:
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        button = {"button": "left", "clickCount": 1}
        self._send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **button)
        self._send("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], button="left", buttons=1)
        self._send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **button)

    def wheel(self, x: float, y: float, delta: float, *, modifiers: int = 0) -> None:
        self._send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta, modifiers=modifiers)

    def accessible(self) -> list[dict[str, Any]]:
        """The accessibility tree's nodes that are not ignored."""
        nodes = self._send("Accessibility.getFullAXTree")["nodes"]
        return [node for node in nodes if not node.get("ignored")]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        try:
            self._session = None
            self._send("Browser.close")
            self._process.wait(timeout=20)
        except (AssertionError, OSError, LookupError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to_read)
        os.close(self._to_write)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise LookupError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._to_read], [], [], _PATIENCE_S)[0], "the browser does not answer"
            read = os.read(self._to_read, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method", ""), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(str(told["entry"]))
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append("a dialog was opened")
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
