"""Servers and the making of connections do what asyncio's do. Each scenario is played on both loops (see scene.py)."""

import asyncio
import os
import socket
import ssl
import sys

import pytest

from scene import BIG, Collection, Peer, assert_as_asyncio

scenario = Collection()


async def serve(scene, start_serving=True, **acts):
    """A server of the scene's kind, whose protocols note what they see."""
    names = iter("abcdefgh")

    def new():
        return scene.recorder(next(names), **acts)

    if scene.kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")
        return await scene.loop.create_unix_server(new, sock=listener, start_serving=start_serving)
    return await scene.loop.create_server(new, "127.0.0.1", 0, start_serving=start_serving)


def connect(scene, server, address=None):
    """A peer that is connected to a server, as far as the kernel knows."""
    family = socket.AF_UNIX if scene.kind == "unix" else socket.AF_INET
    sock = scene.resources.enter_context(socket.socket(family))
    sock.connect(address or server.sockets[0].getsockname())
    return Peer(scene, sock)


# -- listening ------------------------------------------------------------------------------------------------------


@scenario
async def connections_are_accepted(scene):
    server = await serve(scene)
    for number in range(3):
        peer = connect(scene, server)
        await scene.seen("connection_made", number + 1)
        peer.send(b"hello")
        await scene.seen("data", number + 1)
        peer.close()
        await scene.seen("connection_lost", number + 1)
    server.close()
    await server.wait_closed()


@scenario
async def many_connections_at_once(scene):
    server = await serve(scene)
    peers = [connect(scene, server) for _ in range(8)]
    await scene.seen("connection_made", 8)
    scene.note(len(peers))
    server.close()


@scenario
async def a_server_is_closed(scene):
    server = await serve(scene)
    address = server.sockets[0].getsockname()
    scene.note(server.is_serving(), len(server.sockets), server.get_loop() is scene.loop)
    server.close()
    scene.note(server.is_serving(), len(server.sockets))
    server.close()
    try:
        connect(scene, server, address)
    except OSError as error:
        scene.note(error)
    await server.wait_closed()


@scenario
async def a_server_starts_later(scene):
    server = await serve(scene, start_serving=False)
    scene.note(server.is_serving(), len(server.sockets))
    for _ in range(2):
        await scene.note_result("start_serving", server.start_serving())
    scene.note(server.is_serving())
    connect(scene, server)
    await scene.seen("connection_made")
    server.close()
    await scene.note_result("start_serving", server.start_serving())
    await scene.note_result("serve_forever", server.serve_forever())


@scenario
async def a_server_that_never_served(scene):
    server = await serve(scene, start_serving=False)
    server.close()
    await scene.note_result("wait_closed", server.wait_closed())


@scenario
async def serving_for_ever(scene):
    server = await serve(scene)
    serving = asyncio.create_task(server.serve_forever())
    await scene.settle()
    await scene.note_result("serve_forever", server.serve_forever())
    connect(scene, server)
    await scene.seen("connection_made")
    scene.recorders[0].transport.abort()  # from 3.12 on, the end is waited for
    serving.cancel()
    await scene.note_result("the first", serving)
    scene.note(server.is_serving())


@scenario
async def a_context_closes_its_server(scene):
    async with await serve(scene) as server:
        scene.note(server.is_serving())
    scene.note(server.is_serving())


@scenario
async def closing_waits_for_connections(scene):
    server = await serve(scene)
    peer = connect(scene, server)
    await scene.seen("connection_made")
    server.close()
    waiting = asyncio.create_task(server.wait_closed())
    await scene.settle()
    scene.note(waiting.done())
    peer.send(b"still there")
    await scene.seen("data")
    peer.close()
    await scene.note_result("wait_closed", waiting)


@scenario
async def a_server_is_shown(scene):
    server = await serve(scene)
    scene.note(repr(server).replace(repr(server.sockets[0].getsockname()), "(address)"))
    server.close()
    scene.note(repr(server))


@scenario
async def its_sockets(scene):
    server = await serve(scene)
    sock = server.sockets[0]
    scene.note(type(server.sockets), type(sock), sock.type.name, sock.gettimeout())
    scene.note(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), os.get_inheritable(sock.fileno()))
    server.close()
    await server.wait_closed()
    scene.note(server.sockets)


