"""Ways in which code comes to be run: as an operator, in a comprehension, by C code, by a callback of the loop."""

import asyncio
import functools
import os
import signal
import socket
import time
import weakref

from way import TIME, later, pair, way

# ---- expressions


class Slow:
    def __add__(self, other):
        time.sleep(TIME[0])  # here time.sleep

    @property
    def value(self):
        time.sleep(TIME[0])  # here time.sleep

    def __getattr__(self, name):
        time.sleep(TIME[0])  # here time.sleep

    def __getitem__(self, at):
        time.sleep(TIME[0])  # here time.sleep

    def __eq__(self, other):
        time.sleep(TIME[0])  # here time.sleep
        return True

    __hash__ = None

    def __bool__(self):
        time.sleep(TIME[0])  # here time.sleep
        return True

    def __enter__(self):
        time.sleep(TIME[0])  # here time.sleep

    def __exit__(self, *_):
        pass

    def __iter__(self):
        time.sleep(TIME[0])  # here time.sleep
        yield 1

    def __call__(self):
        time.sleep(TIME[0])  # here time.sleep

    def __repr__(self):
        time.sleep(TIME[0])  # here time.sleep
        return ""

    def __del__(self):
        pass


@way("sleep", like=Slow.__add__)
def operator():
    Slow() + 1


@way("sleep", like=Slow.value.fget)
def own_property():
    return Slow().value


@way("sleep", like=Slow.__getattr__)
def missing_attribute():
    return Slow().anything


@way("sleep", like=Slow.__getitem__)
def subscript():
    Slow()[1]


@way("sleep", like=Slow.__eq__)
def in_a_list():
    assert Slow() in [1]


@way("sleep", like=Slow.__bool__)
def condition_of_if():
    if Slow():
        pass


@way("sleep", like=Slow.__enter__)
def with_statement():
    with Slow():
        pass


@way("sleep", like=Slow.__iter__)
def slow_iterator():
    for _ in Slow():
        pass


@way("sleep", like=Slow.__call__)
def call_of_an_object():
    Slow()()


@way("sleep", like=Slow.__repr__)
def text_of_an_object():
    return f"{Slow()!r}"


class Dies:
    def __del__(self):
        time.sleep(TIME[0])  # here time.sleep


@way("sleep", like=Dies.__del__)
def end_of_an_object():
    Dies()


def on_death(_):
    time.sleep(TIME[0])  # here time.sleep


@way("sleep", like=on_death)
def weakref_callback():
    some = Slow()
    reference = weakref.ref(some, on_death)
    del some
    assert reference() is None


def nap(*_):
    time.sleep(TIME[0])  # here time.sleep
    return 0


@way("sleep", like=nap)
def key_of_sorted():
    sorted([1], key=nap)


@way("sleep", like=nap)
def reduced():
    functools.reduce(nap, [1, 2])


@way("sleep", like=nap)
def mapped():
    list(map(nap, [1]))


@way("sleep", like=nap)
def partial():
    functools.partial(nap, 1)()


@way("sleep", like=nap)
def cached():
    functools.lru_cache(nap)(1)


@way("sleep", advised="to_thread")
def mapped_in_c():
    list(map(time.sleep, [TIME[0]]))  # here list


@way("sleep")
def in_lambda():
    (lambda: time.sleep(TIME[0]))()  # here time.sleep


@way("sleep")
def in_comprehension():
    return [
        time.sleep(each)  # here time.sleep
        for each in [TIME[0]]
    ]


@way("sleep")
def walrus():
    if (slept := time.sleep(TIME[0])) is None:  # here time.sleep
        return slept


@way("sleep")
def f_string():
    return f"some {time.sleep(TIME[0])}"  # here time.sleep


@way("sleep")
def call_over_lines():
    time.sleep(  # here time.sleep
        TIME[0],
    )


@way("sleep")
def argument_over_lines():
    print(
        end="",
        flush=time.sleep(TIME[0]),  # here time.sleep
    )


class Chain:
    def first(self):
        return self

    def second(self):
        return self

    sleep = staticmethod(time.sleep)


@way("sleep", advised="to_thread")
def chained():
    (
        Chain().first().second().sleep(TIME[0])  # here Chain().first().second().sleep
    )


def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)

    return wrapper


@way("sleep")
@decorated
@decorated
def in_decorators():
    time.sleep(TIME[0])  # here time.sleep


@way("sleep", advised="to_thread")
def executed():
    exec("import time\ntime.sleep(seconds)", {"seconds": TIME[0]})  # here exec


@way("sleep", advised="to_thread")
def evaluated():
    eval("__import__('time').sleep(seconds)", {"seconds": TIME[0]})  # here eval


@way("sleep", advised="to_thread")
def generated():
    made = {}
    exec(compile("def render(sleep, seconds):\n    for _ in '1':\n        sleep(seconds)", "<template>", "exec"), made)
    made["render"](time.sleep, TIME[0])  # here


@way("sleep")
def while_an_error_is_handled():
    try:
        raise KeyError
    except KeyError:
        time.sleep(TIME[0])  # here time.sleep
    finally:
        pass


@way("sleep")
def at_the_end_of_try():
    try:
        pass
    finally:
        time.sleep(TIME[0])  # here time.sleep


@way("sleep")
def in_match():
    match time.sleep(TIME[0]):  # here time.sleep
        case None:
            pass


