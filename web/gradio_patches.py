"""Every private part of Gradio and starlette that the Space relies on stands in this file.

Gradio 6.17.3, starlette as pinned in requirements.txt. tests/web/test_gradio_patches.py has a test
for each part, which fails when the part is gone or means something else.

| private part                                    | relied on for                              |
|-------------------------------------------------|--------------------------------------------|
| `Blocks._queue`, `Queue.push`, `Blocks.fns`,    | `fill_in`: inputs may be left out          |
| `body.fn_index` and `.data`                     |                                            |
| `Queue.active_jobs`, `Event.request`, `.alive`  | `Visits.has_left`                          |
| `Queue.event_ids_to_events`, `._asyncio_tasks`, | `forget_past`, `Unrecorded`: memory stays  |
| `.pending_event_ids_session`, `.event_analytics`, | level                                    |
| `.pending_messages_per_session`,                |                                            |
| `.event_queue_per_concurrency_id`,              |                                            |
| `App.iterators_to_reset`, `Blocks.state_holder`, |                                           |
| `.pending_streams`, `.pending_diff_streams`     |                                            |
| `Blocks.preprocess_data`, `Blocks.GRADIO_CACHE` | `UploadsOnly`, `uploads_of`: no links, paths |
| `route_utils.GradioMultiPartParser`, with       | `UploadParser`: nothing stays of an upload |
| `_files_to_close_on_error`                      | that failed                                |
| starlette's `app.middleware_stack`              | `behind`: the guard stands outermost       |

Public ways that were tried in their place:

- `gr.mount_gradio_app` with uvicorn, instead of `Blocks.launch` and `behind`. The guard, routes,
  MCP tools, a root path and `Blocks.state_session_capacity` worked. But `spaces` 0.51.3 starts
  ZeroGPU inside `Blocks.launch`, and only `launch` opens a share link. uvicorn's
  `timeout_graceful_shutdown` also waits for the event streams that pages keep open: with one client
  connected it waited to the end and cancelled them with tracebacks, so web/shutdown.py would stay.
- `launch(app_kwargs={"middleware": ...})` instead of `behind`. Gradio adds its CORS middleware
  around it, so the guard could not take `Access-Control-Allow-Credentials` out of an answer.
- `queue(max_size=...)` and concurrency limits instead of `web/line.py`. Its refusal is one fixed
  English sentence, it counts requests and not seconds, and nobody in it is told their place.
- `gr.Audio.preprocess` instead of `Blocks.preprocess_data`. By then Gradio has fetched a link.

`gr.Dropdown(allow_custom_value=True)` did replace a patched `gr.Radio`: see `web/api.py`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.route_utils
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp

from speech_translation.types import Language
from web.refusals import Refusal
from web.texts import say
from web.uploads import Expired, NotUploaded, upload


class Visits:
    """The requests on their way through Gradio's queue: what they left out, and who has left."""

    def __init__(self) -> None:
        self._queue: Any = None

    def watch(self, demo: gr.Blocks) -> None:
        """Look at the queue of `demo`, which `demo.queue` has made."""
        self._queue = demo._queue
        self._queue.event_analytics = Unrecorded()
        push = self._queue.push

        async def pushed(body: Any, *others: Any, **options: Any) -> Any:
            forget_past(demo)
            fill_in(demo, body)
            return await push(body, *others, **options)

        self._queue.push = pushed

    def has_left(self, request: gr.Request | None) -> bool:
        """Whether Gradio has noticed that the visitor of `request` is gone.

        Gradio lets the function of such a visitor run on.
        """
        asked = request.request if request else None
        jobs = [job for jobs in self._queue.active_jobs if jobs for job in jobs]
        return any(job.request is asked and not job.alive for job in jobs)


def fill_in(demo: gr.Blocks, body: Any) -> None:
    """Give the last inputs of a request, where they were left out, the values that they begin with.

    Gradio's clients do so. A request over HTTP without them would be refused as 404.
    """
    function = demo.fns.get(body.fn_index)
    if function is not None:
        missing = function.inputs[len(body.data) :]
        body.data += [getattr(block, "value", None) for block in missing]


