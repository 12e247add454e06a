"""What a fresh installation must do, with nothing installed beside it: a line for each; it fails at the first."""

import asyncio
import contextlib
import importlib.metadata
import logging
import pathlib
import ssl
import subprocess
import sys
import sysconfig
import threading

import everloop


def is_what_was_installed() -> None:
    assert importlib.metadata.version("everloop") == everloop.__version__
    assert pathlib.Path(everloop.__file__).is_relative_to(sysconfig.get_path("platlib"))
    assert (pathlib.Path(everloop.__file__).parent / "py.typed").exists()


def serves_streams() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    async def main() -> bytes:
        assert isinstance(asyncio.get_running_loop(), everloop.EventLoop)
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            answer = await reader.read()
            writer.close()
            return answer

    assert everloop.run(main()) == b"hello"


def has_tls() -> None:
    async def main() -> None:
        with contextlib.suppress(
            ssl.SSLError, ConnectionError
        ):  # the server speaks none; the library is called all the same
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            async with server:
                context = ssl.create_default_context()
                await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=context, server_hostname="here")

    everloop.run(main())


def rescues_what_blocks() -> None:
    opened = threading.Event()

    async def block() -> bool:
        return opened.wait(60)

    async def open_it() -> None:
        opened.set()

    async def main() -> bool:
        blocked = asyncio.create_task(block())
        await asyncio.sleep(0)
        await open_it()
        return await blocked

    logging.getLogger("everloop").setLevel(logging.CRITICAL)
    assert everloop.run(main(), rescue=True)


def calls_threads_and_processes() -> None:
    async def main() -> tuple[bool, int]:
        elsewhere = await everloop.to_thread(threading.current_thread) is not threading.current_thread()
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
        return elsewhere, await child.wait()

    assert everloop.run(main()) == (True, 3)
    assert everloop.block_on(asyncio.sleep(0, 42)) == 42


def has_its_command() -> None:
    found = subprocess.run(
        [pathlib.Path(sysconfig.get_path("scripts")) / "everloop", "--help"], capture_output=True, text=True, check=True
    )
    assert "everloop" in found.stdout


def main() -> None:
    for promise in (
        is_what_was_installed,
        serves_streams,
        has_tls,
        rescues_what_blocks,
        calls_threads_and_processes,
        has_its_command,
    ):
        promise()
        print(f"CPython {sys.version.split()[0]}: everloop {everloop.__version__} {promise.__name__.replace('_', ' ')}")


main()