@way("sleep")
def default_of_a_function():
    def inner(slept=time.sleep(TIME[0])):  # here time.sleep  # noqa: B008
        return slept

    inner()


@way("sleep")
def body_of_a_class():
    class Body:
        slept = time.sleep(TIME[0])  # here time.sleep

    return Body


@way("sleep")
def by_keyword_arguments():
    time.sleep(*[TIME[0]], **{})  # here time.sleep


# ---- coroutines


async def inner():
    time.sleep(TIME[0])  # here time.sleep


@way("sleep", like=inner)
async def awaited():
    await inner()


@way("sleep", like=inner)
async def in_a_task():
    await asyncio.create_task(inner())


async def generate():
    time.sleep(TIME[0])  # here time.sleep
    yield 1


@way("sleep", like=generate)
async def async_generator():
    async for _ in generate():
        pass


@way("sleep", like=generate)
async def async_comprehension():
    return [each async for each in generate()]


class Enters:
    async def __aenter__(self):
        time.sleep(TIME[0])  # here time.sleep

    async def __aexit__(self, *_):
        pass


@way("sleep", like=Enters.__aenter__)
async def async_with():
    async with Enters():
        pass


@way("sleep")
async def after_an_await():
    await asyncio.sleep(0.01)
    time.sleep(TIME[0])  # here time.sleep


@way("sleep")
async def in_a_task_group():
    async with asyncio.TaskGroup():
        time.sleep(TIME[0])  # here time.sleep


@way("sleep")
async def in_a_timeout():
    async with asyncio.timeout(9):
        time.sleep(TIME[0])  # here time.sleep


@way("sleep")
async def while_cancelled():
    async def cleans_up():
        try:
            await asyncio.sleep(9)
        finally:
            time.sleep(TIME[0])  # here time.sleep

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


# ---- callbacks


@way("sleep", like=nap)
async def call_soon():
    asyncio.get_running_loop().call_soon(nap)
    await asyncio.sleep(0.01)


@way("sleep", like=nap)
async def call_later():
    asyncio.get_running_loop().call_later(0.01, nap)
    await asyncio.sleep(0.02)


@way("sleep", like=nap)
async def call_soon_threadsafe():
    later(asyncio.get_running_loop().call_soon_threadsafe, nap, after=0.01)
    await asyncio.sleep(0.02)


@way("sleep")
async def call_of_c_function():
    asyncio.get_running_loop().call_soon(time.sleep, TIME[0])
    await asyncio.sleep(0.01)


@way("sleep", like=nap)
async def done_callback():
    task = asyncio.create_task(asyncio.sleep(0))
    task.add_done_callback(nap)
    await asyncio.sleep(0.01)


@way("sleep", like=nap)
async def reader():
    loop, (one, other) = asyncio.get_running_loop(), pair()

    def read():
        loop.remove_reader(one)
        nap()

    loop.add_reader(one, read)
    other.send(b"x")
    await asyncio.sleep(0.02)


@way("sleep", like=nap)
async def signal_handler():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR2, nap)
    os.kill(os.getpid(), signal.SIGUSR2)
    await asyncio.sleep(0.02)
    loop.remove_signal_handler(signal.SIGUSR2)


@way("sleep", like=nap)
async def handler_of_a_signal():
    before = signal.signal(signal.SIGUSR1, nap)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.01)
    signal.signal(signal.SIGUSR1, before)


@way("sleep", like=nap)
async def exception_handler():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(nap)
    loop.call_soon(divmod, 1, 0)
    await asyncio.sleep(0.02)
    loop.set_exception_handler(None)


class SlowProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"x")

    def data_received(self, data):
        time.sleep(TIME[0])  # here time.sleep


class SlowStart(asyncio.Protocol):
    def connection_made(self, transport):
        time.sleep(TIME[0])  # here time.sleep


class SlowEnd(asyncio.Protocol):
    def connection_lost(self, error):
        time.sleep(TIME[0])  # here time.sleep


async def connected(protocol):
    loop, (one, other) = asyncio.get_running_loop(), pair()
    transport, _ = await loop.create_connection(protocol, sock=one)
    other.send(b"x")
    await asyncio.sleep(0.02)
    transport.close()
    await asyncio.sleep(0.02)
    other.close()


@way("sleep", like=SlowProtocol.data_received)
async def data_received():
    await connected(SlowProtocol)


@way("sleep", like=SlowStart.connection_made)
async def connection_made():
    await connected(SlowStart)


@way("sleep", like=SlowEnd.connection_lost)
async def connection_lost():
    await connected(SlowEnd)


def factory():
    time.sleep(TIME[0])  # here time.sleep
    return asyncio.Protocol()


@way("sleep", like=factory)
async def protocol_factory():
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        await asyncio.sleep(0.02)
    server.close()
    await asyncio.sleep(0.02)


async def serve(reader, writer):
    time.sleep(TIME[0])  # here time.sleep
    writer.close()


@way("sleep", like=serve)
async def stream_handler():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        await asyncio.sleep(0.05)
    server.close()
    await asyncio.sleep(0.02)


class SlowDatagrams(asyncio.DatagramProtocol):
    def datagram_received(self, data, address):
        time.sleep(TIME[0])  # here time.sleep


@way("sleep", like=SlowDatagrams.datagram_received)
async def datagram_received():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(SlowDatagrams, local_addr=("127.0.0.1", 0))
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", transport.get_extra_info("sockname"))
    await asyncio.sleep(0.02)
    transport.close()
    await asyncio.sleep(0.02)
