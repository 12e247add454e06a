"""Callbacks, timers, readiness of files, and signals."""

import asyncio
import contextvars
import os
import socket
import threading
from signal import pthread_kill as send_signal

from ..witness import PATH
from . import Expected, operation


@operation()
async def call_soon(step):
    order, done = [], step.loop.create_future()

    def callback(number):
        order.append(number)
        if number == 1:
            step.block()
        step.run.witness.check(f"a callback of {step}", None, step.path)

    for number in range(step.count + 2):
        step.loop.call_soon(callback, number)
    step.loop.call_soon(order.append, "cancelled").cancel()
    step.loop.call_soon(lambda: step.loop.call_soon(done.set_result, None))
    await done
    return order


@operation()
async def timers(step):
    order, done, now = [], step.loop.create_future(), step.loop.time()

    def callback(number):
        order.append(number)
        if number == 1:
            step.block()
        if number == 3:
            done.set_result(None)

    for number in (3, 0, 2, 1):
        step.loop.call_at(now + 0.002 * (number + 1), callback, number)
    cancelled = step.loop.call_later(0.001, order.append, "cancelled")
    cancelled.cancel()
    await done
    if step.loop.time() < now + 0.008:
        step.fault("a timer came early")
    return order, cancelled.cancelled()


@operation()
async def timer_far_away(step):
    handle = step.loop.call_at(now := step.loop.time() + 600, step.fault, "it came after all")
    step.block()
    handle.cancel()
    return handle.when() == now, handle.cancelled()


@operation()
async def callback_that_fails(step):
    error = Expected("in a callback")
    error.handled = None

    def fails():
        step.block()
        raise error

    step.loop.call_soon(fails)
    while error.handled is None:
        await asyncio.sleep(0.001)
    return error.handled.startswith("Exception in callback")


@operation()
async def callback_with_a_context(step):
    context, done = contextvars.copy_context(), step.loop.create_future()

    def callback():
        PATH.set("inside")
        step.block()
        done.set_result(PATH.get())

    step.loop.call_soon(callback, context=context)
    return await done, context[PATH], PATH.get() == step.path


@operation()
async def callbacks_from_threads(step):
    loop, done, each = step.loop, step.loop.create_future(), step.count * 10
    received = [[], []]

    def callback(sender, number):
        received[sender].append(number)
        if number == 3:
            step.block()
        if len(received[0]) == len(received[1]) == each and not done.done():
            done.set_result(None)

    def send(sender):
        for number in range(each):
            loop.call_soon_threadsafe(callback, sender, number)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in (0, 1)]
    for thread in threads:
        thread.start()
    await done
    for thread in threads:
        thread.join()
    return received


@operation(weight=1)
async def reader(step):
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    got, done = [], step.loop.create_future()

    def readable():
        got.append(os.read(ours, 1))
        step.block(0.3)
        if len(got) == step.count:
            step.loop.remove_reader(ours)
            done.set_result(None)

    step.loop.add_reader(ours, readable)
    for number in range(step.count):
        os.write(theirs, b"%d" % number)
    await done
    os.close(ours)
    os.close(theirs)
    return got


@operation(weight=1)
async def writer(step):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    done = step.loop.create_future()

    def writable():
        step.block(0.5)
        step.loop.remove_writer(ours)
        done.set_result(ours.send(b"sent"))

    step.loop.add_writer(ours, writable)
    sent = await done
    with ours, theirs:
        return sent, theirs.recv(10)


@operation(weight=1)
async def signal(step):
    arrived = asyncio.Event()
    step.run.signal_events.add(arrived)
    step.block(0.5)
    # to the main thread, so that none is on its way when the loop is closed
    send_signal(threading.main_thread().ident, step.run.SIGNAL)
    await arrived.wait()
    step.block(0.5)
    step.run.signal_events.discard(arrived)
    return arrived.is_set()
