"""What processes of Python's share, served to the bench a turn at a time.

    shared.py PEER WORK/COUNT SIZE

Speaks as `pools.py` does: `ready?`, `check` or `turn`, a line each, and a line back. It times
itself. The other side is a fork, which is told how many steps follow and says how many went well.
"""

import asyncio
import multiprocessing
import sys
import threading
import time

CONTEXT = multiprocessing.get_context("fork")
# So long that whoever waits for a lock sleeps.
ASLEEP = 400e-6


def aio(name, *arguments):
    import aioprocessing

    return getattr(aioprocessing, name)(*arguments)


class Partner:
    """A fork that serves orders, as ours does in Rust."""

    def __init__(self, serve):
        self.orders, theirs = CONTEXT.Pipe()

        def run():
            while True:
                count = theirs.recv()
                theirs.send(0)
                theirs.send(serve(count))

        CONTEXT.Process(target=run, daemon=True).start()

    def turn(self, count, work):
        """Seconds of the work here, until all is done there."""
        self.orders.send(count)
        assert self.orders.recv() == 0
        began = time.perf_counter()
        work()
        right = self.orders.recv() == count
        return (time.perf_counter() - began) / count, right


class Stream:
    """Messages one way; the receiver looks at their length."""

    def __init__(self, peer, count, size):
        self.peer, self.count, self.message = peer, count, bytes(size)
        if peer == "AioPipe":
            self.inlet, outlet = (aio("AioPipe"))
        else:
            makers = {
                "multiprocessing.Queue": lambda: CONTEXT.Queue(1024),
                "multiprocessing.SimpleQueue": CONTEXT.SimpleQueue,
                "AioQueue": lambda: aio("AioQueue", 1024),
            }
            self.inlet = outlet = makers[peer]()

        async def receive_awaited(count):
            receive = outlet.coro_recv if peer == "AioPipe" else outlet.coro_get
            return sum([len(await receive()) == size for _ in range(count)])

        def receive(count):
            if peer.startswith("Aio"):
                return asyncio.run(receive_awaited(count))
            return sum(len(outlet.get()) == size for _ in range(count))

        self.partner = Partner(receive)

    async def send_awaited(self):
        send = self.inlet.coro_send if self.peer == "AioPipe" else self.inlet.coro_put
        for _ in range(self.count):
            await send(self.message)

    def send(self):
        if self.peer.startswith("Aio"):
            asyncio.run(self.send_awaited())
        else:
            for _ in range(self.count):
                self.inlet.put(self.message)

    def turn(self):
        return self.partner.turn(self.count, self.send)


class Lock:
    """A lock or a permit with nobody else there."""

    def __init__(self, peer, count, size):
        self.peer, self.count = peer, count
        makers = {
            "multiprocessing.Lock": CONTEXT.Lock,
            "multiprocessing.RLock": CONTEXT.RLock,
            "multiprocessing.Semaphore": lambda: CONTEXT.Semaphore(2),
            "threading.Lock": threading.Lock,
            "AioLock": lambda: aio("AioLock"),
            "AioSemaphore": lambda: aio("AioSemaphore", 2),
        }
        self.lock = makers[peer]()

    async def awaited(self):
        # Its `coro_release` waits for ever after `coro_acquire`.
        began = time.perf_counter()
        for _ in range(self.count):
            await self.lock.coro_acquire()
            self.lock.release()
        return time.perf_counter() - began

    def turn(self):
        if self.peer.startswith("Aio"):
            return asyncio.run(self.awaited()) / self.count, True
        began = time.perf_counter()
        for _ in range(self.count):
            with self.lock:
                pass
        return (time.perf_counter() - began) / self.count, True


class Asleep:
    """A lock goes to a process that slept."""

    def __init__(self, peer, count, size):
        self.count = count
        self.lock, times = CONTEXT.Lock(), CONTEXT.RawArray("d", count)
        self.step, self.sent = CONTEXT.RawValue("q", 0), CONTEXT.RawValue("d", 0)
        self.times, self.number = times, 0
        lock, step, sent = self.lock, self.step, self.sent

        def receive(count):
            for index in range(count):
                while step.value % 2 == 0:
                    time.sleep(0)
                with lock:
                    times[index] = time.monotonic() - sent.value
                step.value += 1
            return count

        self.partner = Partner(receive)

    def hand_over(self):
        for _ in range(self.count):
            with self.lock:
                self.number += 1
                self.step.value += 1
                until = time.monotonic() + ASLEEP
                while time.monotonic() < until:
                    pass
                self.sent.value = time.monotonic()
            while self.step.value != 2 * self.number:
                time.sleep(0)

    def turn(self):
        _, right = self.partner.turn(self.count, self.hand_over)
        return sorted(self.times)[self.count // 2], right


class Exchange:
    """A permit there and one back."""

    def __init__(self, peer, count, size):
        self.count = count
        self.there, self.back = there, back = CONTEXT.Semaphore(0), CONTEXT.Semaphore(0)

        def serve(count):
            for _ in range(count):
                there.acquire()
                back.release()
            return count

        self.partner = Partner(serve)

    def exchange(self):
        for _ in range(self.count):
            self.there.release()
            self.back.acquire()

    def turn(self):
        return self.partner.turn(self.count, self.exchange)


class Condition:
    """Two wait for each other's change."""

    def __init__(self, peer, count, size):
        self.count = count
        condition, number = CONTEXT.Condition(), CONTEXT.RawValue("q", 0)

        def step(parity):
            with condition:
                condition.wait_for(lambda: number.value % 2 == parity)
                number.value += 1
                condition.notify()

        def serve(count):
            for _ in range(count):
                step(1)
            return count

        self.step, self.partner = step, Partner(serve)

    def turn(self):
        return self.partner.turn(self.count, lambda: [self.step(0) for _ in range(self.count)])


class Barrier:
    """Two meet, round after round."""

    def __init__(self, peer, count, size):
        self.count = count
        self.barrier = barrier = CONTEXT.Barrier(2)

        def serve(count):
            for _ in range(count):
                barrier.wait()
            return count

        self.partner = Partner(serve)

    def turn(self):
        rounds = range(self.count)
        return self.partner.turn(self.count, lambda: [self.barrier.wait() for _ in rounds])


class Crowd:
    """Many tasks of one process wait for an event, and are let through at once."""

    def __init__(self, peer, count, size):
        self.count, self.event = count, aio("AioEvent")

    async def wait(self):
        tasks = [asyncio.ensure_future(self.event.coro_wait()) for _ in range(self.count)]
        await asyncio.sleep(0)
        self.event.set()
        return all(await asyncio.gather(*tasks))

    def turn(self):
        self.event.clear()
        began = time.perf_counter()
        right = asyncio.run(self.wait())
        return (time.perf_counter() - began) / self.count, right


WORKS = {
    "stream": Stream,
    "lock": Lock,
    "asleep": Asleep,
    "exchange": Exchange,
    "condition": Condition,
    "barrier": Barrier,
    "crowd": Crowd,
}


def main():
    peer, work, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    name, count = work.split("/")
    served = WORKS[name](peer, int(count), size)
    for line in sys.stdin:
        if line.strip() == "ready?":
            print("ready", flush=True)
            continue
        seconds, right = served.turn()
        print(f"{seconds!r} {'true' if right else 'false'}", flush=True)


if __name__ == "__main__":
    main()
