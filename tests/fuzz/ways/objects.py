"""Objects whose attributes, operators, making and ending take a while."""

import dataclasses
import functools
import gc
import time
import weakref

from . import way


@way
def getattr_in_python(here):
    class Remote:
        def __getattr__(self, name):
            time.sleep(here.delay)
            here.alone()
            return name

        def __setattr__(self, name, value):
            time.sleep(here.delay / 2)
            here.alone()

    remote = Remote()
    remote.anything = 1
    return remote.anything, hasattr(remote, "more")


@way
def properties(here):
    class Owner:
        @property
        def value(self):
            time.sleep(here.delay / 3)
            here.alone()
            return 9

        @value.setter
        def value(self, value):
            time.sleep(here.delay / 3)

        @functools.cached_property
        def once(self):
            time.sleep(here.delay / 3)
            here.alone()
            return 10

    owner = Owner()
    owner.value = 1
    return owner.value, owner.once, owner.once


@way
def descriptor(here):
    class Slow:
        def __set_name__(self, owner, name):
            time.sleep(here.delay / 4)
            self.name = name

        def __get__(self, instance, owner):
            time.sleep(here.delay / 4)
            here.alone()
            return self.name

        def __set__(self, instance, value):
            time.sleep(here.delay / 4)

        def __delete__(self, instance):
            time.sleep(here.delay / 4)
            here.alone()

    class Owner:
        field = Slow()

    owner = Owner()
    owner.field = 1
    found = owner.field
    del owner.field
    return found


@way
def containers(here):
    class Container:
        def __getitem__(self, key):
            time.sleep(here.delay / 5)
            here.alone()
            return key

        def __setitem__(self, key, value):
            time.sleep(here.delay / 5)

        def __delitem__(self, key):
            time.sleep(here.delay / 5)

        def __contains__(self, key):
            time.sleep(here.delay / 5)
            here.alone()
            return True

        def __len__(self):
            time.sleep(here.delay / 5)
            return 0

    container = Container()
    container[1] = 2
    del container[1]
    return container[3], 4 in container, bool(container), container[1:2]


@way
def operators(here):
    class Number:
        def __add__(self, other):
            time.sleep(here.delay / 5)
            here.alone()
            return NotImplemented

        def __radd__(self, other):
            time.sleep(here.delay / 5)
            here.alone()
            return "added from the right"

        def __matmul__(self, other):
            time.sleep(here.delay / 5)
            here.alone()
            return "product"

        def __neg__(self):
            time.sleep(here.delay / 5)
            return "negative"

        def __iadd__(self, other):
            time.sleep(here.delay / 5)
            return "in place"

    number = Number()
    results = [number @ 1, -number, 1 + number]
    number += 1
    return [*results, number]


@way
def comparisons(here):
    class Version:
        def __eq__(self, other):
            time.sleep(here.delay / 4)
            here.alone()
            return self is other

        def __hash__(self):
            time.sleep(here.delay / 8)
            return 1

        def __lt__(self, other):
            time.sleep(here.delay / 4)
            here.alone()
            return True

    one, other = Version(), Version()
    table = {one: "one"}
    return table.get(other), table[one], one < other, one in [other, one], 0 < 1 < 2


@way
def conversions(here):
    class Text:
        def __str__(self):
            time.sleep(here.delay / 5)
            here.alone()
            return "text"

        def __format__(self, specification):
            time.sleep(here.delay / 5)
            here.alone()
            return f"<{specification}>"

        def __index__(self):
            time.sleep(here.delay / 5)
            return 1

        def __bool__(self):
            time.sleep(here.delay / 5)
            here.alone()
            return False

    text = Text()
    return str(text), f"{text:wide}", "ab"[text], "yes" if text else "no", int(text)


@way
def making_of_an_object(here):
    class Meta(type):
        def __call__(cls, *args):
            time.sleep(here.delay / 5)
            here.alone()
            return super().__call__(*args)

        def __instancecheck__(cls, instance):
            time.sleep(here.delay / 5)
            return True

    @dataclasses.dataclass
    class Point(metaclass=Meta):
        x: int

        def __init_subclass__(cls):
            time.sleep(here.delay / 5)

        def __new__(cls, *args):
            time.sleep(here.delay / 5)
            return super().__new__(cls)

        def __post_init__(self):
            time.sleep(here.delay / 5)
            here.alone()
            self.x += 1

    class Special(Point):
        pass

    return Special(1).x, isinstance(3, Point)


class Resource:
    """Its end takes a while. It must not be part of a cycle: see what is not among the ways."""

    def __init__(self, here, ended):
        self.here, self.ended = here, ended

    def __del__(self):
        time.sleep(self.here.delay)
        self.here.alone()
        self.ended.append("ended")


@way
def finalizer(here):
    ended = []
    Resource(here, ended)
    return ended


@way
def finalizer_of_a_local(here):
    ended = []

    def use():
        resource = Resource(here, ended)
        return resource is None

    return use(), ended


@way
def finalizer_of_a_local_that_has_blocked(here):
    ended = []

    def use():
        resource = Resource(here, ended)
        time.sleep(here.delay)
        return resource is None

    return use(), ended


@way
def finalizers_of_a_list(here):
    ended = []
    resources = [Resource(here, ended), Resource(here, ended)]
    resources.clear()
    return ended


@way
def weak_reference(here):
    ended = []

    def gone(_):
        time.sleep(here.delay)
        here.alone()
        ended.append("gone")

    resource = Resource.__new__(Resource)
    resource.here, resource.ended = here, ended
    reference = weakref.ref(resource, gone)
    weakref.finalize(resource, time.sleep, here.delay / 2)
    del resource
    return ended, reference()


@way
def collection(here):
    class Node:
        pass

    node = Node()
    node.itself = node
    del node
    time.sleep(here.delay)
    gc.collect(0)
    here.alone()
