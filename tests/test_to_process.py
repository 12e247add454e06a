"""to_process: functions computed by other processes, none of which spoils the call of another.

How calls are cancelled and how processes end is in test_to_process_ends.py.
"""

import asyncio
import functools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

import everloop
import process_work
from everloop.bridge.processes import process_pool
from process_support import exists, visit
from support import PATIENCE, run_script

pytestmark = pytest.mark.usefixtures("fork_server")


# ---- a call


def test_a_function_is_called_in_another_process(loop):
    async def main():
        assert await everloop.to_process(process_work.show, 1, "two", three=[3]) == ((1, "two"), {"three": [3]})
        assert await everloop.to_process(os.getpid) != os.getpid()

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (process_work.Callable(), 41),
        (process_work.Callable().method, 42),
        (functools.partial(math.pow, 2), 2.0**40),
        (str, "40"),
        ("{:d}".format, "40"),
    ],
    ids=["object", "method", "partial", "class", "builtin method"],
)
def test_any_callable_that_pickles_will_do(loop, function, expected):
    assert loop.run_until_complete(everloop.to_process(function, 40)) == expected


def test_it_works_in_debug_mode_and_with_rescue():
    async def main():
        return await asyncio.gather(*(everloop.to_process(math.factorial, number) for number in range(6)))

    assert everloop.run(main(), debug=True, rescue=True) == [1, 1, 2, 6, 24, 120]


def test_other_tasks_run_meanwhile(loop, hall):
    async def main():
        async with hall:
            call = visit(hall)
            visitor = await hall.next()  # the loop serves the hall
            assert not call.done()
            visitor.let_go()
            assert await call == visitor.pid

    loop.run_until_complete(main())


def test_a_process_computes_with_processes_of_its_own(loop):
    outer, inner = loop.run_until_complete(everloop.to_process(process_work.ask_another_process))
    assert len({os.getpid(), outer, inner}) == 3


def test_its_stdin_is_empty(loop):
    assert loop.run_until_complete(everloop.to_process(process_work.read_stdin)) == ("", b"")


def test_what_it_prints_is_out_before_the_call_returns():
    ran = run_script("""
        import asyncio, everloop

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news here
            await everloop.to_process(print, "in the process")
            print("after it", flush=True)

        everloop.run(main())
    """)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "in the process\nafter it\n", "")


def test_an_interrupt_is_left_to_the_parent(loop):
    """Ctrl-C reaches all processes of a terminal; the one that runs the loop decides what ends."""
    assert loop.run_until_complete(everloop.to_process(process_work.interrupt_oneself)) == "not interrupted"


# ---- how many there are


def test_a_process_is_kept_for_the_next_call(loop):
    async def main():
        return {await everloop.to_process(os.getpid) for _ in range(5)}

    assert len(loop.run_until_complete(main())) == 1
    assert len(loop.run_until_complete(main()) | loop.run_until_complete(main())) == 1


def test_there_are_as_many_as_processors_by_default(loop):
    async def main():
        await everloop.to_process(os.getpid)
        return loop._belongings[process_pool.ProcessPool]._limit()

    assert loop.run_until_complete(main()) == len(os.sched_getaffinity(0))


def test_calls_beyond_the_limit_wait_in_order(loop, hall):
    loop.max_processes = 2

    async def main():
        async with hall:
            calls = [visit(hall, str(number)) for number in range(6)]
            inside = [await hall.next(), await hall.next()]
            for _ in range(10):
                await asyncio.sleep(0)
            assert hall.is_empty
            assert {visitor.name for visitor in inside} == {"0", "1"}

            names = []
            while inside:
                inside.pop(0).let_go()
                if len(names) < 4:
                    inside.append(await hall.next())
                    names.append(inside[-1].name)
            assert names == ["2", "3", "4", "5"]
            assert len(set(await asyncio.gather(*calls))) == 2

    loop.run_until_complete(main())


