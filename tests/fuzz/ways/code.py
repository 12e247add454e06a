"""Shapes of code: nested calls, code made at run time, modules, classes, contexts."""

import asyncio
import contextvars
import importlib
import itertools
import pathlib
import sys
import tempfile
import time
import types

import everloop

from . import way

module_numbers = itertools.count()
variable = contextvars.ContextVar("variable", default="outside")


@way
def nested_calls(here):
    def first(number):
        return second(number) + 1

    def second(number):
        time.sleep(here.delay / 2)
        return third(number) + 1

    def third(number):
        time.sleep(here.delay / 2)
        here.alone()
        return number

    return first(1)


@way
def recursion(here, depth=30):
    return time.sleep(here.delay) if depth == 0 else recursion(here, depth - 1)


@way
def lambda_and_conditions(here):
    return (lambda: (time.sleep(here.delay / 2), 3)[1])(), time.sleep(here.delay / 2) or "or", (x := 4) and x


@way
def evaluated(here):
    return eval("time.sleep(delay) or 4", {"time": time, "delay": here.delay})


@way
def executed(here):
    names = {"time": time, "delay": here.delay}
    exec("class Body:\n    time.sleep(delay / 2)\n    x = [time.sleep(delay / 2), 5][1]\nresult = Body.x", names)
    return names["result"]


@way
def decorated(here):
    def decorator(function):
        time.sleep(here.delay / 2)
        return function

    @decorator
    def function():
        time.sleep(here.delay / 2)
        here.alone()
        return "decorated"

    return function()


@way
def imported(here):
    name = f"fuzz_module_{next(module_numbers)}"
    with tempfile.TemporaryDirectory() as directory:
        wait = f"time.sleep({here.delay})\n"
        source = f"import time\n{wait}value = 6\ndef __getattr__(name):\n    {wait}"
        pathlib.Path(directory, f"{name}.py").write_text(source)
        specification = importlib.util.spec_from_file_location(name, f"{directory}/{name}.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
    return module.value, module.missing


@way
def matched(here):
    class Number:
        def __eq__(self, other):
            time.sleep(here.delay / 2)
            here.alone()
            return other == 5

        @property
        def real(self):
            time.sleep(here.delay / 2)
            return 7

    match Number():
        case 4:
            return "four"
        case Number(real=8):
            return "eight"
        case 5:
            return "five"


@way
def assertion(here):
    def holds():
        time.sleep(here.delay)
        here.alone()
        return False

    try:
        assert holds(), time.sleep(here.delay / 2) or "does not hold"
    except AssertionError as error:
        return str(error)


@way
def in_another_context(here):
    def inside():
        variable.set("inside")
        time.sleep(here.delay)
        here.alone()
        return variable.get()

    return contextvars.copy_context().run(inside), variable.get()


@way
def context_variable_set_and_reset(here):
    token = variable.set("for a while")
    try:
        time.sleep(here.delay)
        here.alone()
        return variable.get()
    finally:
        variable.reset(token)


@way
def method_of_a_class(here):
    class Service:
        @classmethod
        def make(cls):
            time.sleep(here.delay / 3)
            return cls()

        @staticmethod
        def check():
            time.sleep(here.delay / 3)
            here.alone()

        def __call__(self, *, keyword):
            time.sleep(here.delay / 3)
            here.alone()
            return keyword

    service = Service.make()
    service.check()
    return service(keyword="given"), types.MethodType(lambda this: time.sleep(here.delay / 3), service)()


@way
def current_before_and_after(here):
    before = asyncio.current_task(), asyncio.get_running_loop(), sys.get_asyncgen_hooks()
    time.sleep(here.delay)
    return before == (asyncio.current_task(), asyncio.get_running_loop(), sys.get_asyncgen_hooks())


@way
def blocking_block(here):
    with everloop.blocking():
        time.sleep(here.delay)
    here.alone()
    return "back"
