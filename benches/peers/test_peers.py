"""The comparison itself is tried: its arithmetic, and that it refuses whoever does not do the work.

`python3 -B -m unittest` in this folder; `tests/benches.rs` runs it. The loader is tried there, too.
"""

import json
import pathlib
import sys
import threading
import unittest
import xml.etree.ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import SimpleNamespace
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bed
import contenders
import figures
import measure
import plots
import witness

_spec = spec_from_loader("command", SourceFileLoader("command", str(HERE / "run")))
command = module_from_spec(_spec)
_spec.loader.exec_module(command)


def run(cpu_us, **more):
    return {"cpu_us": cpu_us, "rps": 1000.0, "busy": 1.0, "others": 0.0, **more}


def late(p50, p99):
    grid = ("50", "75", "90", "95")
    return {"since_due": {**{percent: p50 for percent in grid}, "99": p99, "99.9": p99}}


def results():
    """Two rounds of two cells, with everything that is told."""
    rounds = [{"nginx": run(10.0), "Daypass": run(9.0)}, {"nginx": run(20.0), "Daypass": run(22.0)}]
    latency = [{"direct": late(100, 200), "nginx": late(200, 400), "Daypass": late(190, 410)},
               {"direct": late(300, 900), "nginx": late(420, 999), "Daypass": late(390, 990)}]
    resident = {"rss_mb": 10.0, "pss_mb": 9.0}
    footprint = {"start_ms": 5.0, "binary_bytes": 12_300_000, "memory": {
        "idle": resident, "loaded": resident, "clients": {"10": resident, "1000": resident}}}
    return {
        "at": "2026-01-02T03:04:05+00:00", "commit": "abc", "load": [0.1], "absent": {},
        "machine": {"model": "a processor", "cores": 2, "kernel": "6"},
        "versions": {"nginx": "1", "Daypass": "2"}, "options": {"seconds": 2, "rate": 1000},
        "rounds": {"http": rounds, "tls": rounds, "h2": [{"HAProxy": run(2500.0), "Daypass": run(2000.0)}]},
        "latency": {"http": latency, "tls": latency},
        "footprint": {"nginx": footprint, "Daypass": footprint}, "cached": {"rss_mb": 55.0},
    }


class Arithmetic(unittest.TestCase):
    def test_a_ratio_is_of_two_runs_of_the_same_round(self):
        rounds = results()["rounds"]["http"]
        self.assertEqual(figures.ratios(rounds, "Daypass", "nginx", figures.cpu), [0.9, 1.1])
        # By the medians of each it would have been 15.5 / 15.
        self.assertEqual(figures.spread([0.9, 1.1, 1.05]), "1.05 (0.90–1.10)")

    def test_a_round_without_one_of_the_two_has_no_ratio(self):
        rounds = [{"nginx": run(10.0)}, {"nginx": run(10.0), "Envoy": run(25.0)}]
        self.assertEqual(figures.ratios(rounds, "Envoy", "nginx", figures.cpu), [2.5])

    def test_what_a_proxy_adds_is_told_by_the_upstream_of_the_same_round(self):
        rounds = results()["latency"]["http"]
        self.assertEqual(figures.added(rounds, "nginx", "50"), [100, 120])
        self.assertEqual(figures.added(rounds, "Daypass", "99"), [210, 90])

    def test_where_nginx_takes_no_part_the_first_of_the_others_is_the_measure(self):
        self.assertEqual(figures.base_of(results()["rounds"]["h2"]), "HAProxy")
        self.assertIn("2.50 ms, 1.00 | 2.00 ms, 0.80 |", figures.more_table(results()))
        self.assertIn("does not", figures.more_table(results()))

    def test_one_value_has_no_range(self):
        self.assertEqual(figures.spread([1.234]), "1.23")

    def test_every_round_begins_with_another_one(self):
        self.assertEqual(command.turned(["a", "b", "c"], 4), ["b", "c", "a"])

    def test_cpu_is_divided_by_what_was_answered(self):
        process = SimpleNamespace(name="one", port=1, rss=lambda: 1.0, cpu=mock.Mock(side_effect=[1.0, 1.5]))
        upstream = SimpleNamespace(cpu=lambda: 0.0)
        ran = {"requests": 1000, "failed": 0, "bytes": 1_000_000, "seconds": 2.0}
        with mock.patch.object(measure, "wrk", return_value=ran):
            found = measure.throughput(process, upstream, measure.Cell("http"), 2)
        self.assertEqual(found["cpu_us"], 500.0)
        self.assertEqual(found["rps"], 500.0)


class Refusals(unittest.TestCase):
    def failing(self, **ran):
        process = SimpleNamespace(name="one", port=1, rss=lambda: 1.0, cpu=lambda: 0.0)
        ran = {"requests": 10, "failed": 0, "bytes": 10_000, "seconds": 2.0, **ran}
        with mock.patch.object(measure, "wrk", return_value=ran), self.assertRaises(measure.Failed) as raised:
            measure.throughput(process, SimpleNamespace(cpu=lambda: 0.0), measure.Cell("http"), 2)
        return str(raised.exception)

    def test_one_failed_request_is_one_too_many(self):
        self.assertIn("1 of 10 requests failed", self.failing(failed=1))

    def test_answers_that_are_cut_short_are_no_answers(self):
        self.assertIn("shorter", self.failing(bytes=900))

    def test_a_cell_of_unknown_words_is_refused(self):
        with self.assertRaises(ValueError):
            measure.Cell("tls+65k")

    def test_what_has_no_value_is_not_configured(self):
        with self.assertRaises(ValueError):
            contenders.render("listen {{port}};")

    def test_an_access_log_that_misses_requests_is_found_out(self):
        with self.assertRaises(witness.Idle):
            witness.examine_log(["GET /calcom/v2/witness 200"] * 8, 9)