def test_statistics_count_processes_and_calls_that_wait(loop, hall):
    loop.max_processes = 1

    async def main():
        async with hall:
            calls = [visit(hall, name) for name in "ab"]
            inside = await hall.next()
            [seen] = [each["processes"] for each in everloop.statistics()["loops"] if each["running"]]
            inside.let_go()
            (await hall.next()).let_go()
            await asyncio.gather(*calls)
            return seen

    assert loop.run_until_complete(main()) == {"limit": 1, "there": 1, "idle": 0, "waiting": 1}


def test_a_limit_below_one_is_refused(loop):
    loop.max_processes = 0
    with pytest.raises(ValueError, match="max_processes must be at least 1, but is 0"):
        loop.run_until_complete(everloop.to_process(os.getpid))


@pytest.mark.parametrize("limit", ["2", 1.5])
def test_a_limit_is_a_whole_number(loop, limit):
    loop.max_processes = limit
    with pytest.raises(TypeError, match=f"max_processes must be a whole number, or None, but is {limit!r}"):
        loop.run_until_complete(everloop.to_process(os.getpid))


def test_many_calls_come_back_each_with_its_own_result(loop):
    async def main():
        return await asyncio.gather(*(everloop.to_process(math.factorial, number) for number in range(300)))

    assert loop.run_until_complete(main()) == [math.factorial(number) for number in range(300)]


def test_an_idle_process_goes_after_a_while_and_the_next_call_has_a_new_one(loop, monkeypatch):
    monkeypatch.setattr(process_pool, "IDLE_SECONDS", 0)

    async def main():
        first = await everloop.to_process(os.getpid)
        while exists(first):
            await asyncio.sleep(0.001)
        assert await everloop.to_process(os.getpid) != first

    loop.run_until_complete(main())


# ---- what goes along


def test_a_large_argument_does_not_block_the_loop(loop):
    """The process is stopped, so it reads nothing: everything but that call goes on."""

    async def main():
        pid = await everloop.to_process(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        call = asyncio.create_task(everloop.to_process(process_work.length, bytes(20_000_000)))
        await asyncio.sleep(0.001)
        assert not call.done()
        os.kill(pid, signal.SIGCONT)
        assert await call == 20_000_000
        assert await everloop.to_process(os.getpid) == pid

    loop.run_until_complete(main())


def test_a_large_result_arrives_whole(loop):
    async def main():
        result = await everloop.to_process(process_work.repeat, b"0123456789", 2_000_000)
        assert result == b"0123456789" * 2_000_000

    loop.run_until_complete(main())


def test_context_variables_go_along_and_changes_stay_there(loop):
    async def main():
        process_work.language.set("Esperanto")
        process_work.unfit.set(threading.Lock())
        assert await everloop.to_process(process_work.read_variables) == ("Esperanto", "none")
        assert process_work.language.get() == "Esperanto"

    loop.run_until_complete(main())
    # the same process, another context
    assert loop.run_until_complete(everloop.to_process(process_work.read_variables)) == ("none", "none")


# ---- errors of one call


def test_an_exception_comes_back_with_the_traceback_from_there(loop):
    async def main():
        with pytest.raises(KeyError, match="what it was given") as caught:
            await everloop.to_process(process_work.fail, "what it was given")
        cause = str(caught.value.__cause__)
        assert "raise KeyError(text)" in cause
        assert "process_work.py" in cause
        assert "worker_process.py" not in cause

    loop.run_until_complete(main())


def test_leaving_the_interpreter_is_an_exception_as_on_a_thread(loop):
    async def main():
        with pytest.raises(SystemExit, match="leaving"):
            await everloop.to_process(process_work.leave)
        return await everloop.to_process(math.factorial, 4)

    assert loop.run_until_complete(main()) == 24


POISON = {
    "an exception that cannot be unpickled": (
        process_work.fail_with_two_arguments,
        [r"process_work\.fail_with_two_arguments", "TwoArgumentsError: not found", "__reduce__"],
        "raise TwoArgumentsError",
    ),
    "an exception that cannot be pickled": (
        process_work.fail_with_a_lock,
        [r"process_work\.fail_with_a_lock", "LockedError, which cannot be pickled", "lock"],
        "raise LockedError",
    ),
    "a result that cannot be pickled": (
        process_work.return_a_lock,
        [r"process_work\.return_a_lock", "its result, an object of type lock, cannot be pickled"],
        "cannot pickle",
    ),
    "a result that cannot be unpickled": (
        process_work.return_a_bomb,
        [r"process_work\.return_a_bomb", "what it returned cannot be unpickled here", "this bomb goes off"],
        "this bomb goes off",
    ),
    "an argument that cannot be unpickled": (
        functools.partial(process_work.show, process_work.Bomb()),
        [r"process_work\.show", "the call cannot be unpickled in the process", "this bomb goes off"],
        "explode_outside",
    ),
}


@pytest.mark.parametrize("poison", POISON)
def test_what_cannot_cross_fails_its_own_call_only(loop, hall, poison):
    function, parts, remote = POISON[poison]
    loop.max_processes = 2

    async def main():
        async with hall:
            innocent = visit(hall)
            visitor = await hall.next()
            with pytest.raises(everloop.TransferError) as caught:
                await everloop.to_process(function)
            for part in parts:
                assert caught.match(part)
            assert remote in str(caught.value.__cause__)

            assert await everloop.to_process(math.factorial, 5) == 120
            visitor.let_go()
            assert await innocent == visitor.pid

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((lambda: None,), "the function, an object of type function,"),
        ((process_work.show, 1, threading.Lock()), "argument 2, an object of type lock,"),
        ((functools.partial(process_work.show, key=1), [lambda: None]), "argument 1, an object of type list,"),
    ],
    ids=["function", "argument", "inside"],
)
def test_what_cannot_be_sent_is_named_and_starts_nothing(loop, arguments, culprit):
    async def main():
        with pytest.raises(everloop.TransferError, match=culprit) as caught:
            await everloop.to_process(*arguments)
        assert caught.match("top of a module")
        assert caught.value.__cause__ is not None

    loop.run_until_complete(main())
    assert not loop._belongings


