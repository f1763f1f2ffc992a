"""The works that asyncio knows: callbacks, timers, tasks, hand-overs, calls from threads, echo.

    asyncio_peer.py asyncio|uvloop WORK PARAMETER

Prints what bench.h says; nothing, if they do not know the work, or so many would take too long.
There are fewer operations than in the others, as each takes so long.
"""
import asyncio
import random
import socket
import statistics
import sys
import threading
import time

YIELDS = 100000
SPAWNS = 20000
BATCH = 100
COLD = 10000
CALLS = 200000
CHURN = 50000
ITEMS = 20000
THREADS = 4
POSTS = 10000
SPAN_MS = 200
ROUNDS = 10

contender, work, parameter = sys.argv[1], sys.argv[2], int(sys.argv[3])


def result(part, unit, value):
    name = work + ("-" + part if part else "")
    print(name, contender, parameter, unit, "%.6g" % value, sep="\t", flush=True)


def each(part, start, n):
    result(part, "ns", (time.perf_counter_ns() - start) / n)


def memory(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


async def run_yield(tasks):
    times = max(1, YIELDS // tasks)

    async def yield_often():
        for _ in range(times):
            await asyncio.sleep(0)

    start = time.perf_counter_ns()
    await asyncio.gather(*[yield_often() for _ in range(tasks)])
    each("", start, times * tasks)


async def end_at_once():
    pass


async def run_spawn(_):
    start = time.perf_counter_ns()
    for _ in range(SPAWNS // BATCH):
        tasks = [asyncio.create_task(end_at_once()) for _ in range(BATCH)]
        while not tasks[-1].done():
            await asyncio.sleep(0)
    each("", start, SPAWNS)


async def run_spawn_cold(_):
    start = time.perf_counter_ns()
    tasks = [asyncio.create_task(end_at_once()) for _ in range(COLD)]
    while not tasks[-1].done():
        await asyncio.sleep(0)
    each("", start, COLD)


async def run_await(_):
    start = time.perf_counter_ns()
    for _ in range(SPAWNS):
        await asyncio.create_task(end_at_once())
    each("", start, SPAWNS)


async def run_parked(n):
    rss, tables = memory("VmRSS"), memory("VmPTE")
    event = asyncio.Event()
    start = time.perf_counter_ns()
    tasks = [asyncio.create_task(event.wait()) for _ in range(n)]
    await asyncio.sleep(0)
    each("start", start, n)
    result("memory", "bytes", (memory("VmRSS") - rss) / n)
    result("tables", "bytes", (memory("VmPTE") - tables) / n)
    start = time.perf_counter_ns()
    event.set()
    await asyncio.gather(*tasks)
    each("wake", start, n)


async def run_rendezvous(_):
    queue = asyncio.Queue(1)

    async def send_all():
        for i in range(ITEMS):
            await queue.put(i)

    task = asyncio.create_task(send_all())
    start = time.perf_counter_ns()
    for i in range(ITEMS):
        assert await queue.get() == i
    each("", start, ITEMS)
    await task


async def run_lock(_):
    lock = asyncio.Lock()
    start = time.perf_counter_ns()
    for _ in range(ITEMS):
        await lock.acquire()
        lock.release()
    each("", start, ITEMS)


async def run_mutex(tasks):
    lock = asyncio.Lock()

    async def pass_often():
        for _ in range(ITEMS // tasks):
            async with lock:
                await asyncio.sleep(0)

    start = time.perf_counter_ns()
    await asyncio.gather(*[pass_often() for _ in range(tasks)])
    each("", start, ITEMS)


async def run_ready(n):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = CALLS

    def call_again():
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(call_again)
        elif left == 0:
            done.set_result(None)

    start = time.perf_counter_ns()
    for _ in range(n):
        loop.call_soon(call_again)
    await done
    each("", start, CALLS)


def churn(loop, timers, delay, expire):
    start = time.perf_counter_ns()
    for _ in range(CHURN):
        which = random.randrange(len(timers))
        timers[which].cancel()
        timers[which] = loop.call_later(delay(), expire)
    each("churn", start, CHURN)
    start = time.perf_counter_ns()
    for _ in range(CHURN):
        loop.call_later(3600, expire).cancel()
    each("far", start, CHURN)


async def run_timers(n):
    loop = asyncio.get_running_loop()
    expired, inserting, expiring = 0, [], []

    def expire():
        nonlocal expired
        expired += 1
        if expired == n:
            done.set_result(None)

    def delay():
        return random.random() * SPAN_MS / ROUNDS / 1000

    for left in reversed(range(ROUNDS)):
        expired, done = 0, loop.create_future()
        start = time.perf_counter_ns()
        timers = [loop.call_later(delay(), expire) for _ in range(n)]
        inserting.append(time.perf_counter_ns() - start)
        if left == 0:
            result("insert", "ns", statistics.median(inserting) / n)
            churn(loop, timers, delay, expire)
        due = time.perf_counter_ns() + SPAN_MS / ROUNDS * 1.1e6
        while time.perf_counter_ns() < due:
            pass
        start = time.perf_counter_ns()
        await done
        expiring.append(time.perf_counter_ns() - start)
    result("expire", "ns", statistics.median(expiring) / n)


async def run_post(_):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    arrived = 0

    def arrive():
        nonlocal arrived
        arrived += 1
        if arrived == THREADS * POSTS:
            done.set_result(None)

    def post_all():
        for _ in range(POSTS):
            loop.call_soon_threadsafe(arrive)

    threads = [threading.Thread(target=post_all) for _ in range(THREADS)]
    start = time.perf_counter_ns()
    for thread in threads:
        thread.start()
    await done
    each("", start, THREADS * POSTS)


async def run_echo(port):
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    alive = 0

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            nonlocal alive
            alive += 1
            self.transport = transport
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def data_received(self, data):
            self.transport.write(data)

        def connection_lost(self, _):
            nonlocal alive
            alive -= 1
            if alive == 0:
                end.set_result(None)

    await loop.create_server(Echo, "127.0.0.1", port, backlog=4096)
    await end


WORKS = {
    "yield": run_yield,
    "spawn": run_spawn,
    "spawn-cold": run_spawn_cold,
    "await": run_await,
    "parked": run_parked,
    "rendezvous": run_rendezvous,
    "lock": run_lock,
    "mutex": run_mutex,
    "ready": run_ready,
    "timers": run_timers,
    "post": run_post,
    "echo": run_echo,
}
MOST = {"parked": 100000, "timers": 1000}

if work in WORKS and parameter <= MOST.get(work, parameter):
    if contender == "uvloop":
        import uvloop

        uvloop.install()
    asyncio.run(WORKS[work](parameter))
