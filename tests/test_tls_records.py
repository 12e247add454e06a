"""TLS without a network: however the bytes of a connection are cut into pieces, the program sees the same text.

The transport below is a list, so every cut is chosen here; asyncio's own class goes through the same cuts.
"""

import asyncio
import contextlib
import random
import ssl
from asyncio import sslproto

import pytest

from everloop import _native
from tls_support import VERSIONS, BufferedRecorder, Events, Recorder, client_context, reported, server_context

CLASSES = [sslproto.SSLProtocol, _native.TlsProtocol]


class Below(asyncio.Transport):
    """The transport below: keeps what is written, and notes what else is asked of it."""

    def __init__(self, events):
        super().__init__()
        self.events, self.written, self.writes = events, [], 0

    def write(self, data):
        self.written.append(bytes(data))
        self.writes += 1

    def take(self):
        data = b"".join(self.written)
        self.written.clear()
        return data

    def is_closing(self):
        return False

    def close(self):
        self.events.note("close")

    def abort(self):
        self._force_close(None)

    def _force_close(self, error):
        self.events.note("force_close", type(error).__name__, getattr(error, "reason", None) or str(error))

    def pause_reading(self):
        self.events.note("pause_reading")

    def resume_reading(self):
        self.events.note("resume_reading")


class Connection:
    """The server's side is the class that is tested; the client's is an SSLObject."""

    def __init__(self, cls, protocol, events, version=None, cut=None):
        loop = asyncio.get_running_loop()
        self.cut = cut or (lambda data: [data])
        self.below, self.protocol = Below(events), protocol
        self.tls = cls(loop, protocol, server_context(version), loop.create_future(), True)
        self.transport = self.tls._app_transport
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.peer = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.tls.connection_made(self.below)
        while protocol.transport is None:
            self.handshake()
        self.handshake()

    def handshake(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.do_handshake()
        self.feed(self.outgoing.read())
        self.incoming.write(self.below.take())

    def feed(self, data):
        """Hands bytes over as a transport does, in the pieces that `cut` makes of them."""
        for piece in self.cut(data):
            while piece:
                buffer = self.tls.get_buffer(-1)
                count = min(len(buffer), len(piece))
                buffer[:count] = piece[:count]
                self.tls.buffer_updated(count)
                piece = piece[count:]

    def say(self, *texts):
        for text in texts:
            self.peer.write(text)
        self.feed(self.outgoing.read())

    def hear(self):
        self.incoming.write(self.below.take())
        heard = b""
        while True:
            try:
                heard += self.peer.read(65536)
            except ssl.SSLWantReadError:
                return heard

    def end(self):
        self.tls.connection_lost(None)


def on_both_classes(loop, scene, kind=Recorder, **options):
    """Runs `scene(connection, events)` with asyncio's class and with ours; returns what happened: the same."""

    async def run(cls):
        events = Events()
        with reported(loop, events):
            connection = Connection(cls, kind(events), events, **options)
            await scene(connection, events)
            connection.end()
            await asyncio.sleep(0)
        return list(events)

    theirs, ours = [loop.run_until_complete(run(cls)) for cls in CLASSES]
    assert ours == theirs, (ours, theirs)
    return ours


def cut_at_random(seed, largest):
    chance = random.Random(seed)

    def cut(data):
        while data:
            size = chance.randint(1, largest)
            yield data[:size]
            data = data[size:]

    return cut


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("largest", [1, 7, 1500, 20_000, 200_000])
def test_any_cut_gives_the_same_text(loop, version, kind, largest):
    texts = [bytes([n]) * size for n, size in enumerate((1, 100, 16_384, 16_385, 3, 70_000))]
    if largest == 1:
        texts = [text[:2000] for text in texts]

    async def scene(connection, events):
        connection.say(*texts)
        for text in texts:
            connection.say(text)
        # A BufferedProtocol's buffer was full: it gets the rest in the next turns.
        while len(connection.protocol.received) < 2 * len(b"".join(texts)):
            await asyncio.sleep(0)

    options = {"version": version, "cut": cut_at_random(largest, largest)}
    events = on_both_classes(loop, scene, kind, **options)
    assert events[1] == ("data", b"".join(texts) * 2)


@pytest.mark.parametrize("seed", range(20))
def test_cuts_reading_pauses_and_answers_in_any_order(loop, seed):
    async def scene(connection, events):
        chance = random.Random(seed)
        said, answered, heard = b"", b"", b""
        for _ in range(60):
            match chance.randrange(5):
                case 0:
                    connection.transport.pause_reading()
                case 1:
                    connection.transport.resume_reading()
                    await asyncio.sleep(0)
                case 2:
                    text = chance.randbytes(chance.choice((1, 500, 20_000)))
                    answered += text
                    connection.transport.write(text)
                    heard += connection.hear()
                case _:
                    text = chance.randbytes(chance.choice((1, 500, 17_000, 50_000)))
                    said += text
                    connection.say(text)
        connection.transport.resume_reading()
        await asyncio.sleep(0)
        heard += connection.hear()
        assert connection.protocol.received == said
        assert heard == answered

    on_both_classes(loop, scene, cut=cut_at_random(seed, 30_000))


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\xff\xff", b"\x17\x03\x03\x00\x20" + b"z" * 32]
)
def test_rubbish_in_the_middle(loop, kind, rubbish):
    async def scene(connection, events):
        connection.say(b"text")
        connection.feed(rubbish)

    events = on_both_classes(loop, scene, kind)
    assert events[1] == ("data", b"text")
    assert events[2][:2] == ("force_close", "SSLError")


