"""The loop as asyncio promises it: order of callbacks, stop, errors, debug mode, closing, running."""

import asyncio
import contextvars
import gc
import math
import os
import sys
import threading
import warnings

import pytest

import everloop
from everloop import environment
from support import run_script, spin, wait_until


def turn(loop):
    """Run exactly one turn of the loop."""
    loop.stop()
    loop.run_forever()


# ---- call_soon


def test_callbacks_run_in_the_order_of_their_calls(loop):
    order = []
    for number in range(1000):
        loop.call_soon(order.append, number)
    turn(loop)
    assert order == list(range(1000))


@pytest.mark.parametrize("count", range(7))
def test_callbacks_get_their_arguments(loop, count):
    arguments = tuple(object() for _ in range(count))
    seen = []
    loop.call_soon(lambda *args: seen.append(args), *arguments)
    loop.call_soon_threadsafe(lambda *args: seen.append(args), *arguments)
    loop.call_later(0, lambda *args: seen.append(args), *arguments)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == [arguments] * 3


def test_what_becomes_ready_in_a_turn_runs_in_the_next(loop):
    order = []

    def first():
        order.append("first")
        loop.call_soon(order.append, "child of first")

    loop.call_soon(first)
    loop.call_soon(order.append, "second")
    turn(loop)
    assert order == ["first", "second"]
    turn(loop)
    assert order == ["first", "second", "child of first"]


def test_a_callback_that_calls_itself_for_ever_starves_neither_timers_nor_readers(loop, gate):
    def again():
        loop.call_soon(again)

    def on_read():
        gate.wait()
        loop.stop()

    loop.call_soon(again)
    loop.add_reader(gate.reader, on_read)
    loop.call_later(0.005, gate.open)
    loop.run_forever()
    loop.remove_reader(gate.reader)


def test_call_soon_runs_in_the_context_of_its_call(loop):
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []
    variable.set("at the call")
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.set("later")
    turn(loop)
    assert seen == ["at the call"]


def test_every_way_to_call_takes_a_context(loop):
    variable = contextvars.ContextVar("variable", default="nothing")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen = []
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    loop.call_soon_threadsafe(lambda: seen.append(variable.get()), context=context)
    loop.call_later(0, lambda: seen.append(variable.get()), context=context)
    loop.call_at(loop.time(), lambda: variable.set("changed"), context=context)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert seen == ["given"] * 3
    assert context[variable] == "changed"


def test_arguments_may_be_given_by_name(loop):
    variable = contextvars.ContextVar("variable", default="nothing")
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen = []

    def note():
        seen.append(variable.get())

    loop.call_soon(callback=note)
    loop.call_soon_threadsafe(context=context, callback=note)
    loop.call_later(delay=0, callback=note)
    loop.call_later(callback=note, context=context, delay=0)
    loop.call_later(0, callback=note)
    loop.call_at(when=loop.time(), callback=note)
    loop.call_later(0.001, callback=loop.stop)
    loop.run_forever()
    assert seen == ["nothing", "given", "nothing", "given", "nothing", "nothing"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda loop: loop.call_soon(print, callback=print), "multiple values for argument 'callback'"),
        (lambda loop: loop.call_later(1, print, delay=1), "multiple values for argument 'delay'"),
        (lambda loop: loop.call_later(callback=print), "missing required positional arguments: 'delay'"),
        (lambda loop: loop.call_at(when=1), "missing required positional argument: 'callback'"),
        (lambda loop: loop.call_soon(callback=print, contexts=None), "unexpected keyword argument 'contexts'"),
    ],
)
def test_arguments_by_name_that_do_not_fit_are_named(loop, call, message):
    with pytest.raises(TypeError, match=message):
        call(loop)


def test_a_cancelled_callback_does_not_run(loop):
    order = []
    loop.call_soon(order.append, "cancelled").cancel()
    later = loop.call_soon(order.append, "cancelled by another")
    loop.call_soon(order.append, "ran")
    later.cancel()
    turn(loop)
    assert order == ["ran"]


def test_a_callback_can_cancel_the_next_one_of_its_turn(loop):
    order = []
    loop.call_soon(lambda: doomed.cancel())
    doomed = loop.call_soon(order.append, "cancelled")
    turn(loop)
    turn(loop)
    assert order == []


# ---- other threads


def test_a_call_from_another_thread_wakes_an_idle_loop(loop):
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
    thread.start()
    loop.run_forever()
    thread.join()