if sys.version_info >= (3, 13):

    @scenario
    async def clients_are_closed(scene):
        server = await serve(scene)
        peers = [connect(scene, server) for _ in range(2)]
        await scene.seen("connection_made", 2)
        scene.recorders[0].transport.write(BIG)
        server.close()
        server.close_clients()
        scene.note([recorder.transport.is_closing() for recorder in scene.recorders])
        for peer in peers:
            scene.note(await peer.read_to_end())
        await server.wait_closed()
        scene.events.sort(key=str)  # which of the clients is first is not said

    @scenario
    async def clients_are_aborted(scene):
        server = await serve(scene)
        peers = [connect(scene, server) for _ in range(2)]
        await scene.seen("connection_made", 2)
        for recorder in scene.recorders:
            recorder.transport.write(BIG)
        server.close()
        server.abort_clients()
        await server.wait_closed()
        for peer in peers:
            scene.note((await peer.until_reset()) is not None)
        scene.events.sort(key=str)

    @scenario
    async def clients_of_an_open_server_are_closed(scene):
        server = await serve(scene)
        connect(scene, server)
        await scene.seen("connection_made")
        server.close_clients()
        await scene.seen("connection_lost")
        scene.note(server.is_serving())
        connect(scene, server)
        await scene.seen("connection_made", 2)
        server.close()


# -- connections that fail ------------------------------------------------------------------------------------------


@scenario
async def the_factory_raises(scene):
    def factory():
        raise RuntimeError("of the factory")

    server = await scene.loop.create_server(factory, "127.0.0.1", 0)
    scene.kind = "tcp"
    peer = connect(scene, server)
    await scene.seen("exception handler") if scene.loop.get_debug() else await scene.settle()
    scene.note((await peer.until_reset()) is not None)
    server.close()


@scenario
async def the_peer_is_gone_before_it_is_accepted(scene):
    server = await serve(scene)
    peer = connect(scene, server)
    peer.reset()
    await scene.seen("connection_lost")
    server.close()


@scenario
async def closed_before_it_is_accepted(scene):
    server = await serve(scene)
    connect(scene, server)
    server.close()
    await scene.settle()


@scenario
async def a_connection_is_accepted_by_hand(scene):
    family = socket.AF_UNIX if scene.kind == "unix" else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind("" if scene.kind == "unix" else ("127.0.0.1", 0))
        listener.listen()
        peer = connect(scene, None, listener.getsockname())
        accepted, _ = listener.accept()
    transport, protocol = await scene.loop.connect_accepted_socket(scene.recorder, accepted)
    peer.send(b"hello")
    await scene.seen("data")
    scene.note(transport.get_protocol() is protocol, transport.get_extra_info("socket").gettimeout())
    transport.close()


@scenario.parametrize()
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_servers_do_what_asyncio_s_do(scenario, kind):
    assert_as_asyncio(scenario, kind=kind)


# -- making them ----------------------------------------------------------------------------------------------------

making = Collection()


@making
async def a_connection_is_refused(scene):
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        host, port = unheard.getsockname()
        for options in ({}, {"all_errors": True}, {"happy_eyeballs_delay": 0.25}):
            try:
                await scene.loop.create_connection(scene.recorder, host, port, **options)
            except (OSError, ExceptionGroup) as error:
                scene.note(type(error), str(error).replace(str(port), "?"))


@making
async def arguments_of_connections_that_do_not_go_together(scene):
    with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for arguments in (
            {},
            {"host": "127.0.0.1", "port": 1, "sock": sock},
            {"sock": datagrams},
            {"host": "127.0.0.1", "port": 1, "server_hostname": "localhost"},
            {"sock": sock, "ssl": True},
            {"sock": sock, "ssl_handshake_timeout": 1},
            {"sock": sock, "ssl_shutdown_timeout": 1},
            {"sock": sock, "ssl": ssl.create_default_context(), "server_hostname": ""},
        ):
            made = scene.loop.create_connection(scene.recorder, **arguments)
            await scene.note_result(str(sorted(arguments)), made)


