"""Serve an example's application with uvicorn: for you to try, or visited by the example itself, which then ends.

A visit asks for `/`, then for `/health`, and says which was answered first. That is decided without a clock: when
`/health` has been answered, is the connection that asked for `/` still silent?
"""

import argparse
import http.client
import select
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI
from loops import loop_option


def main(app: FastAPI, *, serve: bool = False) -> None:
    """Serve `app` as the command line says; `serve` is what it does when the command line says nothing."""
    parser = argparse.ArgumentParser()
    loop_option(parser)
    parser.add_argument(
        "--serve", action=argparse.BooleanOptionalAction, default=serve, help="stay up, or visit the app and end"
    )
    parser.add_argument("--port", type=int, default=8000, help="where to stay up (%(default)s)")
    options = parser.parse_args()

    # uvicorn takes the loop of any library by the name of its factory
    loop_factory = f"{options.loop}:new_event_loop"
    if options.serve:
        stay_up(app, loop_factory, options.port)
    else:
        visit(app, loop_factory)


def stay_up(app: FastAPI, loop_factory: str, port: int) -> None:
    """Serve until Ctrl-C."""
    print(f"Try, in two other terminals, one right after the other (loop: {loop_factory}):")
    print(f"  curl http://127.0.0.1:{port}/")
    print(f"  curl http://127.0.0.1:{port}/health")
    print("End with Ctrl-C.", flush=True)
    uvicorn.run(app, loop=loop_factory, port=port)


def visit(app: FastAPI, loop_factory: str) -> None:
    """Serve on a free port, visit from another thread, end."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, loop=loop_factory, log_level="warning"))

    def visitor() -> None:
        try:
            ask_both(listener.getsockname()[1])
        finally:
            server.should_exit = True

    thread = threading.Thread(target=visitor)
    thread.start()
    server.run(sockets=[listener])
    thread.join()


def ask_both(port: int) -> None:
    """Ask for `/` and, while that is under way, for `/health`; print the answers in the order they came."""
    # the first answer says that the server is up
    answer(ask(port, "/health"))

    root = ask(port, "/")
    time.sleep(0.2)  # by now `/` is in its endpoint
    health = answer(ask(port, "/health"))
    root_waits = not select.select([root.sock], [], [], 0)[0]

    if root_waits:
        print("/health was answered first:", health)
        print("/ was answered next:", answer(root))
    else:
        print("/ was answered first:", answer(root))
        print("/health was answered next:", health)


def ask(port: int, path: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    return connection


def answer(connection: http.client.HTTPConnection) -> str:
    text = connection.getresponse().read().decode()
    connection.close()
    return text