def test_calls_from_each_thread_keep_their_order(loop):
    seen = []
    missing = 4 * 500

    def arrive(thread, number):
        nonlocal missing
        seen.append((thread, number))
        missing -= 1
        if not missing:
            loop.stop()

    def call(thread):
        for number in range(500):
            loop.call_soon_threadsafe(arrive, thread, number)

    threads = [threading.Thread(target=call, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    for name in "abcd":
        assert [number for thread, number in seen if thread == name] == list(range(500))


def test_a_task_created_by_another_thread_runs_at_once_on_an_idle_loop(loop):
    """On asyncio it waits for the next wake-up: on an idle loop for ever."""
    loop.set_debug(False)
    done = threading.Event()

    async def work():
        return threading.get_ident()

    def create():
        wait_until(loop.is_running, "the loop to run")
        task = loop.create_task(work())
        task.add_done_callback(lambda _: done.set())
        done.wait()
        loop.call_soon_threadsafe(loop.stop)
        return task

    tasks = []
    thread = threading.Thread(target=lambda: tasks.append(create()))
    thread.start()
    loop.run_forever()
    thread.join()
    assert tasks[0].result() == threading.get_ident()


# ---- stop and run


def test_stop_before_run_forever_runs_one_turn(loop):
    order = []
    loop.call_soon(lambda: loop.call_soon(order.append, "next turn"))
    loop.call_soon(order.append, "this turn")
    loop.stop()
    loop.run_forever()
    assert order == ["this turn"]


def test_stop_lets_the_turn_end(loop):
    order = []
    loop.call_soon(loop.stop)
    loop.call_soon(order.append, "after stop")
    loop.run_forever()
    assert order == ["after stop"]


def test_a_stopped_loop_runs_again(loop):
    async def answer():
        await asyncio.sleep(0)
        return 42

    assert [loop.run_until_complete(answer()) for _ in range(3)] == [42] * 3


def test_run_until_complete_says_when_the_loop_was_stopped_before(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed"):
        loop.run_until_complete(future)


def test_is_running_and_is_closed_tell_the_state():
    loop = everloop.EventLoop()
    seen = []
    loop.call_soon(lambda: seen.append((loop.is_running(), asyncio.get_running_loop())))
    turn(loop)
    assert seen == [(True, loop)]
    assert not loop.is_running()
    assert not loop.is_closed()
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_running_a_running_loop_is_refused(loop):
    async def main():
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        return "still running"

    assert loop.run_until_complete(main()) == "still running"


def test_running_another_loop_inside_a_running_one_is_refused(loop):
    other = everloop.EventLoop()

    async def main():
        with pytest.raises(RuntimeError, match="Cannot run the event loop while another loop is running"):
            other.run_forever()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match=r"cannot be called from a running event loop"):
            everloop.run(coroutine)
        coroutine.close()

    loop.run_until_complete(main())
    other.close()


def test_whoever_cannot_run_a_loop_here_is_told_what_waits_for_the_coroutine(loop):
    async def main():
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError) as caught:
            everloop.run(coroutine)
        coroutine.close()
        return str(caught.value).rpartition(" ")[2]

    assert loop.run_until_complete(main()) == "everloop.block_on(...)"
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # as in a notebook
        assert runner.run(main()) == "everloop.LoopThread().run(...)"


def test_two_loops_run_on_two_threads_at_once():
    met = threading.Barrier(2)

    async def main():
        met.wait()  # each loop waits for the other's step: neither may hold the other up
        return asyncio.get_running_loop()

    loops = []
    threads = [threading.Thread(target=lambda: loops.append(everloop.run(main()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 2


# ---- errors


def test_an_exception_goes_to_the_exception_handler_and_the_loop_goes_on(loop):
    contexts, order = [], []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(order.append, "went on")
    turn(loop)
    assert order == ["went on"]
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)
    assert contexts[0]["handle"] is handle
    assert "Exception in callback" in contexts[0]["message"]


def test_without_a_handler_an_exception_is_logged(loop, caplog):
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert [record.name for record in caplog.records] == ["asyncio"]
    assert "ZeroDivisionError" in caplog.text


def test_an_exception_in_the_exception_handler_is_logged(loop, caplog):
    loop.set_exception_handler(lambda _, context: 1 / 0)
    loop.call_soon(int, "not a number")
    turn(loop)
    assert "Unhandled error in exception handler" in caplog.text


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_comes_out_and_loses_no_callback(loop, exception):
    order = []

    def interrupt():
        raise exception

    loop.call_soon(order.append, 1)
    loop.call_soon(interrupt)
    loop.call_soon(order.append, 2)
    loop.call_soon(order.append, 3)
    with pytest.raises(exception):
        loop.run_forever()
    assert order == [1]
    assert not loop.is_running()
    turn(loop)
    assert order == [1, 2, 3]


def test_an_interrupt_in_a_task_comes_out_of_run_until_complete(loop):
    async def main():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())


# ---- debug mode


def test_debug_mode_refuses_a_call_from_another_thread(loop):
    loop.set_debug(True)
    errors = []

    def call():
        for method, arguments in [(loop.call_soon, ()), (loop.call_later, (1,)), (loop.call_at, (1,))]:
            try:
                method(*arguments, print)
            except RuntimeError as error:
                errors.append(str(error))

    async def main():
        await asyncio.to_thread(call)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert len(errors) == 3
    assert all("Non-thread-safe operation" in error for error in errors)


def test_debug_mode_refuses_what_is_not_callable(loop):
    async def coroutine_function():
        pass

    loop.set_debug(True)
    for call in (loop.call_soon, loop.call_soon_threadsafe, lambda callback: loop.call_later(0, callback)):
        with pytest.raises(TypeError, match="a callable object was expected"):
            call(None)
        with pytest.raises(TypeError, match="coroutines cannot be used"):
            call(coroutine_function)


def test_debug_mode_logs_a_slow_callback(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(spin, 0.02)
    turn(loop)
    messages = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert len(messages) == 1
    assert messages[0].startswith("Executing <Handle spin(0.02)")
    assert " took 0.0" in messages[0]


def test_a_quick_callback_is_not_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    loop.call_soon(spin, 0.02)
    turn(loop)
    assert caplog.records == []


def test_a_loop_starts_in_debug_mode_where_asyncio_would():
    script = "import everloop; loop = everloop.new_event_loop(); print(loop.get_debug()); loop.close()"
    assert run_script(script, PYTHONASYNCIODEBUG="1").stdout == "True\n"


# ---- closing


def test_a_closed_loop_refuses_everything(gate):
    loop = everloop.EventLoop()
    loop.close()
    calls = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(0, print),
        lambda: loop.call_at(0, print),
        lambda: loop.add_reader(gate.reader, print),
        lambda: loop.add_writer(gate.writer, print),
        lambda: loop.run_in_executor(None, print),
        loop.run_forever,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_closing_forgets_callbacks_and_drops_what_they_hold(loop):
    class Held:
        deleted = False

        def __del__(self):
            Held.deleted = True

    loop.call_soon(print, Held())
    loop.close()
    assert Held.deleted


def test_an_unclosed_loop_warns_when_it_goes():
    script = """
        import everloop, warnings, gc
        warnings.simplefilter("always")
        loop = everloop.EventLoop()
        del loop
        gc.collect()
    """
    result = run_script(script)
    assert "ResourceWarning: unclosed event loop" in result.stderr
    assert result.returncode == 0


# ---- the ways to get a loop


def test_run_returns_the_result_and_closes_its_loop():
    async def main():
        return asyncio.get_running_loop()

    loop = everloop.run(main())
    assert isinstance(loop, everloop.EventLoop)
    assert loop.is_closed()


def test_run_works_a_second_time():
    async def main(number):
        await asyncio.sleep(0)
        return number

    assert [everloop.run(main(number)) for number in range(3)] == [0, 1, 2]


def test_run_passes_debug_and_rescue_on():
    async def main():
        loop = asyncio.get_running_loop()
        return loop.get_debug(), loop.rescue

    assert everloop.run(main(), debug=True, rescue=True) == (True, True)
    assert everloop.run(main(), debug=False, rescue=False) == (False, False)


def test_run_cancels_what_is_left_and_raises_what_was_raised():
    ended = []

    async def forever():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def main():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        raise KeyError(task.get_name())

    with pytest.raises(KeyError):
        everloop.run(main())
    assert ended == ["forever"]


def test_run_refuses_what_is_not_a_coroutine():
    with pytest.raises((TypeError, ValueError), match="coroutine"):
        everloop.run(42)


@pytest.mark.parametrize(
    ("value", "rescue"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on ", True),
        ("0", False),
        ("", False),
        ("no", False),
        ("Off", False),
    ],
)
def test_the_environment_can_ask_for_rescue(monkeypatch, value, rescue):
    async def main():
        return asyncio.get_running_loop().rescue

    monkeypatch.setenv("EVERLOOP_RESCUE", value)
    loop = everloop.new_event_loop()
    assert loop.rescue is rescue
    loop.close()
    assert everloop.run(main()) is rescue
    assert everloop.run(main(), rescue=not rescue) is not rescue


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("rescue_after", "0.5", 0.5),
        ("rescue_after", " 1e-3 ", 0.001),
        ("max_relief_threads", "0", 0),
        ("slow_callback_duration", "0", 0.0),
        ("slow_callback_duration", "", 0.1),
        ("max_processes", "2", 2),
        ("max_processes", " ", None),
    ],
)
def test_each_option_of_a_loop_may_come_from_the_environment_or_as_an_argument(monkeypatch, option, text, value):
    monkeypatch.setenv(f"EVERLOOP_{option.upper()}", text)
    for loop in (everloop.EventLoop(), everloop.new_event_loop()):
        assert getattr(loop, option) == value
        loop.close()
    loop = everloop.EventLoop(**{option: 3})
    assert getattr(loop, option) == 3
    loop.close()


@pytest.mark.parametrize("option", environment.OPTIONS.values(), ids=lambda option: option.name)
@pytest.mark.parametrize("text", ["nonsense", "nan", "-1"])
def test_a_variable_that_makes_no_sense_is_named_with_what_it_says_and_what_it_may_say(monkeypatch, option, text):
    if option.name == "listen":
        pytest.skip("what is no address is told by who listens: see test_listen")
    monkeypatch.setenv(option.variable, text)
    with pytest.raises(ValueError, match=f"the environment variable {option.variable} is '{text}': give it ") as told:
        option.value()
    assert str(told.value).endswith(option.kind.allowed)
    if option.is_of_loop:
        with pytest.raises(ValueError, match=option.variable):
            everloop.EventLoop()


def test_an_environment_that_asks_for_neither_is_refused(monkeypatch):
    monkeypatch.setenv("EVERLOOP_RESCUE", "maybe")
    told = r"EVERLOOP_RESCUE is 'maybe': give it one of 1, true, yes, on to switch that on, or one of 0, false, no, off"
    with pytest.raises(ValueError, match=told):
        everloop.new_event_loop()
    with pytest.raises(ValueError, match=told), everloop.LoopThread() as portal:
        portal.run(asyncio.Event().wait())
    everloop.EventLoop(rescue=True).close()  # does not ask


def test_a_variable_that_is_misspelt_is_told_of():
    process = run_script("import everloop", EVERLOOP_RESUCE="1", EVERLOOP_VERSION="7")
    assert process.stderr == "the environment variable EVERLOOP_RESUCE has no effect: did you mean EVERLOOP_RESCUE?\n"


@pytest.mark.parametrize("variable", ["EVERLOOP_ANYIO_POOL", "EVERLOOP_WATCHDOG"])
def test_so_is_one_that_is_asked_when_everloop_is_imported(variable):
    process = run_script("import everloop", **{variable: "maybe"})
    assert process.stderr.splitlines()[-1].startswith(
        f"ValueError: the environment variable {variable} is 'maybe': give"
    )


@pytest.mark.parametrize(("value", "watched"), [("1", True), ("", True), ("0", False), ("off", False)])
def test_the_environment_can_leave_loops_unwatched(value, watched):
    source = """
    import time, everloop

    async def main():
        time.sleep(0.2)

    everloop.run(main())
    """
    process = run_script(source, EVERLOOP_WATCHDOG=value)
    assert process.returncode == 0, process.stderr
    assert ("warning[blocked]" in process.stderr) is watched


def test_a_runner_takes_the_factory():
    with asyncio.Runner(loop_factory=everloop.new_event_loop) as runner:
        assert type(runner.get_loop()) is everloop.EventLoop
        assert runner.run(asyncio.sleep(0, "slept")) == "slept"


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="the interpreter has no policies any more")
def test_the_policy_makes_asyncio_run_use_everloop():
    async def main():
        return type(asyncio.get_running_loop())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies are on their way out from 3.14
        asyncio.set_event_loop_policy(everloop.EventLoopPolicy())
        try:
            assert asyncio.run(main()) is everloop.EventLoop
        finally:
            asyncio.set_event_loop_policy(None)


def test_the_loop_is_one_of_asyncio_s_own(loop):
    assert isinstance(loop, asyncio.SelectorEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert "EventLoop" in repr(loop)
    assert "running=False" in repr(loop)


def test_any_attribute_can_be_set(loop):
    """Frameworks and tests replace methods of a loop in place."""
    loop.getaddrinfo = loop.favourite = "replaced"
    assert (loop.getaddrinfo, loop.favourite) == ("replaced", "replaced")


def test_options_are_attributes_with_the_documented_defaults():
    loop = everloop.EventLoop(rescue=False)
    assert (loop.rescue, loop.rescue_after, loop.max_relief_threads) == (False, 0.02, 128)
    assert loop.slow_callback_duration == 0.1
    loop.rescue, loop.rescue_after, loop.max_relief_threads = True, 0.5, 2
    assert (loop.rescue, loop.rescue_after, loop.max_relief_threads) == (True, 0.5, 2)
    loop.close()


class Odd:
    def __repr__(self):
        return "<odd>"


NONSENSE = [
    ("rescue", "yes", TypeError, "rescue must be True, False or 'all', not 'yes'"),
    ("rescue", 1, TypeError, "rescue must be True, False or 'all', not 1"),
    ("rescue_after", "soon", TypeError, "rescue_after must be a number of seconds, not 'soon'"),
    ("rescue_after", None, TypeError, "rescue_after must be a number of seconds, not None"),
    ("rescue_after", math.nan, ValueError, "rescue_after must be between 0.0001 and 3600 seconds, not NaN"),
    ("rescue_after", 0, ValueError, "rescue_after must be between 0.0001 and 3600 seconds, not 0"),
    ("rescue_after", -(10**400), ValueError, "rescue_after must be between 0.0001 and 3600 seconds, not -inf"),
    ("max_relief_threads", 1.5, TypeError, "max_relief_threads must be a whole number, not 1.5"),
    ("max_relief_threads", Odd(), TypeError, "max_relief_threads must be a whole number, not <odd>"),
    ("max_relief_threads", -1, ValueError, f"max_relief_threads must be between 0 and {2**64 - 1}, not -1"),
    ("max_relief_threads", 2**64, ValueError, f"max_relief_threads must be between 0 and {2**64 - 1}, not {2**64}"),
    ("slow_callback_duration", "long", TypeError, "slow_callback_duration must be a number of seconds, not 'long'"),
    ("slow_callback_duration", math.nan, ValueError, "slow_callback_duration must be a number of seconds, not NaN"),
]


@pytest.mark.parametrize(("option", "value", "error", "text"), NONSENSE, ids=lambda value: str(value)[:24])
def test_a_nonsense_value_of_an_option_is_refused_by_the_option_s_name(loop, option, value, error, text):
    before = getattr(loop, option)
    with pytest.raises(error) as refused:
        setattr(loop, option, value)
    assert (str(refused.value), getattr(loop, option)) == (text, before)
    if value is None:
        return  # an argument may be None: as the environment says
    with pytest.raises(error) as refused:
        everloop.EventLoop(**{option: value})
    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [
        ("max_relief_threads", 2**63, 2**63),
        ("rescue_after", 3600, 3600.0),
        ("slow_callback_duration", -1, 0.0),
        ("slow_callback_duration", 0, 0.0),
    ],
)
def test_an_odd_value_of_an_option_that_makes_sense_is_taken(loop, option, value, kept):
    setattr(loop, option, value)
    assert getattr(loop, option) == kept


@pytest.mark.parametrize("value", [math.inf, 10**400])
def test_no_step_is_slow_where_slow_callback_duration_is_infinite(loop, value, caplog):
    loop.slow_callback_duration = value
    loop.call_soon(spin, 0.15)
    turn(loop)
    assert loop.slow_callback_duration > 10**9
    assert caplog.records == []


def test_statistics_count_steps(loop):
    before = loop.statistics()
    times = {name for name in before if name.startswith("longest_") or name.endswith("_seconds")}
    assert {name for name, value in before.items() if type(value) is not int} == times | {"utilization"}
    for _ in range(1000):
        loop.call_soon(int)
    turn(loop)
    assert 1000 <= loop.statistics()["steps"] - before["steps"] < 1010  # a wake-up may count as one


def test_time_is_monotonic_seconds(loop):
    first = loop.time()
    assert isinstance(first, float)
    assert loop.time() >= first


def test_a_thousand_loops_leave_nothing_open():
    for _ in range(1000):
        everloop.EventLoop().close()


def test_an_idle_loop_uses_no_processor_time(loop):
    """Half a second of idling costs less than a tenth of that."""
    before = os.times()
    loop.call_later(0.5, loop.stop)
    loop.run_forever()
    after = os.times()
    assert after.user + after.system - before.user - before.system < 0.05


@pytest.mark.skipif(sys.version_info < (3, 13), reason="CPython 3.12 makes one all the same")
def test_a_loop_has_no_dictionary_until_a_program_gives_it_an_attribute(loop):
    def dictionaries():
        return sum(isinstance(each, dict) for each in gc.get_referents(loop))

    async def main():
        await loop.run_in_executor(None, int)
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    before = dictionaries()
    assert vars(loop) == {}
    assert dictionaries() == before + 1  # `vars` has made it
    loop.own_attribute = 1
    assert vars(loop) == {"own_attribute": 1}