@pytest.mark.parametrize(("how", "told"), [("kill", "ended by signal 9"), ("exit", "ended with exit code 3")])
def test_a_process_that_dies_fails_its_own_call_only(loop, hall, how, told):
    loop.max_processes = 2

    async def main():
        async with hall:
            innocent = visit(hall)
            visitor = await hall.next()
            with pytest.raises(everloop.WorkerDiedError, match=told) as caught:
                await everloop.to_process(process_work.die, how)
            assert caught.match(r"to_process\(process_work\.die\)")

            assert await everloop.to_process(math.factorial, 5) == 120
            visitor.let_go()
            assert await innocent == visitor.pid

    loop.run_until_complete(main())


def test_a_process_that_dies_is_noticed_though_a_child_of_it_lives(loop):
    async def main():
        with pytest.raises(everloop.WorkerDiedError, match="signal 9"):
            await everloop.to_process(process_work.die_with_a_child_left)

    loop.run_until_complete(main())


@pytest.mark.parametrize("pause", [False, True], ids=["just now", "a while ago"])
def test_an_idle_process_that_was_killed_concerns_nobody(loop, pause):
    async def main():
        first = await everloop.to_process(os.getpid)
        descriptor = os.pidfd_open(first)
        os.kill(first, signal.SIGKILL)
        multiprocessing.connection.wait([descriptor])
        os.close(descriptor)
        if pause:
            while exists(first) or loop._belongings[process_pool.ProcessPool]._workers:
                await asyncio.sleep(0.001)
        assert await everloop.to_process(os.getpid) != first

    loop.run_until_complete(main())