@making
async def arguments_of_servers_that_do_not_go_together(scene):
    with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        for arguments in (
            {},
            {"host": "127.0.0.1", "port": 1, "sock": sock},
            {"sock": datagrams},
            {"host": "127.0.0.1", "port": 0, "ssl": True},
            {"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1},
            {"host": "127.0.0.1", "port": 0, "ssl_shutdown_timeout": 1},
            {"host": "192.0.2.1", "port": 0},
            {"host": "127.0.0.1", "port": -1},
        ):
            made = scene.loop.create_server(scene.recorder, **arguments)
            await scene.note_result(str(sorted(arguments)), made)


@making
async def arguments_of_unix_sockets_that_do_not_go_together(scene):
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as sock:
        for make in (scene.loop.create_unix_connection, scene.loop.create_unix_server):
            for arguments in (
                {},
                {"path": "/nowhere/socket"},
                {"path": "/nowhere", "sock": sock},
                {"sock": tcp},
                {"path": "/nowhere", "ssl": True},
                {"path": "/nowhere", "ssl_handshake_timeout": 1},
                {"path": str(scene.kind)},
            ):
                await scene.note_result(str(sorted(arguments)), make(scene.recorder, **arguments))


@making
async def an_address_is_in_use(scene):
    server = await scene.loop.create_server(scene.recorder, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await scene.loop.create_server(scene.recorder, "127.0.0.1", port)
    except OSError as error:
        scene.note(error.errno, str(error).replace(str(port), "?"))
    server.close()


@making
async def ports_are_shared(scene):
    one = await scene.loop.create_server(scene.recorder, "127.0.0.1", 0, reuse_port=True)
    port = one.sockets[0].getsockname()[1]
    two = await scene.loop.create_server(scene.recorder, "127.0.0.1", port, reuse_port=True)
    scene.note(two.sockets[0].getsockname()[1] == port)
    one.close()
    two.close()


@making
async def many_addresses(scene):
    server = await scene.loop.create_server(scene.recorder, ["127.0.0.1", "::1"], 0)
    scene.note([sock.family.name for sock in server.sockets])
    server.close()
    server = await scene.loop.create_server(scene.recorder, None, 0)
    scene.note(sorted(sock.family.name for sock in server.sockets))
    server.close()


@making
async def a_path_is_used_again(scene):
    path = str(scene.kind / "socket")
    for number in (1, 2):
        server = await scene.loop.create_unix_server(scene.recorder, path)
        _, protocol = await scene.loop.create_unix_connection(lambda: scene.recorder("client"), path)
        await scene.seen("connection_made", 2 * number)
        scene.note(protocol.transport.get_extra_info("peername") == path)
        protocol.transport.close()
        await scene.seen("connection_lost", 2 * number)
        server.close()
        await server.wait_closed()
        scene.note(os.path.exists(path))
        scene.events.sort(key=str)


@making
async def abstract_names(scene):
    name = f"\0{scene.kind}"
    for number, path in enumerate((name, name.encode()), 1):
        server = await scene.loop.create_unix_server(scene.recorder, path)
        scene.note(server.sockets[0].getsockname() == name.encode())
        await scene.loop.create_unix_connection(lambda: scene.recorder("client"), path)
        await scene.seen("connection_made", 2 * number)
        server.close()
        for recorder in scene.recorders:
            recorder.transport.abort()
        await server.wait_closed()
        scene.events.sort(key=str)


@making
async def a_client_comes_from_a_local_address(scene):
    server = await scene.loop.create_server(scene.recorder, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await scene.loop.create_connection(
        lambda: scene.recorder("client"), "127.0.0.1", port, local_addr=("127.0.0.2", 0)
    )
    scene.note(transport.get_extra_info("sockname")[0])
    await scene.seen("connection_made", 2)
    server.close()
    scene.events.sort(key=str)


@making
async def a_client_s_factory_raises(scene):
    def factory():
        raise RuntimeError("of the factory")

    server = await scene.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    await scene.note_result("create_connection", scene.loop.create_connection(factory, *address))
    await scene.settle()
    server.close()


@making.parametrize()
def test_connections_are_made_as_asyncio_s(scenario, tmp_path):
    assert_as_asyncio(scenario, kind=tmp_path)
