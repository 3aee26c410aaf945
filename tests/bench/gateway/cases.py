"""The cases. Each measures its contenders in interleaved rounds and adds its rows to the report."""
import concurrent.futures
import http.client
import json
import pathlib
import time

import bus
import report
import rig
from proxies import Missing, Nats

WARMUP = 0.7  # seconds before each measurement
LOAD_SHARE = 0.7  # of HAProxy's maximum: where latency is taken
BUSY, OWN, RIG_BUSY, DIRECT = 97, 90, 95, 1.5  # a throughput row counts only within these


class Bench:
    """What the cases share: who takes part, how many rounds, where the backend listens, the snapshot's text."""

    def __init__(self, contenders, out, rounds, backend, snapshot, seconds, log, say):
        self.contenders, self.out, self.rounds, self.backend, self.snapshot = contenders, out, rounds, backend, snapshot
        self.seconds, self.log, self.say = seconds, log, say
        self.sha = None
        self.missing = {}  # {name: why it could not be had}

    def started(self, *names, **settings):
        """The contenders of these peers that can be had, running."""
        running = []
        for make in self.contenders:
            try:
                proxy = make()
                if proxy.peer not in names and proxy.name not in names:
                    continue
                running.append(proxy.start(self.backend, **(settings if proxy.peer == "ecolink" else {})))
                if proxy.peer == "ecolink":
                    self.sha = proxy.sha256()
            except Missing as why:
                self.say(f"left out: {why}")
                self.missing[str(why).split()[0]] = str(why)
        return running

    def once(self, case, proxy, number, **options):
        """One measurement, or None when it saw errors."""
        options = {"seconds": self.seconds, "warmup": WARMUP, **options}
        if proxy and proxy.rewrites:
            options["any_body"] = True
        target, pids, headers = (f"127.0.0.1:{proxy.port}", proxy.pids, proxy.headers) if proxy else (self.backend, (), ())
        try:
            result = rig.run(self.backend, target, pids, headers, **options)
        except rig.Failed as why:
            self.say(f"{case}: {proxy.name if proxy else 'direct'}: no figure: {why}")
            result = None
        self.log({"case": case, "round": number, "peer": proxy.name if proxy else "direct", "options": options, "result": result})
        return result

    def interleaved(self, case, proxies, rounds=None, **options):
        """{name: [result or None per round]}; who begins changes from round to round."""
        results = {p.name: [] for p in proxies}
        rounds = rounds or self.rounds
        for number in range(rounds):
            turn = number % len(proxies)
            for proxy in proxies[turn:] + proxies[:turn]:
                results[proxy.name].append(self.once(case, proxy, number, **options))
            self.say(f"{case}: round {number + 1}/{rounds}: " + ", ".join(
                f"{name} {r[-1]['rps']:,.0f}/s {r[-1]['cpu_us_per_req']:.1f} us" for name, r in results.items() if r[-1]))
        return results


def stop(proxies):
    for proxy in proxies:
        proxy.stop()


def best_of_each_peer(proxies, results, key="rps", largest=True):
    """{peer: name}: of a peer's configurations the one that did best."""
    best = {}
    for proxy in proxies:
        value = report.median([r[key] if r else None for r in results[proxy.name]])
        if value is not None and (proxy.peer not in best or (value > best[proxy.peer][0]) == largest):
            best[proxy.peer] = (value, proxy.name)
    return {peer: name for peer, (_, name) in best.items()}


def medians(results, key):
    return report.median([r[key] if r else None for r in results])


