"""Greenlets cannot change thread: a task that owns one is stepped by the thread that made it, whatever blocks."""

import asyncio
import os
import threading

import greenlet
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import everloop
from support import gates, run_script, wait_aside

metadata = sqlalchemy.MetaData()
numbers = sqlalchemy.Table("numbers", metadata, sqlalchemy.Column("n", sqlalchemy.Integer))


def test_a_greenlet_is_switched_by_one_thread_only(rescuing_loop, gate):
    """Made in one step and switched to in later ones, while another task blocks the thread that made it."""
    threads = []

    def body():
        for _ in range(10):
            threads.append(threading.get_ident())
            greenlet.getcurrent().parent.switch("switched")
        return "ended"

    async def own():
        child = greenlet.greenlet(body)
        results = []
        while not child.dead:
            results.append(child.switch())
            await asyncio.sleep(0)
        return results

    async def block():
        os.read(gate.reader, 1)

    async def main():
        owner = asyncio.create_task(own())
        await asyncio.sleep(0)
        assert len(threads) == 1
        blocked = asyncio.create_task(block())
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        for _ in range(20):
            await asyncio.sleep(0)  # the others run on a relief thread; the owner must not
        gate.open()
        await blocked
        return await owner

    assert rescuing_loop.run_until_complete(main()) == ["switched"] * 10 + ["ended"]
    assert len(set(threads)) == 1
    assert len(threads) == 10


def test_a_task_pinned_to_a_relief_thread_is_stepped_while_the_home_thread_has_the_baton(rescuing_loop, gate):
    """The home thread hands the baton over for each of its steps, and wants it back at once."""
    threads = []

    def body():
        for _ in range(3):
            threads.append(threading.current_thread().name)
            greenlet.getcurrent().parent.switch()

    async def own(started, home_is_back):
        child = greenlet.greenlet(body)
        child.switch()
        started.set()
        await home_is_back.wait()
        while not child.dead:
            child.switch()
            await asyncio.sleep(0)

    async def main():
        started, home_is_back = asyncio.Event(), asyncio.Event()
        owner = asyncio.create_task(own(started, home_is_back))
        with everloop.blocking():
            asyncio.run_coroutine_threadsafe(started.wait(), rescuing_loop).result()
        assert threads[0].startswith("everloop-relief-")
        home_is_back.set()
        await owner

    rescuing_loop.run_until_complete(main())
    assert len(threads) == 3
    assert len(set(threads)) == 1


def test_a_pinned_task_waits_while_its_thread_is_blocked_and_others_go_on(rescuing_loop, gate):
    order = []

    async def own():
        child = greenlet.greenlet(lambda: greenlet.getcurrent().parent.switch())
        child.switch()
        await asyncio.sleep(0)
        child.switch()
        order.append("pinned")

    async def block():
        os.read(gate.reader, 1)
        order.append("blocked")

    async def free():
        order.append("free")
        gate.open()

    async def main():
        tasks = [asyncio.create_task(coroutine) for coroutine in (own(), block())]
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        tasks.append(asyncio.create_task(free()))
        await asyncio.gather(*tasks)

    rescuing_loop.run_until_complete(main())
    assert order[0] == "free"
    assert set(order) == {"free", "blocked", "pinned"}


def test_a_step_blocked_inside_a_greenlet_is_rescued(rescuing_loop, gate, witness):
    def body():
        os.read(gate.reader, 1)
        with witness:
            return "read"

    async def block():
        return greenlet.greenlet(body).switch()

    async def main():
        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        await wait_aside(rescuing_loop)
        witness.open_and_linger(gate.open)
        return await task

    assert rescuing_loop.run_until_complete(main()) == "read"


def test_a_greenlet_that_has_ended_pins_nothing(rescuing_loop, gate):
    """Nothing is owned any more: the task goes on while the thread that ran its greenlet is blocked."""

    async def own():
        assert greenlet.greenlet(lambda: "ended").switch() == "ended"
        await asyncio.sleep(0)
        gate.open()

    async def block():
        os.read(gate.reader, 1)

    async def main():
        await asyncio.gather(own(), block())

    rescuing_loop.run_until_complete(main())


async def in_memory_engine():
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=sqlalchemy.StaticPool)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    return engine


def test_sqlalchemy_s_asyncio_engine_works_under_rescue(rescuing_loop):
    """Every query suspends inside a greenlet, while steps of other tasks block the thread it was made by."""

    async def main():
        engine = await in_memory_engine()
        with gates(20) as all_gates:

            async def ask(number):
                async with engine.connect() as connection:
                    await connection.execute(sqlalchemy.select(sqlalchemy.literal("before")))
                    os.read(all_gates[number].reader, 1)
                    found = await connection.execute(sqlalchemy.select(sqlalchemy.literal(number)))
                    return found.scalars().one()

            async def release():
                await wait_aside(rescuing_loop)  # or, on a busy machine, all gates are open before anyone is there
                for gate in all_gates:
                    await asyncio.sleep(0.001)
                    gate.open()

            *found, _ = await asyncio.gather(*(ask(number) for number in range(20)), release())
        await engine.dispose()
        return found

    assert rescuing_loop.run_until_complete(main()) == list(range(20))
    assert rescuing_loop.statistics()["rescues"] >= 1


def test_a_blocking_call_inside_run_sync_is_rescued(rescuing_loop, gate, witness):
    """The blocked frame is a greenlet's, and the queries before and after it switch out of that greenlet."""

    def query(session):
        session.execute(numbers.insert().values(n=1))
        os.read(gate.reader, 1)
        with witness:
            pass
        return session.execute(sqlalchemy.select(numbers)).scalars().all()

    async def use(engine):
        async with AsyncSession(engine) as session:
            return await session.run_sync(query)

    async def main():
        engine = await in_memory_engine()
        task = asyncio.create_task(use(engine))
        await wait_aside(rescuing_loop)
        witness.open_and_linger(gate.open)
        found = await task
        await engine.dispose()
        return found

    assert rescuing_loop.run_until_complete(main()) == [1]


def test_objects_that_compute_their_class_are_left_alone_when_greenlet_is_imported():
    """Whoever imports greenlet in a step has all objects looked through, and some answer `__class__` with an error."""
    script = """
        import asyncio, everloop

        class Lazy:
            @property
            def __class__(self):
                raise RuntimeError("not set up")

        lazy = Lazy()

        async def main():
            import greenlet
            await asyncio.sleep(0)

        everloop.run(main())
    """
    assert run_script(script).returncode == 0