class FakeProxy:
    """A proxy and its upstream in one; `spoil` changes what is told of how a request came."""

    def __init__(self, spoil=lambda told, head: None, refuses=True, reconnects=False):
        counted = iter(range(1000))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = self.headers["x-user-id"] == bed.USER
                told = dict.fromkeys([*witness.ENDS, *witness.HOP_BY_HOP, "x-user-id", "tls"], "")
                told.update(witness.PASSES, authorization=f"Bearer {bed.TOKEN}", path="/v2/witness",
                            protocol="HTTP/1.1", connection=str(next(counted)) if reconnects else "1")
                head = {"X-Provider": "yes"} if known or not refuses else {}
                spoil(told, head)
                body = json.dumps(told).encode()
                self.send_response(200 if known else 424)
                for name, value in {**head, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return self.server.server_address[1]

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Witness(unittest.TestCase):
    def refused(self, **fake):
        with FakeProxy(**fake) as port, self.assertRaises(witness.Idle) as raised:
            witness.examine(port)
        return str(raised.exception)

    def test_a_proxy_that_does_the_work_is_measured(self):
        with FakeProxy() as port:
            witness.examine(port)

    def test_a_proxy_that_strips_nothing_is_refused(self):
        for name in ["x-user-id", "cookie", "proxy-authorization", "keep-alive", "te"]:
            with self.subTest(name):
                why = self.refused(spoil=lambda told, _, name=name: told.update({name: "something"}))
                self.assertIn(f"{name} passed", why)

    def test_a_proxy_that_brings_another_token_is_refused(self):
        why = self.refused(spoil=lambda told, _: told.update(authorization="Bearer of-the-caller"))
        self.assertIn("bearer", why)

    def test_a_proxy_that_drops_what_an_app_may_say_is_refused(self):
        self.assertIn("accept came as ''", self.refused(spoil=lambda told, _: told.update(accept="")))

    def test_a_proxy_that_lets_cookies_of_the_provider_through_is_refused(self):
        why = self.refused(spoil=lambda _, head: head.update({"Set-Cookie": "a=b"}))
        self.assertIn("cookie", why)

    def test_a_proxy_that_speaks_otherwise_to_the_upstream_is_refused(self):
        with FakeProxy() as port, self.assertRaises(witness.Idle) as raised:
            witness.examine(port, kind="h2")
        self.assertIn("HTTP/1.1", str(raised.exception))
        self.assertIn("TLS to the upstream: none", str(raised.exception))

    def test_a_proxy_that_forwards_for_who_has_no_token_is_refused(self):
        self.assertIn("was forwarded", self.refused(refuses=False))

    def test_a_proxy_that_connects_anew_each_time_is_refused(self):
        self.assertIn("took 8 connections", self.refused(reconnects=True))


class Resumed(unittest.TestCase):
    def test_a_run_that_was_interrupted_within_a_round_goes_on_there(self):
        asked = []

        class Field:
            def __init__(self, cell, *_):
                self.cell, self.running = cell, {}

            def round(self, number, _):
                asked.append((self.cell.name, number))
                return {"nginx": run(1.0)}

            def stop(self):
                pass

        data = {"rounds": {"http": [{"nginx": run(1.0)}] * 2, "tls": [{"nginx": run(1.0)}]}, "latency": {}}
        options = SimpleNamespace(cells=["http", "tls"], rounds=3, seconds=1, rate=0)
        going_on = SimpleNamespace(options=options, data=data, step=lambda _: None, say=lambda _: None,
                                   keep=lambda: None)
        with mock.patch.object(command, "Field", Field):
            command.core_rounds(going_on, [], None)
        self.assertEqual(asked, [("tls", 1), ("http", 2), ("tls", 2)])


class Told(unittest.TestCase):
    def test_the_report_has_every_figure(self):
        text = figures.told(results())
        self.assertIn("| Daypass 2 | 15.5 (9.0–22.0) | 1.00 (0.90–1.10) | 1,000 |", text)
        self.assertIn("| Daypass | 90 (90–90) | 0.82 | 150 (90–210) |", text)
        self.assertIn("| Daypass | 5 | 10.0 | 10.0 | 10.0 | 55.0 | 12.3 |", text)

    def test_pictures_are_well_formed_and_name_everyone(self):
        pictures = plots.all_of(results())
        self.assertEqual(list(pictures), ["cpu", "latency", "memory"])
        for name, picture in pictures.items():
            tree = xml.etree.ElementTree.fromstring(picture)
            spoken = tree.find("{http://www.w3.org/2000/svg}desc").text
            self.assertIn("prefers-color-scheme: dark", picture)
            for proxy in ("nginx", "Daypass"):
                self.assertIn(proxy, spoken, name)

    def test_a_page_changes_between_the_marks_only(self):
        page = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
        once = figures.in_page(page, "new\n")
        self.assertEqual(once, f"before\n{figures.BEGIN}\nnew\n{figures.END}\nafter\n")
        self.assertEqual(figures.in_page(once, "new\n"), once)

    def test_the_page_and_its_pictures_are_those_of_the_kept_data(self):
        page, kept = command.PAGE.read_text(), bed.HERE / "results/peers.json"
        if not kept.exists():
            self.assertEqual(page, figures.in_page(page, ""))
            return
        data = json.loads(kept.read_text())
        self.assertEqual(page, figures.in_page(page, figures.told(data, pictures="performance")))
        for name, picture in plots.all_of(data).items():
            self.assertEqual((command.PAGE.parent / f"performance-{name}.svg").read_text(), picture)


if __name__ == "__main__":
    unittest.main()