def throughput(bench, case, peers, **options):
    """Requests/s closed-loop, then latency and CPU at one fixed rate, the same for all."""
    proxies = bench.started(*peers)
    try:
        closed = bench.interleaved(case, proxies, **options)
        best = best_of_each_peer(proxies, closed)
        chosen = [p for p in proxies if best.get(p.peer) == p.name]
        reference = next((p for p in chosen if p.peer == "haproxy"), chosen[0])
        rate = LOAD_SHARE * medians(closed[reference.name], "rps")
        fixed = bench.interleaved(case + ", fixed rate", chosen, rate=round(rate), **options)
        direct = report.median([r["rps"] for r in (bench.once(case, None, n, **options) for n in range(3)) if r])
        fastest = max(medians(closed[p.name], "rps") for p in chosen)
        for proxy in chosen:
            add_throughput_row(bench, case, proxy, closed, fixed, direct, fastest, rate)
    finally:
        stop(proxies)


def add_throughput_row(bench, case, proxy, closed, fixed, direct, fastest, rate):
    mine, at_rate = closed[proxy.name], fixed[proxy.name]
    ours, ours_at_rate = closed.get("ecolink"), fixed.get("ecolink")
    busy, own, rig_busy = medians(mine, "proxy_core_pct"), medians(mine, "proxy_pct"), medians(mine, "rig_pct")
    counts = busy >= BUSY and own >= OWN and rig_busy <= RIG_BUSY and direct >= DIRECT * fastest
    note, values = f"latency and CPU at {rate:,.0f}/s", {}
    if proxy.peer != "ecolink" and ours:
        rps, cpu = report.ratios(ours, mine, "rps"), report.ratios(ours_at_rate, at_rate, "cpu_us_per_req")
        values["p99_ratio"] = report.median(report.ratios(ours_at_rate, at_rate, "latency_p99_us"))
        if counts:
            values["rps_ratio"] = report.median(rps)
            values["ratio_lo"], values["ratio_hi"] = report.interval(rps)
        if cpu:
            low, high = report.interval(cpu)
            note += f"; CPU at that rate {report.median(cpu):.2f} ({low:.2f}..{high:.2f}) of theirs"
    if not counts:
        note += f"; rig-limited (direct {direct:,.0f}/s, the proxy itself {own:.0f} % of its core)"
    bench.out.row(case, proxy.peer, note=f"{proxy.name}, {note}", rps=medians(mine, "rps"), p50_us=medians(at_rate, "latency_p50_us"),
                  p99_us=medians(at_rate, "latency_p99_us"), cpu_us_per_req=medians(at_rate, "cpu_us_per_req"), rss_kb=medians(mine, "rss_kb"),
                  rounds=sum(r is not None for r in mine), proxy_core_pct=busy, rig_core_pct=rig_busy,
                  binary_sha256=bench.sha if proxy.peer == "ecolink" else None, **values)


def latency_rows(bench, case, proxies, results, p50, p99, note=lambda name: ""):
    """Rows whose ratio is that of a 99th percentile."""
    for proxy in proxies:
        mine, values = results[proxy.name], {}
        if proxy.peer != "ecolink" and "ecolink" in results:
            pairs = report.ratios(results["ecolink"], mine, p99)
            values["p99_ratio"] = report.median(pairs)
            values["ratio_lo"], values["ratio_hi"] = report.interval(pairs)
        bench.out.row(case, proxy.peer, note=f"{proxy.name} {note(proxy.name)}".strip(), rps=medians(mine, "rps"), p50_us=medians(mine, p50),
                      p99_us=medians(mine, p99), cpu_us_per_req=medians(mine, "cpu_us_per_req"), rss_kb=medians(mine, "rss_kb"),
                      rounds=sum(r is not None for r in mine), proxy_core_pct=medians(mine, "proxy_core_pct"), rig_core_pct=medians(mine, "rig_pct"),
                      binary_sha256=bench.sha if proxy.peer == "ecolink" else None, **values)


# ---- the cases ----

def chat(connections):
    return lambda bench, case: throughput(bench, case, ("ecolink", "haproxy-tuned", "haproxy-stock", "haproxy-replicas", "nginx"), connections=connections)


def bodies(size, connections):
    return lambda bench, case: throughput(bench, case, ("ecolink", "haproxy-tuned", "haproxy-large", "nginx"), connections=connections, size=size)