def test_a_process_that_cannot_be_started_fails_the_call_that_waits_for_it(loop, monkeypatch):
    context = multiprocessing.get_context("forkserver")

    class NoProcess(context.Process):
        def start(self):
            raise OSError("no more processes")

    async def main():
        monkeypatch.setattr(type(context), "Process", NoProcess)
        with pytest.raises(OSError, match="no more processes"):
            await everloop.to_process(os.getpid)
        monkeypatch.undo()
        return await everloop.to_process(math.factorial, 5)

    assert loop.run_until_complete(main()) == 120


# ---- the main module


def test_a_program_whose_main_module_is_not_guarded_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text("import math, everloop\nprint(everloop.run(everloop.to_process(math.factorial, 5)))\n")
    # CPython 3.15 deprecates modules as runpy makes them, when debug mode looks at one
    ran = run_script(f"""
        import runpy, sys, warnings
        warnings.filterwarnings("ignore", "Module globals", DeprecationWarning)
        sys.argv = [{str(script)!r}]
        runpy.run_path(sys.argv[0], run_name="x")
    """)
    assert ran.stdout == "120\n"  # it is not the main module there

    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("everloop.WorkerDiedError: to_process(math.")
    assert "if __name__ == '__main__'" in ran.stderr.splitlines()[-1]


def test_a_function_of_the_main_module_is_found(tmp_path):
    script = tmp_path / "guarded.py"
    script.write_text(
        "import asyncio, contextvars, everloop\n"
        "variable = contextvars.ContextVar('variable', default='none')\n"
        "def compute(number): return number + 1, variable.get()\n"
        "async def main():\n"
        "    asyncio.get_running_loop().slow_callback_duration = 60\n"  # a busy machine is no news here
        "    variable.set('carried')\n"
        "    print(await everloop.to_process(compute, 41))\n"
        "if __name__ == '__main__': everloop.run(main())\n"
    )
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.stdout, ran.stderr) == ("(42, 'carried')\n", "")


# ---- bad input


def test_a_function_that_the_process_cannot_find_fails_its_own_call():
    """As in an interactive session."""
    ran = run_script("""
        import asyncio, math
        import everloop

        def compute(): pass

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news here
            try:
                await everloop.to_process(compute)
            except everloop.TransferError as error:
                print(error)
                print(await everloop.to_process(math.factorial, 5))

        everloop.run(main())
    """)
    assert (ran.returncode, ran.stderr) == (0, "")
    message, factorial = ran.stdout.splitlines()
    assert message.startswith("to_process(__main__.compute): the call cannot be unpickled in the process (Attribute")
    assert message.endswith("Put that into a module")
    assert factorial == "120"


def test_what_is_not_a_function_is_a_type_error(loop):
    with pytest.raises(TypeError, match=r"to_process\(\) needs a function and, after it, its arguments, not int: 42"):
        loop.run_until_complete(everloop.to_process(42))


@pytest.mark.parametrize(
    "function",
    [
        process_work.coroutine_function,
        functools.partial(process_work.coroutine_function),
        process_work.AsyncCallable(),
    ],
    ids=["function", "partial", "object"],
)
def test_a_coroutine_function_is_a_type_error_that_tells_the_way_out(loop, function):
    with pytest.raises(TypeError, match=r"would only return a coroutine.*everloop\.run"):
        loop.run_until_complete(everloop.to_process(function))


def test_a_generator_function_is_a_type_error_that_tells_the_way_out(loop):
    with pytest.raises(TypeError, match=r"would only return a generator.*returns a list"):
        loop.run_until_complete(everloop.to_process(process_work.generator_function))


def test_without_a_running_everloop_it_says_so():
    with pytest.raises(RuntimeError, match=r"no event loop is running here\. Call the function"):
        everloop.to_process(os.getpid).send(None)

    with asyncio.Runner() as runner, pytest.raises(RuntimeError, match="the event loop here is _UnixSelector"):
        runner.run(everloop.to_process(os.getpid))


def test_importing_everloop_does_not_import_multiprocessing():
    ran = run_script("import sys, everloop; print('multiprocessing' in sys.modules)")
    assert ran.stdout == "False\n"
