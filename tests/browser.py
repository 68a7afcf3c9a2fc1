"""A real Chromium, driven over its DevTools pipe: two file descriptors, JSON, no dependency and no port.

Debian's `chromium-headless-shell` is enough. `Browser` opens pages from files; a `Page` runs script, types and clicks
as a person does, and keeps what its console said, which exceptions nobody caught, and what it asked of the network.
"""

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PATIENCE = 30.0  # seconds for one answer: more than a busy machine needs
DESKTOP, PHONE = (1200, 800), (390, 844)


def found() -> str | None:
    """Return the Chromium of this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One process; used in a `with`, at whose end it is gone."""

    def __init__(self, program: str, folder: Path) -> None:
        to_read, self.write = os.pipe()
        self.read, to_write = os.pipe()
        # As root Chromium starts without its sandbox only; what it opens here is our own.
        words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        words += ["--disable-dev-shm-usage", "--hide-scrollbars", f"--user-data-dir={folder}"]
        # It reads commands from descriptor 3 and answers on 4, whatever the numbers are here.
        through = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *words]
        descriptors = (to_read, to_write)
        self.process = subprocess.Popen(
            through, pass_fds=descriptors, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        for one in descriptors:
            os.close(one)
        self.sent = 0
        self.rest = b""
        self.pages: dict[str, Page] = {}

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.ask("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self.read)
        os.close(self.write)

    def ask(self, method: str, session: str = "", **params: Any) -> Any:
        """Send one command and return its result; what happens meanwhile goes to its page."""
        self.sent += 1
        command = {"id": self.sent, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self.write, json.dumps(command).encode() + b"\0")
        while True:
            message = self.next()
            if message.get("id") == self.sent:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def next(self) -> dict[str, Any]:
        """Return the next message, after it was told to its page."""
        until = time.monotonic() + PATIENCE
        while b"\0" not in self.rest:
            if not select([self.read], [], [], max(until - time.monotonic(), 0))[0]:
                raise AssertionError("Chromium does not answer")
            more = os.read(self.read, 1 << 20)
            if not more:
                raise AssertionError("Chromium has ended")
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if page := self.pages.get(message.get("sessionId", "")):
            page.heard(message.get("method", ""), message.get("params", {}))
        return message

    def open(self, file: Path, size: tuple[int, int] = DESKTOP, theme: str = "light", fragment: str = "") -> "Page":
        """Open a file in a page of its own, at a size and in a theme, and wait until it is loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, target)
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            page.ask(f"{domain}.enable")
        width, height = size
        phone = width < 700
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        page.theme(theme)
        page.ask("Page.navigate", url=file.as_uri() + fragment)
        while not page.loaded:
            self.next()
        return page


class Page:
    """What is open in the browser, and what came of it."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser, self.session, self.target = browser, session, target
        self.loaded = False
        self.complaints: list[str] = []  # the console's warnings and errors, exceptions, breaches of the policy
        self.requests: list[str] = []  # all but the file itself

    def close(self) -> None:
        """Close it: what is open goes on drawing, and takes time from the others."""
        self.browser.ask("Target.closeTarget", targetId=self.target)
        del self.browser.pages[self.session]

    def ask(self, method: str, **params: Any) -> Any:
        return self.browser.ask(method, self.session, **params)

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """Note an event of this page."""
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one)) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Audits.issueAdded":
            self.complaints.append(json.dumps(params["issue"]["details"]))
        elif method == "Network.requestWillBeSent" and params.get("type") != "Document":
            self.requests.append(params["request"]["url"])

    def run(self, script: str) -> Any:
        """Return what a script comes to, in the page's own global scope."""
        made = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in made:
            raise AssertionError(made["exceptionDetails"]["exception"]["description"])
        return made["result"].get("value")

    def box(self, selector: str) -> dict[str, float]:
        """Return where an element stands in the window."""
        found: dict[str, float] = self.run(
            f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()"
        )
        return found

    def click(self, x: float, y: float) -> None:
        """Press and release the left button at a point of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def type(self, text: str) -> None:
        """Write a text where the caret is."""
        self.ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key by its name."""
        code = {"Enter": 13, "Backspace": 8}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def theme(self, name: str) -> None:
        """Let the machine's theme be light or dark."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def settled(self) -> None:
        """Wait until what moves has stopped and what changed is painted."""
        self.run(
            "new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 250))"
        )

    def picture(self, whole: bool = False) -> bytes:
        """Return what can be seen, as a PNG."""
        return b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"])