def one_connection(bench, case):
    proxies = bench.started("ecolink", "haproxy-tuned", "tcp-relay")
    try:
        latency_rows(bench, case, proxies, bench.interleaved(case, proxies, connections=1), "latency_p50_us", "latency_p99_us")
    finally:
        stop(proxies)


DELAY_MS = 20
LEVELS = (64, 256, 512, 768, 1024, 1400, 2000)
ADDED_MS = (1, 5, 10, 50, 100)


def frontier(bench, case):
    """Behind a slow backend: the most requests/s at each bound of what the proxy adds to the 99th percentile."""
    proxies = bench.started("ecolink", "haproxy-tuned")
    try:
        points = {level: bench.interleaved(f"{case}, {level} connections", proxies, connections=level, delay_ms=DELAY_MS, warmup=1) for level in LEVELS}
        for bound in ADDED_MS:
            best = {p.name: max(LEVELS, key=lambda level, p=p: median_rps(points[level][p.name], bound)) for p in proxies}
            for proxy in proxies:
                at = points[best[proxy.name]][proxy.name]
                rps, values = median_rps(at, bound), {}
                if proxy.peer != "ecolink" and rps and "ecolink" in best and median_rps(points[best["ecolink"]]["ecolink"], bound):
                    pairs = report.ratios(points[best["ecolink"]]["ecolink"], at, "rps")
                    values["rps_ratio"] = report.median(pairs)
                    values["ratio_lo"], values["ratio_hi"] = report.interval(pairs)
                bench.out.row(f"{case}, added p99 <= {bound} ms", proxy.peer, note=f"{best[proxy.name]} connections" if rps else "at no number of connections",
                              rps=float(rps), p50_us=medians(at, "latency_p50_us"), p99_us=medians(at, "latency_p99_us"),
                              cpu_us_per_req=medians(at, "cpu_us_per_req"), rounds=bench.rounds, proxy_core_pct=medians(at, "proxy_core_pct"),
                              rig_core_pct=medians(at, "rig_pct"), binary_sha256=bench.sha if proxy.peer == "ecolink" else None, **values)
    finally:
        stop(proxies)


def median_rps(results, bound_ms):
    added = report.median([r["latency_p99_us"] / 1000 - DELAY_MS if r else None for r in results])
    return medians(results, "rps") if added is not None and added <= bound_ms else 0


DELTAS = 100


def stream_options(n, bench):
    return {"connections": n, "stream": DELTAS, "ramp_ms": 800, "warmup": 1.5, "seconds": bench.seconds}


def streams(n):
    def case_streams(bench, case):
        proxies = bench.started("ecolink", "haproxy-tuned")
        try:
            rest = {p.name: bench.once(case + ", warm", p, 0, connections=64, seconds=1) for p in proxies}
            results = bench.interleaved(case, proxies, **stream_options(n, bench))

            def per_stream(name):
                resident = medians(results[name], "rss_kb")
                return f"{(resident - rest[name]['rss_kb']) / n:.1f} KB a stream" if resident and rest[name] else ""
            latency_rows(bench, f"{case}: event delay", proxies, results, "delay_p50_us", "delay_p99_us", per_stream)
            latency_rows(bench, f"{case}: first content", proxies, results, "first_p50_us", "first_p99_us")
        finally:
            stop(proxies)
    return case_streams


STREAMS_FROM, STREAMS_TO, DELAY_P99_US = 1000, 9000, 5000


def ramp(bench, case, proxy, number, n):
    """The most streams from n on, up in steps of a tenth, at which the 99th percentile of the event delay holds."""
    reached = 0
    while n < STREAMS_TO:
        result = bench.once(case, proxy, number, **stream_options(n, bench))
        if not result or result["delay_p99_us"] > DELAY_P99_US:
            break
        reached, n = n, n * 11 // 10
    return reached


