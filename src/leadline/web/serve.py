"""The server: one socket on 127.0.0.1, until Ctrl-C."""

from __future__ import annotations

import socket

import uvicorn

from leadline.errors import InputError
from leadline.web.guard import Guard

HOST = "127.0.0.1"


def bind(port: int) -> socket.socket:
    """A socket on 127.0.0.1 that takes requests from now on; port 0 is any free one.

    Raises InputError for a port that is taken or none.
    """
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port}: a port lies between 0 (any that is free) and 65535")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the same port again after a crash
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise InputError(f"--port {port}: {error.strerror}; choose another one, or leave --port away") from None
    listening.listen(128)
    return listening


def server(app: Guard) -> uvicorn.Server:
    """The server of an app; `should_exit = True` ends it from another thread."""
    return uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2
        )
    )


def serve(app: Guard, listening: socket.socket) -> None:
    """Answers until Ctrl-C or SIGTERM."""
    try:
        server(app).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn passes it on once it has ended
        return
