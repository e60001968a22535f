"""The server: it starts the Space, answers what Gradio does not, and ends in an orderly way."""

from __future__ import annotations

import errno
import os
import socket
import sys
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from speech_translation.console import let_print, mend_streams, tell
from speech_translation.engine import Engine, load_engine
from speech_translation.engine.batching import SharedEngine
from speech_translation.process import own_process
from web import film, heap, html, pages, zerogpu
from web.gradio_patches import UploadParser, Visits, behind, uploads_of
from web.guard import Guard
from web.live import LiveSessions
from web.loading import Loading
from web.openai_api import OpenAIRoutes
from web.preview import Preview
from web.service import Service
from web.settings import Settings, parser
from web.shutdown import Shutdown
from web.theme import theme

SESSIONS = 100  # Gradio keeps 100 kB of each session, and nothing of ours is there
THREADS = 256  # of Gradio, one for each request that works, waits in line or is refused
_LARGEST = 1 << 53  # bytes of an upload: the page's JSON holds no larger number
# Seconds for which a thread may keep Python's lock from others, a fifth of the default. Whoever
# decodes, detects or generates gives the lock away at each step, and has to wait for it again.
_TURN = 0.001

BuildPage = Callable[[Service], gr.Blocks]


def launch(build: BuildPage, settings: Settings, *, wait: bool = True) -> tuple[gr.Blocks, str]:
    """Start the Space with the page that `build` makes; returns it and its address.

    With `wait` the function does not return: it ends the process after a signal.
    """
    own_process()
    loading = Loading(lambda: _load(settings), settings.model)
    visits = Visits()
    service = Service(settings, loading, visits.has_left)
    talks = LiveSessions(
        loading.engine,
        settings.live_talks,
        absent=zerogpu.ACTIVE,
        ending=lambda: service.shutdown.requested,
        transcriber=service.transcriber,
    )
    if wait:
        service.shutdown.listen()
    if zerogpu.ACTIVE:
        loading.run()  # ZeroGPU wants the weights on cuda before the server starts
        if loading.ready:
            zerogpu.prepare(loading.engine(), service.transcriber.loaded_now())
    else:
        loading.start()
    demo = build(service)
    demo.queue(max_size=4 * THREADS, api_open=False)  # long before, web/line.py refuses, in words
    visits.watch(demo)
    UploadParser.install()
    _reach_itself(settings.host)
    _, url, _ = demo.launch(
        server_name=f"[{settings.host}]" if ":" in settings.host else settings.host,
        server_port=settings.port,
        share=settings.share,
        inbrowser=settings.open,
        prevent_thread_lock=True,
        max_file_size=min(settings.max_megabytes << 20, _LARGEST),
        max_threads=THREADS,
        mcp_server=True,
        ssr_mode=False,
        state_session_capacity=SESSIONS,
        show_error=True,
        quiet=True,
        footer_links=["api"],  # its panel; the page hides the footer
        theme=theme(),
        css_paths=sorted(html.PAGE.glob("*.css")),
        head=html.scripts() + '<script type="module" src="./page/main.js"></script>',
        app_kwargs={
            "routes": _routes(service, talks, uploads_of(demo)),
            "lifespan": behind(
                lambda app, root: Guard(Preview(app, root), settings.max_megabytes, root)
            ),
        },
    )
    tell(f"ready at {url}")
    if wait:
        service.shutdown.wait()
        service.shutdown.finish(lambda: service.working or talks.working, service.stop_all)
        # At once: an orderly exit ends threads that are inside of torch, at which the C++ runtime
        # aborts the process.
        os._exit(0)
    return demo, url


def _reach_itself(host: str) -> None:
    """Let Gradio, which asks its own server at its start, do so past the environment's proxies."""
    if proxies := urllib.request.getproxies_environment():
        exempt = proxies.get("no", ""), host, "localhost"
        os.environ["no_proxy"] = ",".join(filter(None, exempt))


def _load(settings: Settings) -> Engine:
    engine = load_engine(
        settings.model,
        settings.device,
        precision=settings.precision,
        url=settings.engine_url,
        cache=not settings.no_cache,
    )
    # Visitors share an engine of this process. On ZeroGPU each one has a process of their own, and
    # vLLM servers make batches themselves.
    return engine if zerogpu.ACTIVE or settings.engine_url else SharedEngine(engine)


def _routes(service: Service, talks: LiveSessions, uploads: Path) -> list[BaseRoute]:
    """What the server answers beside Gradio: its state, the page's files, live, OpenAI's routes."""
    return [
        Route("/healthz", lambda _: _health(service.loading, service.shutdown)),
        # Gradio's panel of the endpoints waits for it. What is counted there is nobody's business.
        Route("/monitoring/summary", lambda _: JSONResponse({"functions": {}})),
        *pages.routes(service),
        *film.routes(uploads),
        *talks.routes,
        *OpenAIRoutes(service, absent=zerogpu.ACTIVE).routes,
    ]


def _health(loading: Loading, shutdown: Shutdown) -> JSONResponse:
    state = "ready" if loading.ready else "failed" if loading.finished else "loading"
    state = "ending" if shutdown.requested else state
    waiting_for = loading.waiting_for
    why = {"waiting_for": str(waiting_for)} if waiting_for else {}
    return JSONResponse({"model": state, **why}, 200 if state == "ready" else 503)


def main(build: BuildPage, description: str, argv: Sequence[str] | None = None) -> int:
    """The command line: start the Space with the page that `build` makes, until it is stopped."""
    mend_streams()
    let_print()
    heap.tend()
    sys.setswitchinterval(_TURN)
    # Gradio 6.17.3 uses an old name of starlette's, at each request.
    warnings.filterwarnings("ignore", "'HTTP_422_UNPROCESSABLE_ENTITY' is deprecated")
    settings = Settings(**vars(parser(description).parse_args(argv)))
    if reason := _unavailable(settings.host, settings.port):
        tell(f"error: {reason}")
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
