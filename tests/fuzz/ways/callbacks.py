"""C functions that call back: the step blocks in Python below C, or in C below Python below C."""

import bisect
import bz2
import copy
import ctypes
import functools
import hashlib
import heapq
import itertools
import json
import operator
import pickle
import re
import sqlite3
import time
import zlib

from . import way

libc = ctypes.CDLL(None)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


@way
def sorted_by_key(here):
    def key(number):
        time.sleep(here.delay / 3)
        here.alone()
        return -number

    return sorted([3, 1, 2], key=key)


@way
def sorted_by_comparison(here):
    def compare(left, right):
        time.sleep(here.delay / 4)
        here.alone()
        return left - right

    numbers = [3, 1, 2, 5]
    numbers.sort(key=functools.cmp_to_key(compare))
    return numbers


@way
def sorted_while_others_sort(here):
    return sorted(range(20_000), key=lambda number: number * 7919 % 20_011)[:3]


@way
def map_of_sleeps(here):
    return list(map(time.sleep, [here.delay / 2, here.delay / 2]))


@way
def map_of_an_endless_iterator(here):
    numbers = iter([1, 2, 3, None])

    def following():
        time.sleep(here.delay / 3)
        return next(numbers)

    def double(number):
        here.alone()
        return 2 * number

    return list(map(double, iter(following, None)))


@way
def filter_and_starmap(here):
    def wanted(number):
        here.alone()
        return number is None

    return list(filter(wanted, itertools.starmap(time.sleep, [(here.delay / 2,), (here.delay / 3,)])))


@way
def reduce_and_accumulate(here):
    def add(left, right):
        time.sleep(here.delay / 6)
        here.alone()
        return left + right

    return functools.reduce(add, [1, 2, 3]), list(itertools.accumulate([1, 2, 3], add))


@way
def largest_by_key(here):
    def key(text):
        time.sleep(here.delay / 6)
        here.alone()
        return len(text)

    words = ["one", "three", "four"]
    return max(words, key=key), [list(group) for _, group in itertools.groupby(words, key)]


@way
def heap_and_bisection(here):
    class Number(int):
        def __lt__(self, other):
            time.sleep(here.delay / 10)
            here.alone()
            return int(self) < int(other)

    heap = [Number(3), Number(1), Number(2)]
    heapq.heapify(heap)
    smallest = heapq.heappop(heap)
    return int(smallest), bisect.bisect(sorted(heap), Number(2))


@way
def substitution(here):
    def upper(match):
        time.sleep(here.delay / 2)
        here.alone()
        return match.group().upper()

    return re.sub("a|b", upper, "xaxb")


@way
def json_both_ways(here):
    def default(value):
        time.sleep(here.delay / 2)
        here.alone()
        return sorted(value)

    def hook(pairs):
        time.sleep(here.delay / 2)
        here.alone()
        return list(pairs)

    return json.loads(json.dumps({"set": {2, 1}}, default=default), object_hook=hook)


@way
def pickle_and_copy(here):
    class Reduced:
        def __reduce__(self):
            time.sleep(here.delay / 2)
            here.alone()
            return list, ((1, 2),)

    return pickle.loads(pickle.dumps(Reduced())), copy.copy(Reduced())


@way
def sqlite_function(here):
    def add_one(number):
        time.sleep(here.delay / 2)
        here.alone()
        return number + 1

    # a step may go on on another thread only if it is put aside there: it comes back to its own
    connection = sqlite3.connect(":memory:")
    connection.create_function("add_one", 1, add_one)
    rows = connection.execute("select add_one(1), add_one(2)").fetchall()
    connection.close()
    return rows


@way
def c_function(here):
    libc.usleep(int(here.delay * 1e6))  # a signal may end it


@way
def c_function_that_calls_back(here):
    def compare(left, right):
        time.sleep(here.delay / 3)
        here.alone()
        return left[0] - right[0]

    numbers = (ctypes.c_int * 3)(3, 1, 2)
    libc.qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), COMPARE(compare))
    return list(numbers)


@way
def partial_and_methodcaller(here):
    call = operator.methodcaller("__call__", here.delay / 2)
    return functools.partial(time.sleep, here.delay / 2)(), call(time.sleep)


@way
def cached(here):
    @functools.lru_cache
    def squared(number):
        time.sleep(here.delay)
        here.alone()
        return number**2

    return [squared(3), squared(3)]


@way
def dispatched(here):
    @functools.singledispatch
    def name(value):
        time.sleep(here.delay / 2)
        return "anything"

    @name.register
    def _(value: int):
        time.sleep(here.delay / 2)
        here.alone()
        return "a number"

    return name(""), name(1)


@way
def password_hash(here):
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", int(here.delay * 1e6) + 1) != b""


@way
def hash_of_much(here):
    return hashlib.sha256(bytes(int(here.delay * 3e8) + 4096)).digest_size


@way
def compression(here):
    text = bytes(range(256)) * (int(here.delay * 1e5) + 10)
    return zlib.decompress(zlib.compress(text, 9)) == text, bz2.decompress(bz2.compress(text[:10_000])) == text[:10_000]
