"""Generators, iterations, comprehensions, context managers and exceptions that take a while."""

import contextlib
import queue
import time

from . import way


def three(here):
    for number in range(3):
        time.sleep(here.delay / 3)
        here.alone()
        yield number


@way
def generator(here):
    return list(three(here))


@way
def generators_in_generators(here):
    def outer():
        yield "first"
        yield from three(here)

    return [*outer()]


@way
def generator_closed(here):
    ended = []

    def one():
        try:
            yield 1
        finally:
            time.sleep(here.delay)
            here.alone()
            ended.append(True)

    numbers = one()
    next(numbers)
    numbers.close()
    return ended


@way
def generator_dropped(here):
    ended = []

    def one():
        try:
            yield 1
        finally:
            time.sleep(here.delay)
            here.alone()
            ended.append(True)

    numbers = one()
    next(numbers)
    del numbers
    return ended


@way
def generator_thrown_into(here):
    def one():
        try:
            yield 1
        except LookupError:
            time.sleep(here.delay)
            here.alone()
            yield "caught"

    numbers = one()
    next(numbers)
    return numbers.throw(LookupError)


@way
def coroutine_driven_by_hand(here):
    async def inner():
        time.sleep(here.delay)
        here.alone()
        return "returned"

    coroutine = inner()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


@way
def iterator_in_python(here):
    class Countdown:
        left = 3

        def __iter__(self):
            time.sleep(here.delay / 4)
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            time.sleep(here.delay / 4)
            here.alone()
            self.left -= 1
            return self.left

    return list(Countdown()), "-".join(map(str, Countdown()))


@way
def comprehensions(here):
    listed = [time.sleep(here.delay / 6) for _ in range(2)]
    mapped = {number: time.sleep(here.delay / 6) for number in range(2)}
    return listed, mapped, all(time.sleep(here.delay / 6) is None for _ in range(2))


@way
def sums_and_zips(here):
    return sum(three(here)), list(zip("ab", three(here), strict=False))


@way
def unpacking(here):
    first, *rest = three(here)
    return first, rest


@way
def membership(here):
    return 2 in three(here), max(three(here))


@way
def context_manager(here):
    @contextlib.contextmanager
    def slow():
        time.sleep(here.delay / 2)
        here.alone()
        try:
            yield 5
        finally:
            time.sleep(here.delay / 2)
            here.alone()

    with slow() as number, contextlib.ExitStack() as stack:
        stack.callback(time.sleep, here.delay / 2)
        return number


@way
def exit_that_takes_an_exception(here):
    class Forgiving:
        def __enter__(self):
            time.sleep(here.delay / 2)

        def __exit__(self, kind, error, traceback):
            time.sleep(here.delay / 2)
            here.alone()
            return kind is LookupError

    with Forgiving():
        raise LookupError
    return "forgiven"


@way
def exception_out_of_a_blocking_call(here):
    try:
        try:
            queue.Queue().get(timeout=here.delay)
        finally:
            time.sleep(here.delay / 2)
            here.alone()
    except queue.Empty as error:
        return type(error).__name__


@way
def exception_out_of_nested_calls(here):
    def inner():
        time.sleep(here.delay / 2)
        raise LookupError("inner")

    def outer():
        try:
            inner()
        except LookupError as error:
            time.sleep(here.delay / 2)
            here.alone()
            raise ValueError("outer") from error

    try:
        outer()
    except ValueError as error:
        return str(error), str(error.__cause__)


@way
def exception_group(here):
    try:
        try:
            raise ExceptionGroup("two", [ValueError(1), LookupError(2)])
        except* ValueError:
            time.sleep(here.delay / 2)
            here.alone()
    except* LookupError as group:
        time.sleep(here.delay / 2)
        here.alone()
        caught = len(group.exceptions)
    return caught


@way
def continue_through_finally(here):
    seen = []
    for number in range(3):
        try:
            if number == 1:
                continue
            time.sleep(here.delay / 4)
            seen.append(number)
        finally:
            time.sleep(here.delay / 6)
            here.alone()
    return seen


@way
def return_through_finally(here):
    def decide():
        try:
            return "from try"
        finally:
            time.sleep(here.delay)
            here.alone()

    return decide()