def test_rubbish_is_noticed_before_a_record_could_be_whole(loop):
    async def scene(connection, events):
        connection.feed(b"HTTP/")  # a "record" of 20527 bytes

    assert on_both_classes(loop, scene)[-2][0] == "force_close"


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
def test_close_notify_right_behind_the_text(loop, kind):
    async def scene(connection, events):
        connection.peer.write(b"text")
        with pytest.raises(ssl.SSLWantReadError):
            connection.peer.unwrap()
        connection.feed(connection.outgoing.read())
        connection.hear_end = connection.below.take()
        assert connection.hear_end  # our own close_notify
        await asyncio.sleep(0)

    events = on_both_classes(loop, scene, kind)
    assert events == [("made",), ("data", b"text"), ("eof",), ("close",), ("lost", "NoneType", "None")]


def test_all_records_of_a_write_leave_at_once(loop):
    async def scene(connection, events):
        before = connection.below.writes
        connection.transport.write(b"x" * 200_000)
        connection.transport.writelines([b"y" * 10_000] * 20)
        events.note("writes", connection.below.writes - before)
        assert connection.hear() == b"x" * 200_000 + b"y" * 200_000

    assert ("writes", 2) in on_both_classes(loop, scene)


def test_what_is_held_back_below_counts_as_unsent(loop):
    async def scene(connection, events):
        connection.tls.pause_writing()
        with pytest.raises(AssertionError):
            connection.tls.pause_writing()
        connection.transport.write(b"x" * 600_000)
        events.note("size", connection.transport.get_write_buffer_size() >= 600_000)
        events.note("written", connection.below.take())
        connection.tls.resume_writing()
        events.note("size", connection.transport.get_write_buffer_size())
        assert connection.hear() == b"x" * 600_000

    events = on_both_classes(loop, scene)
    assert [event[0] for event in events] == ["made", "pause", "size", "written", "resume", "size", "lost"]


def test_the_transport_below_stops_while_too_much_waits(loop):
    async def scene(connection, events):
        connection.transport.pause_reading()
        connection.say(*[b"x" * 16_384] * 20)
        connection.transport.resume_reading()
        await asyncio.sleep(0)

    events = on_both_classes(loop, scene)
    assert [event[0] for event in events] == ["made", "pause_reading", "data", "resume_reading", "lost"]


@pytest.mark.parametrize("limits", [{"high": 0}, {"high": 10, "low": 10}, {"low": 100}])
def test_reading_limits_of_the_users(loop, limits):
    async def scene(connection, events):
        connection.transport.set_read_buffer_limits(**limits)
        connection.say(b"x" * 1000)
        connection.say(b"y" * 1000)

    on_both_classes(loop, scene)


def test_a_write_from_within_data_received(loop):
    class Echo(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)

    async def scene(connection, events):
        for size in (1, 1000, 100_000):
            connection.say(b"e" * size)
            assert connection.hear() == b"e" * size

    on_both_classes(loop, scene, Echo)


def test_bytes_that_somebody_else_puts_into_the_incoming_buffer(loop):
    async def scene(connection, events):
        connection.peer.write(b"one")
        connection.tls._incoming.write(connection.outgoing.read())
        connection.say(b"two")
        connection.say(b"three")

    assert on_both_classes(loop, scene)[1] == ("data", b"onetwothree")
