"""A stand-in for what lends the GPUs of ZeroGPU: the HTTP interface that `spaces` 0.51.3 asks."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from serving import serving

LENT = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}


@dataclass(frozen=True)
class Refused:
    """A GPU that is not lent: seconds that are left of a quota, and until there are more."""

    left: int = 0
    wait: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 429


@dataclass(frozen=True)
class Queued:
    """A GPU that is lent after a time in line."""


@dataclass
class DeviceApi:
    """Who asked for a GPU, and the next answers: None lends one, and so do all that follow."""

    url: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)
    released: list[bool] = field(default_factory=list)
    """Of each call that ended: whether it failed."""
    workers: set[int] = field(default_factory=set)
    answers: list[Refused | Queued | None] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    moves: threading.Event = field(default_factory=threading.Event)
    """Whether those who wait in line get their GPU."""

    def forget(self) -> None:
        """Begin anew."""
        self.moves.set()
        self.asked.clear()
        self.released.clear()
        self.answers.clear()

    def wait_for_release(self, count: int, seconds: float) -> bool:
        """Whether so many calls have ended within `seconds`."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.released) >= count, seconds)

    def answer(self, path: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer to a request."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self.changed:
            if parts.path == "/schedule":
                self.asked.append(query)
                answer = self.answers.pop(0) if self.answers else None
                if isinstance(answer, Refused):
                    body = {"left": answer.left, "wait": answer.wait}
                    return answer.status, answer.headers, json.dumps(body)
                lent = json.dumps({**LENT, "allowToken": f"token-{len(self.asked)}"})
                if isinstance(answer, Queued):
                    headers = {"content-type": "text/event-stream", "x-queuing-reason": "node"}
                    return 200, headers, f"event: succeeded\ndata: {lent}\n\n"
                return 200, {}, lent
            if parts.path == "/allow":
                self.workers.add(int(query["pid"]))
            if parts.path == "/release":
                self.released.append(query.get("fail", "").lower() == "true")
                self.changed.notify_all()
        return 200, {}, "{}"


@contextlib.contextmanager
def device_api() -> Iterator[DeviceApi]:
    """A running one."""
    api = DeviceApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            status, headers, content = api.answer(self.path)
            body = content.encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if "text/event-stream" in headers.values():
                self.wfile.flush()
                api.moves.wait(300)
            self.wfile.write(body)

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        yield api