class Unrecorded(dict[str, dict[str, Any]]):
    """Gradio's statistics of requests, which it keeps of every one and computes anew after each.

    What is written here is gone at once: nobody reads it, and `/monitoring/summary` is ours.
    """

    def __setitem__(self, key: str, value: dict[str, Any]) -> None:
        """Keep nothing."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return {}


def forget_past(demo: gr.Blocks) -> None:
    """Drop what Gradio 6.17.3 keeps for ever of each request that has ended, and of its session.

    That is about 16 kB of a request. Later versions of Gradio drop it themselves (pull requests
    13156 and 13756 of gradio-app/gradio).
    """
    queue, app = demo._queue, demo.app
    connected = queue.pending_messages_per_session  # Gradio keeps the last 2000 sessions here
    queue._asyncio_tasks[:] = [task for task in queue._asyncio_tasks if not task.done()]
    unheard = queue.pending_event_ids_session
    for sessions in (unheard, demo.pending_streams, demo.pending_diff_streams):
        for session in sessions.keys() - connected.keys():
            del sessions[session]
    used = demo.state_holder.time_last_used
    for session in used.keys() - demo.state_holder.session_data.keys():
        del used[session]
    at_work = [event for job in queue.active_jobs for event in job or ()]
    for waiting in queue.event_queue_per_concurrency_id.values():
        at_work += waiting.queue
    wanted = {event._id for event in at_work}.union(*unheard.values())
    for ended in queue.event_ids_to_events.keys() - wanted:
        del queue.event_ids_to_events[ended]
    app.iterators_to_reset &= wanted


class UploadsOnly(gr.Blocks):
    """Blocks whose events take uploads only: no links, no paths of the server."""

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any
    ) -> list[Any]:
        """Turn an event's inputs into its function's arguments."""
        try:
            sent = list(map(self._checked, block_fn.inputs, inputs))
        except NotUploaded as wrong:  # the visitor's language is not known here
            key = "expired" if isinstance(wrong, Expired) else "uploads_only"
            words = " ".join(say(language, key) for language in Language)
            raise Refusal(words, key=key) from None
        prepared: list[Any] = await super().preprocess_data(block_fn, sent, *arguments, **options)
        return prepared

    def _checked(self, block: Any, value: Any) -> Any:
        if isinstance(block, gr.Audio):
            return upload(value, Path(self.GRADIO_CACHE))
        if isinstance(value, dict | list):  # Gradio opens the files that it finds in one
            raise NotUploaded
        return value


def uploads_of(demo: gr.Blocks) -> Path:
    """The folder in which Gradio keeps what is uploaded to a page."""
    return Path(demo.GRADIO_CACHE)


class UploadParser(gradio.route_utils.GradioMultiPartParser):
    """Gradio's parser for one file at a time. Nothing stays of an upload that failed.

    Gradio 6.17.3 leaves its temporary file when a visitor breaks off, the form is broken or has no
    end, or the file is in another field or named "..".
    """

    @classmethod
    def install(cls) -> None:
        """Let Gradio parse every upload of this process with this class."""
        gradio.route_utils.GradioMultiPartParser = cls  # type: ignore[misc]

    async def parse(self) -> FormData:
        """The form, with a file in the field `files`. Raises MultiPartException."""
        self.max_files, self.max_fields = 1, 0
        kept = set[str]()
        try:
            form = await super().parse()
            file = form.get("files")
            if not isinstance(file, UploadFile):
                raise MultiPartException("An upload is a form with a file in the field files.")
            # Gradio's links do not escape % and #, and "." is a folder to Gradio.
            name = re.sub("[%#]", "_", Path(file.filename or "").name)
            file.filename = name if any(map(str.isalnum, name)) else "recording"
            kept.add(str(file.file.name))
            return form
        except FormParserError as error:
            raise MultiPartException("The form of this upload is broken.") from error
        finally:
            for written in self._files_to_close_on_error:
                if written.name not in kept:
                    written.close()
                    Path(written.name).unlink(missing_ok=True)


def behind(
    guard: Callable[[ASGIApp, str], ASGIApp],
) -> Callable[[Any], contextlib.AbstractAsyncContextManager[None]]:
    """A lifespan that puts `guard(app, root path)` in front of all of Gradio's own middleware."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = guard(app.middleware_stack, app.root_path)
        yield

    return lifespan
