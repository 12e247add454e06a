"""Protocols run in the contexts that asyncio's do. Each scenario is played on both loops (see scene.py)."""

import contextvars
import socket

import pytest

from scene import Collection, Peer, assert_as_asyncio
from test_servers_as_asyncio import connect, serve

scenario = Collection()

calls = contextvars.ContextVar("calls", default=0)


def count_call(recorder):
    """Notes how many calls this context has seen, and adds one."""
    recorder.scene.note("calls before", calls.get())
    calls.set(calls.get() + 1)


CALLS = ("connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "connection_lost")
COUNTED = dict.fromkeys(CALLS, count_call)


@scenario
async def what_a_protocol_sets_does_not_reach_whoever_made_the_connection(scene):
    _, peer = await scene.connect(connection_made=lambda recorder: calls.set(1))
    peer.send(b"hello")
    await scene.seen("data")
    scene.note(calls.get())


@scenario(since=(3, 15))
async def all_calls_of_an_accepted_connection_share_a_copy_of_the_server_s_context(scene):
    calls.set(100)
    server = await serve(scene, **COUNTED)
    calls.set(200)
    for number in (1, 2):
        peer = connect(scene, server)
        peer.send(b"hello")
        await scene.seen("data", number)
        peer.close()
        await scene.seen("connection_lost", number)
    scene.note(calls.get())
    server.close()
    await server.wait_closed()


@scenario(since=(3, 15))
async def a_factory_runs_in_the_context_of_its_connection(scene):
    def new():
        calls.set(calls.get() + 1)
        return scene.recorder(**COUNTED)

    server = await scene.loop.create_server(new, "127.0.0.1", 0)
    peer = Peer(scene, socket.create_connection(server.sockets[0].getsockname()))
    await scene.seen("connection_made")
    peer.close()
    await scene.seen("connection_lost")
    server.close()
    await server.wait_closed()


@scenario(since=(3, 15))
async def all_calls_of_a_client_share_a_copy_of_the_context_in_which_it_was_made(scene):
    calls.set(100)
    protocol, peer = await scene.connect(**COUNTED)
    calls.set(200)
    peer.send(b"hello")
    await scene.seen("data")

    # Whoever pauses, resumes or closes does it from another context. What writes set going: test_transport_contexts.py.
    protocol.transport.pause_reading()
    protocol.transport.resume_reading()
    peer.send(b"again")
    await scene.seen("data", 2)
    protocol.transport.close()
    await scene.seen("connection_lost")
    scene.note(calls.get())


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("debug", [False, True])
@scenario.parametrize()
def test_protocols_run_in_the_contexts_that_asyncio_s_do(scenario, kind, debug):
    async def in_debug_mode(scene):
        scene.loop.set_debug(debug)
        await scenario(scene)

    assert_as_asyncio(in_debug_mode, kind=kind)
