"""Chromium, driven over the pipe of its DevTools protocol, which needs no package."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATH = next(filter(None, map(shutil.which, NAMES)), None)
# The descriptors that Chromium reads from and writes to.
READ, WRITE = 3, 4
SECONDS = 30
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


class Page:
    """One page, with the messages of its console and its requests.

    Attributes:
        errors: messages of the console and exceptions.
        requests: the addresses that were requested, among them that of the page.
    """

    def __init__(self, to_browser, from_browser):
        self._to_browser, self._from_browser = to_browser, from_browser
        self._buffer, self._number, self._session = b"", 0, None
        self.errors, self.requests = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """Sends a command and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        number = self._number
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from_browser], [], [], SECONDS)
            assert ready, "Chromium does not answer"
            self._buffer += os.read(self._from_browser, 1 << 20)
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(params["exceptionDetails"])
            case "Log.entryAdded":
                self.errors.append(params["entry"])
            case "Runtime.consoleAPICalled":
                self.errors.append(params["args"])
            case "Network.requestWillBeSent":
                if not params["request"]["url"].startswith(("about:", "data:")):
                    self.requests.append(params["request"]["url"])
        return message

    def open(self, path, address="", width=1440, height=900, **media):
        """Opens a file in a window of a size, with media features such as `reduced_motion`."""
        self.resize(width, height)
        features = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in media.items()
        ]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=f"{path.absolute().as_uri()}{address}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def resize(self, width, height):
        """Sets the size of the window."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, expression):
        """Returns the value of a JavaScript expression, which may be a promise."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, (expression, found)
        return found["result"].get("value")

    def wait(self, expression):
        """Waits until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def settle(self):
        """Waits until the page has handled an input and drawn what is out of view."""
        self.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def press(self, key):
        """Presses a key, as a person does."""
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        code = KEYS.get(key, 0)
        arguments = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        down = "keyDown" if text else "rawKeyDown"
        self.send("Input.dispatchKeyEvent", type=down, text=text, **arguments)
        self.send("Input.dispatchKeyEvent", type="keyUp", **arguments)
        self.settle()

    def point(self, selector, x, y):
        """Moves the mouse to a place of an element, as fractions of its size, and clicks."""
        box = self.evaluate(
            f"""(() => {{
              const element = document.querySelector({json.dumps(selector)});
              element.scrollIntoView({{ block: "center", behavior: "instant" }});
              const {{ left, top, width, height }} = element.getBoundingClientRect();
              return {{ left, top, width, height }};
            }})()"""
        )
        place = {"x": box["left"] + x * box["width"], "y": box["top"] + y * box["height"]}
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **place, **button)
        self.settle()

    def click(self, selector):
        """Clicks on an element."""
        self.point(selector, 0.5, 0.5)

    def text(self, selector):
        """Returns the text of an element, in which every run of spaces is one."""
        text = self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return " ".join(text.split())

    def names(self):
        """Returns the role and the name of each control and picture for a screen reader."""
        roles = {"button", "image", "img", "slider", "textbox", "link", "dialog"}
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        found = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in found]

    def screenshot(self, path, **arguments):
        """Writes a picture of the page."""
        data = self.send("Page.captureScreenshot", **arguments)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self):
        """Returns the printed page."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])


@contextlib.contextmanager
def chromium():
    """Starts Chromium without a window and yields a `Page`."""
    read_commands, to_browser = os.pipe()
    from_browser, write_answers = os.pipe()

    def place():
        """Gives the two ends of Chromium their descriptors, which may be each other's."""
        ends = os.dup(read_commands), os.dup(write_answers)
        os.dup2(ends[0], READ)
        os.dup2(ends[1], WRITE)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        command = [
            PATH,
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={directory}",
        ]
        # A container has neither the rights for a sandbox nor much shared memory.
        command += ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"]
        process = subprocess.Popen(
            command, preexec_fn=place, close_fds=False, stderr=subprocess.DEVNULL
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Page(to_browser, from_browser)
        finally:
            process.terminate()
            process.wait()
            os.close(to_browser)
            os.close(from_browser)
