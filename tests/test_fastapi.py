"""FastAPI and Starlette as they are: what is `def` answers the same on everloop's threads as on anyio's.

Each test says what the answer is, and runs on anyio's own threads first: those say that it is right.
"""

import asyncio
import contextlib
import contextvars
import hashlib
import threading
import traceback

import anyio.to_thread
import pytest

import everloop
from support import PATIENCE, gates, wait_until

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
pytest.importorskip("multipart")

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, UploadFile  # noqa: E402
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse  # noqa: E402
from starlette.requests import ClientDisconnect  # noqa: E402

MEGABYTE = bytes(range(256)) * 4096
TOKENS = 40  # anyio's default: so many calls run at once

variable = contextvars.ContextVar("variable", default="nobody's")


@pytest.fixture(params=["anyio's threads", "everloop's threads"], autouse=True)
def threads(_no_leftovers, request):
    """Who calls what is `def`. anyio's workers end with their loop, a little later."""
    if request.param == "anyio's threads":
        yield "AnyIO worker thread"
        wait_until(lambda: not worker_threads("AnyIO"), "the end of anyio's workers")
    else:
        everloop.replace_anyio_pool()
        yield "asyncio_"
        everloop.restore_anyio_pool()


def worker_threads(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test", timeout=None)


def ask(app, path, method="GET", **options):
    """One request on a loop of its own; all threads are there again when it is answered."""

    async def main():
        async with client_of(app) as client:
            response = await client.request(method, path, **options)
        await assert_no_thread_is_lost()
        return response

    return everloop.run(main())


async def assert_no_thread_is_lost():
    """As many calls as there are tokens meet: each has a thread."""
    meeting = threading.Barrier(TOKENS)
    await asyncio.gather(*(anyio.to_thread.run_sync(meeting.wait, PATIENCE / 2) for _ in range(TOKENS)))
    assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


# ---- endpoints and what they depend on


def test_a_def_endpoint_is_called_on_a_thread(threads):
    app = FastAPI()

    @app.get("/{number}")
    def double(number: int, more: int = 0) -> dict[str, int | str]:
        return {"result": 2 * number + more, "thread": threading.current_thread().name}

    response = ask(app, "/4?more=1")
    assert response.status_code == 200
    assert response.json()["result"] == 9
    assert response.json()["thread"].startswith(threads)
    assert ask(app, "/four").status_code == 422


@pytest.fixture
def nested():
    """An app whose endpoint depends on `inner`, which depends on `outer`, and the list of what they do."""
    app, done = FastAPI(), []

    def outer():
        done.append("outer begins")
        try:
            yield "outer"
        except KeyError as error:
            done.append(f"outer sees {error!r}")
            raise
        finally:
            done.append("outer ends")

    def inner(of=Depends(outer)):  # noqa: B008 - that is how FastAPI is told
        done.append("inner begins")
        try:
            yield f"inner of {of}"
        except KeyError as error:
            done.append(f"inner sees {error!r}")
            raise
        finally:
            done.append("inner ends")

    @app.get("/")
    def endpoint(tasks: BackgroundTasks, name=Depends(inner)):  # noqa: B008
        done.append("endpoint")
        tasks.add_task(done.append, "first task")
        tasks.add_task(done.append, "second task")
        return name

    @app.get("/fails")
    def fails(name=Depends(inner)):  # noqa: B008
        raise KeyError("why")

    @app.get("/refuses")
    def refuses(name=Depends(inner)):  # noqa: B008
        raise HTTPException(418)

    return app, done


def test_dependencies_are_cleaned_up_in_turn_and_background_tasks_run_before(nested):
    app, done = nested
    response = ask(app, "/")
    assert (response.status_code, response.json()) == (200, "inner of outer")
    assert done == [
        *("outer begins", "inner begins", "endpoint", "first task", "second task"),
        *("inner ends", "outer ends"),
    ]


def test_dependencies_see_the_error_of_the_endpoint_and_are_cleaned_up_in_turn(nested):
    app, done = nested
    with pytest.raises(KeyError, match="why"):
        ask(app, "/fails")
    assert done == [
        *("outer begins", "inner begins"),
        *("inner sees KeyError('why')", "inner ends", "outer sees KeyError('why')", "outer ends"),
    ]


def test_dependencies_are_cleaned_up_after_a_refusal(nested):
    app, done = nested
    assert ask(app, "/refuses").status_code == 418
    assert done == ["outer begins", "inner begins", "inner ends", "outer ends"]


def test_an_error_comes_with_its_traceback_and_its_cause():
    app = FastAPI()

    def deeper():
        {}["key"]

    @app.get("/")
    def endpoint():
        try:
            deeper()
        except KeyError as error:
            raise ValueError("why") from error

    @app.exception_handler(LookupError)
    def answer(request, error):
        return JSONResponse([repr(error), threading.current_thread() is threading.main_thread()], 410)

    @app.get("/handled")
    def handled():
        raise IndexError("of a def endpoint")

    with pytest.raises(ValueError, match="why") as caught:
        ask(app, "/")
    assert own_functions(caught.value)[-1:] == ["endpoint"]
    assert own_functions(caught.value.__cause__) == ["endpoint", "deeper"]

    response = ask(app, "/handled")
    assert (response.status_code, response.json()) == (410, ["IndexError('of a def endpoint')", False])


def own_functions(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename == __file__]


def test_context_variables_go_along_to_a_thread_and_do_not_come_back():
    app = FastAPI()

    async def set_in_loop():
        variable.set("the loop's")

    def set_on_thread():
        assert variable.get() == "the loop's"
        variable.set("a thread's")

    def set_around():
        variable.set("a generator's")
        yield

    @app.get("/", dependencies=[Depends(each) for each in (set_in_loop, set_on_thread, set_around)])
    def endpoint():
        return variable.get()

    assert ask(app, "/").json() == "the loop's"
    assert variable.get() == "nobody's"


# ---- iterators


def test_a_synchronous_iterator_is_streamed_to_its_end():
    app = FastAPI()

    @app.get("/")
    def endpoint():
        return StreamingResponse(f"{number}\n" for number in range(100))

    @app.get("/fails")
    def fails():
        def pieces():
            yield "one"
            raise ValueError("half-way")

        return StreamingResponse(pieces())

    assert ask(app, "/").text.split() == [str(number) for number in range(100)]
    with pytest.raises(ValueError, match="half-way") as caught:
        ask(app, "/fails")
    assert own_functions(caught.value)[-1:] == ["pieces"]


@pytest.mark.parametrize("told_by", ["a message", "send"])
def test_a_client_leaves_while_the_iterator_blocks_and_the_iterator_is_closed(told_by):
    """Up to ASGI 2.3 a server tells it in a message, which cancels the response; later `send` raises OSError."""
    app = FastAPI()
    entered, closed = threading.Event(), threading.Event()

    with gates(1) as [gate]:

        @app.get("/")
        def endpoint():
            def pieces():
                try:
                    yield "first"
                    entered.set()
                    gate.wait()
                    yield "second"
                    yield "never asked for"
                finally:
                    closed.set()

            return StreamingResponse(pieces())

        client = LeavingClient(entered, gate, told_by)

        async def main():
            with contextlib.suppress(ClientDisconnect if told_by == "send" else ()):
                await app(client.scope, client.receive, client.send)
            await assert_no_thread_is_lost()

        everloop.run(main())
        assert client.received[0] == b"first"
        assert b"never asked for" not in client.received
        assert closed.wait(PATIENCE / 2)


class LeavingClient:
    """Asks for `/`, gets the first piece, and leaves while the second one is waited for at a gate."""

    def __init__(self, entered, gate, told_by):
        self.received = []
        self.scope = {
            **{"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []},
            "asgi": {"version": "3.0", "spec_version": "2.3" if told_by == "a message" else "2.4"},
        }
        self._entered, self._gate, self._told_by = entered, gate, told_by

    async def receive(self):
        if self._told_by == "send":
            await asyncio.get_running_loop().create_future()  # nothing more
        while not self._entered.is_set():
            await asyncio.sleep(0)
        # the message cancels the response: the call at the gate is waited for all the same
        asyncio.get_running_loop().call_soon(self._gate.open)
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] != "http.response.body":
            return
        if self._told_by == "send":
            if self.received:
                raise OSError("the client has left")
            self._gate.open()
        self.received.append(message["body"])


# ---- files


def test_a_file_of_a_megabyte_is_sent(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(MEGABYTE)
    app = FastAPI()

    @app.get("/")
    def endpoint():
        return FileResponse(path)

    response = ask(app, "/")
    assert response.headers["content-length"] == str(len(MEGABYTE))
    assert response.content == MEGABYTE
    part = ask(app, "/", headers={"Range": "bytes=70000-140000"})
    assert (part.status_code, part.content) == (206, MEGABYTE[70000:140001])

    path.unlink()
    with pytest.raises(RuntimeError, match="does not exist"):
        ask(app, "/")


def test_an_upload_of_five_megabytes_is_read_in_a_def_endpoint():
    app = FastAPI()

    @app.post("/")
    def endpoint(file: UploadFile):
        digest = hashlib.sha256()
        while piece := file.file.read(65536):
            digest.update(piece)
        return {"name": file.filename, "size": file.size, "digest": digest.hexdigest()}

    data = MEGABYTE * 5
    response = ask(app, "/", "POST", files={"file": ("large.bin", data)})
    assert response.json() == {"name": "large.bin", "size": len(data), "digest": hashlib.sha256(data).hexdigest()}
