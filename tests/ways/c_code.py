"""More ways to compute, most of them in C code, and in competition for the GIL and for processors."""

import ast
import base64
import contextlib
import csv
import ctypes
import decimal
import fractions
import gzip
import hashlib
import hmac
import html
import itertools
import math
import os
import random
import re
import signal
import sqlite3
import statistics
import string
import subprocess
import sys
import threading
import unicodedata
import xml.etree.ElementTree
import zlib

from computes import made, needs, noise, until_it_lasts
from way import NOBODY, TIME, times, way


def needs_times(work, size=1):
    return needs(lambda: times(work, size))


# ---- with the GIL


@way("gil", "python")  # large numbers are converted in Python
@needs(lambda: until_it_lasts(int, "9" * 10_000, lambda text: text + text[: len(text) // 4]))
def text_to_number():
    int(made["text_to_number"])  # here int


@way("gil")
@needs(lambda: until_it_lasts(math.factorial, 10_000, lambda n: n * 5 // 4))
def factorial():
    math.factorial(made["factorial"])  # here math.factorial


@way("gil")
@needs_times(lambda n: sum(itertools.repeat(1, n)), 10_000)
def iterators():
    sum(itertools.repeat(1, made["iterators"]))  # here sum


@way("gil")
@needs_times(lambda n: base64.b64encode(bytes(n)), 100_000)
def base64_of_much():
    some = bytes(made["base64_of_much"])
    base64.b64encode(some)  # here base64.b64encode


@way("gil")
@needs_times(lambda n: list(csv.reader(["a,b,c"] * n)), 1000)
def csv_rows():
    list(csv.reader(["a,b,c"] * made["csv_rows"]))  # here


@way("gil")
@needs_times(lambda n: xml.etree.ElementTree.fromstring("<a>" + "<b>c</b>" * n + "</a>"), 1000)
def xml_text():
    text = "<a>" + "<b>c</b>" * made["xml_text"] + "</a>"
    xml.etree.ElementTree.fromstring(text)  # here xml.etree.ElementTree.fromstring


@way("gil")
@needs_times(lambda n: unicodedata.normalize("NFD", "é" * n), 1000)
def normalize():
    text = "é" * made["normalize"]
    unicodedata.normalize("NFD", text)  # here unicodedata.normalize


@way("gil", "python", advised="")
@needs_times(lambda n: ast.parse("x = [1, 2, 3]\n" * n), 100)
def parse():
    ast.parse("x = [1, 2, 3]\n" * made["parse"])  # here ast.parse


@way("gil")
@needs_times(lambda n: re.sub("a|b", "c", "ab" * n), 1000)
def substitute():
    re.sub("a|b", "c", "ab" * made["substitute"])  # here re.sub


@way("gil")
@needs_times(lambda n: html.escape("<&>" * n), 1000)
def escape():
    html.escape("<&>" * made["escape"])  # here html.escape


@way("gil")
@needs(lambda: "é" * times(lambda n: ("é" * n).encode(), 100_000) * 3)
def encode():
    text = made["encode"]
    text.encode()  # here text.encode


@way("gil")
@needs(lambda: until_it_lasts(lambda n: decimal.Context(prec=n).divide(1, 7), 10_000, lambda n: n * 5 // 4))
def decimal_division():
    decimal.Context(prec=made["decimal_division"]).divide(1, 7)  # here decimal.Context(...).divide


# ---- in Python


@way("python")
@needs_times(lambda n: random.shuffle(list(range(n))), 1000)
def shuffle():
    some = list(range(made["shuffle"]))
    random.shuffle(some)  # here random.shuffle


@way("python")
@needs_times(lambda n: statistics.stdev([0.5] * n), 1000)
def deviation():
    statistics.stdev([0.5] * made["deviation"])  # here statistics.stdev


@way("python")
@needs_times(lambda n: sum([fractions.Fraction(1, 3)] * n), 1000)
def sum_of_fractions():
    sum([fractions.Fraction(1, 3)] * made["sum_of_fractions"])  # here sum


@way("python")
@needs_times(lambda n: [string.Template("$a").substitute(a=1) for _ in range(n)], 100)
def templates():
    n = made["templates"]
    for _ in range(n):  # here
        string.Template("$a").substitute(a=1)  # here


class Point:
    def __init__(self, x):
        self.x = x * 2 + 1  # here


def make_points(n):
    for each in range(n):  # here
        Point(each)  # here


@way("python", like=[Point.__init__, make_points])
@needs_times(make_points, 1000)
def objects():
    make_points(made["objects"])


def nested_loops(n):
    for i in range(n):  # here
        for j in range(100):  # here
            if i * j == -1:  # here
                print(i)


@way("python", like=nested_loops)
@needs_times(nested_loops, 100)
def loops_in_loops():
    nested_loops(made["loops_in_loops"])


class Mortal:
    def __del__(self):
        for number in range(made["last_words"]):  # here
            number * number  # here


def squares(n):
    for number in range(n):  # here
        number * number  # here


@way("python", like=Mortal.__del__)
@needs_times(squares, 1000)
def last_words():
    Mortal()


COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))


def compare(one, other):
    return one[0] - other[0]  # here


def sort_in_c(n):
    some = (ctypes.c_int * n)(*range(n, 0, -1))
    ctypes.CDLL(None).qsort(some, n, 4, COMPARE(compare))  # here ctypes.CDLL(...).qsort


@way("python", "gil", "native", advised="", like=[sort_in_c, compare])
@needs_times(sort_in_c, 100)
def called_back_from_c():
    sort_in_c(made["called_back_from_c"])


# ---- without the GIL


@way("native")
@needs(lambda: noise(gzip.compress))
def gzip_of_much():
    gzip.compress(made["gzip_of_much"])  # here gzip.compress


@way("native")
@needs(lambda: zlib.compress(noise(zlib.compress) * 4, 1))
def decompress():
    for _ in range(4):
        zlib.decompress(made["decompress"])  # here zlib.decompress


@way("native")
@needs_times(lambda n: hmac.digest(b"x", bytes(n), "sha512"), 100_000)
def keyed_digest():
    hmac.digest(b"x", bytes(made["keyed_digest"] * 2), "sha512")  # here hmac.digest


@way("native")
@needs_times(lambda n: hashlib.sha3_256(bytes(n)), 100_000)
def other_digest():
    hashlib.sha3_256(bytes(made["other_digest"] * 2))  # here hashlib.sha3_256


def count(connection, n):
    counts = "with recursive c(x) as (select 1 union all select x + 1 from c where x < ?) select sum(x) from c"
    return connection.execute(counts, (n,)).fetchall()  # here


@way("native", like=count)
@needs(lambda: times(lambda n: count(sqlite3.connect(":memory:"), n), 1000))
def query():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        count(connection, made["query"])


# ---- others


def busy(ends):
    while not ends.is_set():
        pass


@way("python", "thread", advised="", like=[squares, NOBODY])
@needs_times(squares, 1000)
def competing_threads():
    ends = threading.Event()
    threads = [threading.Thread(target=busy, args=(ends,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    squares(made["competing_threads"] // 4)
    ends.set()


@way("host", on="stopped", like=NOBODY)
def stopped():
    go_on = f"import os, time; time.sleep({TIME[0]}); os.kill({os.getpid()}, {signal.SIGCONT:d})"
    process = subprocess.Popen([sys.executable, "-c", go_on])
    os.kill(os.getpid(), signal.SIGSTOP)
    process.wait()
