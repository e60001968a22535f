"""The server: it starts the Space, answers what Gradio does not, and ends in an orderly way."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from speech_translation.engine import Engine, load_engine
from speech_translation.engine.batching import SharedEngine
from speech_translation.process import own_process
from web import zerogpu
from web.examples import examples
from web.gradio_patches import Admission, UploadParser, behind, bound_records
from web.guard import Guard
from web.live import LiveSessions
from web.loading import Loading
from web.service import Service
from web.settings import Settings, parser
from web.shutdown import Shutdown
from web.texts import texts
from web.theme import theme

SESSIONS = 100  # Gradio keeps 100 kB of each session, and nothing of ours is there
_FOLDER = Path(__file__).parent
_PREFIX = "speech_"  # of our texts: Gradio has an "audio" of its own
_M_ARENA_MAX = -8  # malloc.h

Localised = Callable[[str], Any]
"""The text of a key, in the language of whoever looks at the page."""

BuildPage = Callable[[Service, Admission, Localised], gr.Blocks]


def launch(build: BuildPage, settings: Settings, *, wait: bool = True) -> tuple[gr.Blocks, str]:
    """Start the Space with the page that `build` makes; returns it and its address.

    With `wait` the function does not return: it ends the process after a signal.
    """
    own_process()
    loading = Loading(lambda: _load(settings), settings.model)
    admission = Admission(settings)
    service = Service(settings, loading, admission.has_left)
    talks = LiveSessions(
        loading.engine,
        settings.live_talks,
        absent=zerogpu.ACTIVE,
        ending=lambda: service.shutdown.requested,
    )
    if wait:
        service.shutdown.listen()
    if zerogpu.ACTIVE:
        loading.run()  # ZeroGPU wants the weights on cuda before the server starts
        if loading.ready:
            zerogpu.prepare(loading.engine())
    else:
        loading.start()
    i18n = gr.I18n(
        **{
            language: {_PREFIX + key: text for key, text in words.items()}
            for language, words in texts().items()
        }
    )
    demo = build(service, admission, lambda key: i18n(_PREFIX + key))
    # Nobody can pass the queue. Its size limits only events without a validator: it must not refuse
    # a visitor whom `admission` has let in.
    admitted = settings.queue_size + settings.visitors_at_once
    demo.queue(max_size=2 * admitted, api_open=False)
    admission.watch(demo)
    bound_records(demo)
    UploadParser.install()
    _, url, _ = demo.launch(
        server_name=settings.host,
        server_port=settings.port,
        share=settings.share,
        inbrowser=settings.open,
        prevent_thread_lock=True,
        max_file_size=settings.max_megabytes << 20,
        allowed_paths=[str(example.path) for example in examples()],
        mcp_server=True,
        ssr_mode=False,
        state_session_capacity=SESSIONS,
        show_error=True,
        quiet=True,
        footer_links=["api", "settings"],
        i18n=i18n,
        theme=theme(),
        css_paths=_FOLDER / "style.css",
        head=_scripts(),
        app_kwargs={
            "routes": _routes(service, talks),
            "lifespan": behind(lambda app, root: Guard(app, settings.max_megabytes, root)),
        },
    )
    print(f"ready at {url}", file=sys.stderr)
    if wait:
        service.shutdown.wait()
        service.shutdown.finish(lambda: service.working or talks.working, service.stop_all)
        # At once: an orderly exit ends threads that are inside of torch, at which the C++ runtime
        # aborts the process.
        os._exit(0)
    return demo, url


def _load(settings: Settings) -> Engine:
    engine = load_engine(
        settings.model, settings.device, precision=settings.precision, url=settings.engine_url
    )
    # Visitors share an engine of this process. On ZeroGPU each one has a process of their own, and
    # vLLM servers make batches themselves.
    return engine if zerogpu.ACTIVE or settings.engine_url else SharedEngine(engine)


def _scripts() -> str:
    """The page's script and its texts, for the head of the page."""
    words = json.dumps(texts(), ensure_ascii=False).replace("</", "<\\/")
    page = (_FOLDER / "page.js").read_text("utf-8")
    return f"<script>window.speechTexts = {words};</script><script>{page}</script>"


def _routes(service: Service, talks: LiveSessions) -> list[BaseRoute]:
    """What the server answers beside Gradio: the state of the model, and live captions."""
    return [
        Route("/healthz", lambda _: _health(service.loading, service.shutdown)),
        *talks.routes,
    ]


def _health(loading: Loading, shutdown: Shutdown) -> JSONResponse:
    state = "ready" if loading.ready else "failed" if loading.finished else "loading"
    state = "ending" if shutdown.requested else state
    waiting_for = loading.waiting_for
    why = {"waiting_for": str(waiting_for)} if waiting_for else {}
    return JSONResponse({"model": state, **why}, 200 if state == "ready" else 503)


def _share_heaps() -> None:
    """Let all threads share two heaps. glibc would keep up to 16, each at its largest size."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def main(build: BuildPage, description: str, argv: Sequence[str] | None = None) -> int:
    """The command line: start the Space with the page that `build` makes, until it is stopped."""
    _share_heaps()
    # Gradio 6.17.3 uses an old name of starlette's, at each request.
    warnings.filterwarnings("ignore", "'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated")
    settings = Settings(**vars(parser(description).parse_args(argv)))
    if reason := _unavailable(settings.host, settings.port):
        print(f"error: {reason}", file=sys.stderr)
        return 1
    launch(build, settings)
    return 0


def _unavailable(host: str, port: int) -> str:
    """Why the server cannot listen there; empty if it can. Gradio finds out with a trace."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"Port {port} on {host} is in use: choose another with --port or SPEECH_PORT."
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"Port {port} may not be opened: choose one from 1024 on, with --port."
        return f"{host} cannot be listened on ({error.strerror}): correct --host or SPEECH_HOST."
    except OverflowError:
        return f"There is no port {port}: choose one from 1 to 65535, with --port or SPEECH_PORT."
    return ""