def most_streams(bench, case):
    """The first ramp begins at the bottom, each later one a quarter below the last one's end, or at the bottom when that fails."""
    proxies = bench.started("ecolink", "haproxy-tuned")
    ramps = 5 if bench.rounds >= 5 else bench.rounds
    try:
        most = {p.name: [] for p in proxies}
        for number in range(ramps):
            for proxy in proxies:
                last = most[proxy.name][-1]["rps"] if number else 0
                start = max(STREAMS_FROM, last * 3 // 4)
                reached = ramp(bench, case, proxy, number, start)
                if not reached and start > STREAMS_FROM:
                    reached = ramp(bench, case, proxy, number, STREAMS_FROM)
                most[proxy.name].append({"rps": reached})
                bench.say(f"{case}: ramp {number + 1}/{ramps}: {proxy.name} {reached}")
        for proxy in proxies:
            values = {}
            if proxy.peer != "ecolink":
                pairs = report.ratios(most["ecolink"], most[proxy.name], "rps")
                values["rps_ratio"] = report.median(pairs)
                values["ratio_lo"], values["ratio_hi"] = report.interval(pairs)
            bench.out.row(case, proxy.peer, note="streams, not requests/s", rps=float(medians(most[proxy.name], "rps")), rounds=ramps,
                          binary_sha256=bench.sha if proxy.peer == "ecolink" else None, **values)
    finally:
        stop(proxies)


IDLE = 10000


def idle(bench, case):
    """Each connection has had one answer and waits."""
    proxies = bench.started("ecolink", "haproxy-tuned", "nginx")
    try:
        for proxy in proxies:
            rest = bench.once(case + ", warm", proxy, 0, connections=64, seconds=1)
            result = bench.once(case, proxy, 0, connections=IDLE, once=True, ramp_ms=3000, warmup=5, seconds=1)
            if rest and result and result["open"] == IDLE:
                bench.out.row(case, proxy.peer, note=f"{(result['rss_kb'] - rest['rss_kb']) / IDLE:.2f} KB each, in plaintext", rss_kb=result["rss_kb"], rounds=1,
                              binary_sha256=bench.sha if proxy.peer == "ecolink" else None)
        bench.out.row(f"{case}, TLS", "ecolink", note="not measured: the gateway speaks plaintext, TLS ends before it")
    finally:
        stop(proxies)


def uploads(bench, case):
    """64 bodies of 8 MB at once, each over some seconds: what the gateway holds stays within its budget; 503 is a right answer."""
    proxies = bench.started("ecolink")
    try:
        for proxy in proxies:
            result = bench.once(case, proxy, 0, connections=64, size="8m", pace_ms=30, busy_too=True, warmup=0.5, seconds=6)
            if result:
                bench.out.row(case, proxy.peer, note=f"{result['busy']} of {result['done']} answered 503 by the budget", rss_kb=result["rss_kb"],
                              rounds=1, binary_sha256=bench.sha)
    finally:
        stop(proxies)


def refusals(bench, case):
    """10,000 good requests/s beside 5,000 with wrong keys, against the same beside 5,000 more good ones."""
    proxies = bench.started("ecolink", NATS_URL="nats://127.0.0.1:9")  # without a bus the file's keys are the whole truth: 401, not 503
    try:
        for proxy in proxies:
            beside = {"connections": 64, "rate": 10000, "second_connections": 256, "second_rate": 5000}
            wrong, good, alone = [], [], []
            for number in range(bench.rounds):
                wrong.append(bench.once(case, proxy, number, second_wrong=True, **beside))
                good.append(bench.once(case, proxy, number, **beside))
                alone.append(bench.once(case, proxy, number, connections=64, rate=10000))
                bench.say(f"{case}: round {number + 1}/{bench.rounds}")
            pairs = report.ratios(wrong, good, "latency_p99_us")
            low, high = report.interval(pairs)
            bench.out.row(case, proxy.peer, note=f"p99 of the good, to that beside more good ones; a refusal costs {refusal_cost(wrong, alone)} of a forwarded request",
                          rps=medians(wrong, "rps"), p50_us=medians(wrong, "latency_p50_us"), p99_us=medians(wrong, "latency_p99_us"),
                          p99_ratio=report.median(pairs), ratio_lo=low, ratio_hi=high, rounds=len(pairs), binary_sha256=bench.sha,
                          proxy_core_pct=medians(wrong, "proxy_core_pct"), rig_core_pct=medians(wrong, "rig_pct"))
    finally:
        stop(proxies)


def refusal_cost(wrong, alone):
    """CPU of a refusal over that of a forwarded request, from what the refusals added."""
    shares = []
    for w, a in zip(wrong, alone):
        if w and a:
            total = w["cpu_us_per_req"] * (w["done"] + w["second_done"]) / w["seconds"]
            shares.append((total - a["cpu_us_per_req"] * w["done"] / w["seconds"]) / (w["second_done"] / w["seconds"]) / a["cpu_us_per_req"])
    return f"{report.median(shares):.2f}" if shares else "?"


def thread_times(pid):
    """{thread: nanoseconds of CPU so far}."""
    return {task.name: int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


def two_loops(bench, case):
    """Two loops against one at the same rate, on the same core: what a second loop costs, and how evenly connections spread."""
    one, two = bench.started("ecolink", LOOPS=1), bench.started("ecolink", LOOPS=2)
    try:
        pairs, shares = [], []
        for number in range(bench.rounds):
            a = bench.once(case + ", one", one[0], number, connections=64, rate=10000)
            before = thread_times(two[0].pids[0])
            b = bench.once(case + ", two", two[0], number, connections=64, rate=10000)
            took = sorted(ns - before.get(thread, 0) for thread, ns in thread_times(two[0].pids[0]).items())
            pairs.append((a, b))
            shares.append(took[-1] / (took[-1] + took[-2]))
            bench.say(f"{case}: round {number + 1}/{bench.rounds}: {shares[-1]:.2f} of the work on one loop")
        ratios = report.ratios([b for _, b in pairs], [a for a, _ in pairs], "cpu_us_per_req")
        low, high = report.interval(ratios)
        if ratios:
            bench.out.row(case, "ecolink", note=f"CPU per request, two to one: {report.median(ratios):.2f} ({low:.2f}..{high:.2f}) (<= 1.05); the busier loop had "
                          f"{100 * report.median(shares):.0f} % of the work, at worst {100 * max(shares):.0f} % (<= 60)",
                          cpu_us_per_req=medians([b for _, b in pairs], "cpu_us_per_req"), rps=10000.0, rounds=len(ratios), binary_sha256=bench.sha)
    finally:
        stop(one + two)


ROUTES = 20000
CHANGES = 40
REACH_MS, PAUSE_MS = 10, 1


def first_key(snapshot):
    """The account and the text of the snapshot's first key."""
    line = pathlib.Path(snapshot).open(encoding="ascii").readlines(4096)[1]
    entry = json.loads(line.strip().rstrip(","))
    return entry["account_id"], entry["key"]


def first_answer(proxy, key, instance):
    """Seconds until a request for this instance is answered 200."""
    began = time.monotonic()
    body = f'{{"model":"bench:{instance}","messages":[]}}'
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    while True:
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            connection.close()
            return time.monotonic() - began
        if answer.status not in (404, 503) or time.monotonic() - began > 5:
            raise RuntimeError(f"route {instance}: {answer.status} after {time.monotonic() - began:.1f} s")


def route_change(bench, case):
    """Beside one busy connection a route at a time is added to 20,000: how long until it answers, and what a swap of the
    snapshot does to the others. The same connection without changes is what to compare with."""
    account, key = first_key(bench.snapshot)
    with Nats() as nats:
        writer = bus.Bus(nats.port)
        writer.fill(ROUTES + 1, bench.backend)
        proxies = bench.started("ecolink", NATS_URL=nats.url)
        try:
            for proxy in proxies:
                while proxy.metric("ecolink_gateway_snapshot_routes") != ROUTES + 1:
                    time.sleep(0.1)  # act: until the gateway has read the bucket, which has one more than its file
                quiet = bench.once(case + ", without changes", proxy, 0, connections=1, seconds=4)
                reached = []
                with concurrent.futures.ThreadPoolExecutor(1) as pool:
                    run = pool.submit(bench.once, case, proxy, 0, connections=1, seconds=4)
                    time.sleep(1.2)  # act: until the rig has warmed up; it is the backend, too
                    for instance in range(ROUTES + 2, ROUTES + 2 + CHANGES):
                        writer.put(f"$KV.routes.{instance}", bus.route(instance, account, bench.backend))
                        reached.append(1000 * first_answer(proxy, key, instance))
                        time.sleep(0.05)  # act: changes come apart
                    changing = run.result()
                if quiet and changing:
                    pause = (changing["latency_max_us"] - quiet["latency_p50_us"]) / 1000
                    bench.out.row(case, proxy.peer, note=(
                        f"first answer after a change: median {report.median(reached):.1f} ms, worst of {CHANGES} {max(reached):.1f} ms (<= {REACH_MS}); "
                        f"longest pause {pause:.2f} ms (<= {PAUSE_MS}), without changes {(quiet['latency_max_us'] - quiet['latency_p50_us']) / 1000:.2f} ms"),
                        p50_us=changing["latency_p50_us"], p99_us=changing["latency_p99_us"], rounds=1, binary_sha256=bench.sha)
        finally:
            stop(proxies)
            writer.close()


def gateways(bench, case):
    """The published gateways: how fast and how large each is here. Their latency is closed-loop: no common rate suits them all."""
    names, ours = ("ecolink", "haproxy-tuned", "nginx", "envoy", "litellm", "portkey"), []
    for peer in names:
        proxies = bench.started(peer)
        if not proxies and peer in bench.missing:
            bench.out.row(case, peer, note=f"not measured: {bench.missing[peer]}")
        try:
            for proxy in proxies:
                results = [r for r in (bench.once(case, proxy, n, connections=32, warmup=3) for n in range(min(3, bench.rounds))) if r]
                if results:
                    ours = results if proxy.peer == "ecolink" else ours
                    compared = "" if proxy.peer == "ecolink" or not ours else (
                        f"; ours: {medians(ours, 'rps') / medians(results, 'rps'):.2f} times its requests/s, "
                        f"{medians(ours, 'rss_kb') / medians(results, 'rss_kb'):.2f} of its memory (with 100,000 keys and 20,000 routes)")
                    bench.out.row(case, proxy.peer, note=f"{proxy.version()}; p50, p99 closed-loop, {len(results)} rounds{compared}", rps=medians(results, "rps"),
                                  p50_us=medians(results, "latency_p50_us"), p99_us=medians(results, "latency_p99_us"),
                                  cpu_us_per_req=medians(results, "cpu_us_per_req"), rss_kb=medians(results, "rss_kb"), rounds=len(results),
                                  proxy_core_pct=medians(results, "proxy_core_pct"), rig_core_pct=medians(results, "rig_pct"),
                                  binary_sha256=bench.sha if proxy.peer == "ecolink" else None)
                    bench.say(f"{case}: {proxy.name} {medians(results, 'rps'):,.0f}/s")
        finally:
            stop(proxies)


CASES = {
    "chat-32": chat(32),
    "chat-256": chat(256),
    "one-connection": one_connection,
    "body-64k": bodies("64k", 32),
    "body-1m": bodies("1m", 8),
    "backend-20ms": frontier,
    "streams-64": streams(64),
    "streams-512": streams(512),
    "streams-1000": streams(1000),
    "most-streams": most_streams,
    "idle-10000": idle,
    "slow-uploads": uploads,
    "refusals": refusals,
    "two-loops": two_loops,
    "route-change": route_change,
    "gateways": gateways,
}
