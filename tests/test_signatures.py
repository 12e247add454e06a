"""What we override or imitate takes every argument that the original of this interpreter takes.

asyncio's own code calls these methods, so an argument that a later version adds must fail here and not in a program.
"""

import asyncio
import concurrent.futures
import importlib
import inspect
import pkgutil
from asyncio import selector_events, sslproto, unix_events
from inspect import Parameter

import pytest

import everloop
from everloop import _native, pool

# Classes that are written in Rust stand for asyncio's, without being derived from them.
IMITATIONS = {
    _native.Handle: asyncio.Handle,
    _native.TimerHandle: asyncio.TimerHandle,
    _native.SocketTransport: selector_events._SelectorSocketTransport,
    _native.DatagramTransport: selector_events._SelectorDatagramTransport,
    _native.ReadPipeTransport: unix_events._UnixReadPipeTransport,
    _native.WritePipeTransport: unix_events._UnixWritePipeTransport,
    _native.TlsProtocol: sslproto.SSLProtocol,
    _native.TlsTransport: sslproto._SSLProtocolTransport,
    pool.ThreadPool: concurrent.futures.ThreadPoolExecutor,
}
FUNCTIONS = {everloop.to_thread: asyncio.to_thread}


def is_ours(cls):
    return cls.__module__.partition(".")[0] == "everloop"


def our_classes():
    for module in pkgutil.walk_packages(everloop.__path__, "everloop."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            yield from (each for each in members if isinstance(each, type) and each.__module__ == module.name)


def find(name, classes):
    """The first of the classes that defines it, and the function."""
    for each in classes:
        if name in vars(each):
            found = vars(each)[name]
            return each, getattr(found, "__func__", found)
    return None, None


def pairs(ours, theirs):
    """The methods of ours that a caller takes for theirs. Theirs is derived from, or imitated."""
    originals = [base for base in (theirs.__mro__) if not is_ours(base) and base is not object]
    for name in dir(theirs):
        if name.startswith("__"):
            continue  # operators have one signature only, and objects that imitate are made by us alone
        owner, function = find(name, ours.__mro__)
        _, original = find(name, originals)
        if owner is not None and is_ours(owner) and callable(function) and inspect.isfunction(original):
            yield f"{ours.__name__}.{name}", (function, original)


def all_pairs():
    for each in our_classes():
        yield from pairs(each, each)
    for ours, theirs in IMITATIONS.items():
        yield from pairs(ours, theirs)
    for ours, theirs in FUNCTIONS.items():
        yield ours.__name__, (ours, theirs)


PAIRS = dict(all_pairs())

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def refused(ours, theirs):
    """What a caller may give to theirs, and may not to ours."""
    ours, theirs = ([*signature.parameters.values()] for signature in (ours, theirs))
    kinds = {parameter.kind for parameter in ours}
    by_name = {parameter.name: parameter for parameter in ours if parameter.kind in NAMED}
    in_order = [parameter for parameter in ours if parameter.kind in POSITIONAL]
    optional = {parameter.name for parameter in ours if parameter.default is not Parameter.empty}

    for at, parameter in enumerate(theirs):
        is_optional = parameter.default is not Parameter.empty
        if parameter.kind in ANY_NUMBER and parameter.kind not in kinds:
            yield f"{parameter}"
        if parameter.kind in POSITIONAL:
            here = in_order[at].name if at < len(in_order) else None
            if here is None and Parameter.VAR_POSITIONAL not in kinds:
                yield f"{parameter} by position"
            if here and is_optional and here not in optional:
                yield f"no {parameter}"
        if parameter.kind in NAMED and at > 0:  # the first one is the object itself
            if parameter.name not in by_name and Parameter.VAR_KEYWORD not in kinds:
                yield f"{parameter} by name"
            if parameter.name in by_name and is_optional and parameter.name not in optional:
                yield f"no {parameter}"

    names = [parameter.name for parameter in theirs if parameter.kind in POSITIONAL]
    shared = [parameter.name for parameter in in_order if parameter.name in names]
    if shared != [name for name in names if name in shared]:
        yield f"{names} in this order"
    known = {parameter.name for parameter in theirs}
    for parameter in ours[len(theirs) :]:
        if parameter.kind in NAMED and parameter.name not in optional | known:
            yield f"a call without {parameter}"


def signature_of(text):
    """Of a function whose parameters are these."""
    namespace = {}
    exec(f"def function({text}): ...", namespace)
    return inspect.signature(namespace["function"])


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("self, a, b=1", "self, a, b=1", []),
        ("self, a, b=1, *, ours=None", "self, a, b=1", []),
        ("self, *args, **kwargs", "self, a, *, b", []),
        ("self, a", "self, a, *, context=None", ["context=None by name"]),
        ("self, a", "self, a, context=None", ["context=None by position", "context=None by name"]),
        ("self, a, /", "self, a", ["a by name"]),
        ("self, a, b", "self, a, b=1", ["no b=1", "no b=1"]),
        ("self, b, a", "self, a, b", ["['self', 'a', 'b'] in this order"]),
        ("self, a", "self, a, **kwargs", ["**kwargs"]),
        ("self, a, ours", "self, a", ["a call without ours"]),
    ],
)
def test_what_is_refused(ours, theirs, expected):
    assert [*refused(signature_of(ours), signature_of(theirs))] == expected


def test_what_asyncio_calls_is_compared():
    known = {"EventLoop._make_socket_transport", "EventLoop._start_serving", "EventLoop.sock_recv", "Handle.cancel"}
    known |= {"SocketTransport.write", "TlsProtocol.get_buffer", "TlsTransport.write", "ThreadPool.submit"}
    assert known <= PAIRS.keys()
    native = {each for each in vars(_native).values() if isinstance(each, type) and issubclass(each, _native.Transport)}
    assert native - {_native.Transport} <= IMITATIONS.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_it_takes_what_the_original_takes(name):
    ours, theirs = (inspect.signature(each) for each in PAIRS[name])
    assert [*refused(ours, theirs)] == []
