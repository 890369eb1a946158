"""Fetching weights from servers that fail in every way; bundles; and nothing opened that no card pins."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import pickle
import re
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from atomsim.cli import app
from atomsim.errors import AtomsimError, InputError
from atomsim.models.load import load_potential
from atomsim.registry import fetch as fetching
from atomsim.registry.bundle import export_bundle, import_bundle
from atomsim.registry.cards import card_text, list_cards, load_card, own_store, read_card
from atomsim.registry.download import Patience
from atomsim.registry.fetch import fetch

CALM = Patience(connect_s=60.0, read_s=60.0, attempts=3, pause_s=0.0)
"""A busy machine may let a sound server answer late: only silence that is meant is timed, and few wait for it."""
HASTY = Patience(connect_s=60.0, read_s=0.5, attempts=50, pause_s=0.0)
NAME, FILE = "test-net", "test-net.model"


class Hostile:
    """Unpickling this writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


class Server:
    """Serves ``body`` on the loopback interface; ``faults`` say how, one for each request, then soundly."""

    def __init__(self) -> None:
        self.body, self.tag, self.faults, self.ranges = b"", '"first"', [], []
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.ranges.append(self.headers.get("Range"))
                fault = server.faults.pop(0) if server.faults else sound
                self.close_connection = True
                fault(server, self)

            def log_message(self, *_):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


def answer(server, handler, body, *, status=200, length=None, kind="application/octet-stream", headers=()):
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    if length is not False:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    if server.tag:
        handler.send_header("ETag", server.tag)
    for key, value in headers:
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()


def sound(server, handler, sent=1.0):
    """As RFC 9110 wants it, but for the part that is sent."""
    asked, condition = handler.headers.get("Range"), handler.headers.get("If-Range")
    start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and condition in (None, server.tag) else 0
    body, size = server.body[start:], len(server.body)
    if start >= size:
        return answer(server, handler, b"", status=416, headers=[("Content-Range", f"bytes */{size}")])
    part = {"status": 206, "headers": [("Content-Range", f"bytes {start}-{size - 1}/{size}")]} if start else {}
    return answer(server, handler, body[: int(len(body) * sent)], length=len(body), **part)


def truncating(server, handler):
    sound(server, handler, sent=0.5)


def stalling(server, handler):
    sound(server, handler, sent=0.5)
    server.released.wait(600)


def silent(server, handler):
    server.released.wait(600)


def ignoring_ranges(server, handler):
    answer(server, handler, server.body)


def another_range(server, handler):
    size = len(server.body)
    answer(server, handler, server.body[9:], status=206, headers=[("Content-Range", f"bytes 9-{size - 1}/{size}")])


def understating(server, handler):
    answer(server, handler, server.body[: len(server.body) // 2])


def endless(server, handler):
    answer(server, handler, server.body * 3, length=False)


def unmeasured(server, handler):
    answer(server, handler, server.body[: len(server.body) // 2], length=False)


def page(server, handler):
    answer(server, handler, b"<!DOCTYPE html><html>Sign in to continue</html>", kind="text/html; charset=utf-8")


def disguised_page(server, handler):
    answer(server, handler, b"\n<html><body>404</body></html>".ljust(len(server.body)))


def busy(server, handler):
    answer(server, handler, b"later", status=503)


def absent(server, handler):
    answer(server, handler, b"no", status=404)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def payload(tmp_path) -> bytes:
    torch.save({"weights": torch.arange(100_000, dtype=torch.float32)}, tmp_path / "payload")
    return (tmp_path / "payload").read_bytes()


@pytest.fixture
def store(tmp_path, monkeypatch, server, payload):
    """The user's own store, with a card that wants the server's file, and nothing else."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ATOMSIM_POTENTIALS", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    own_store().mkdir(parents=True)
    server.body = payload
    write_card(own_store(), payload)
    return own_store()


def write_card(folder: Path, content: bytes | None, name: str = NAME, file: str = FILE) -> None:
    pin = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)} if content else {}
    model = load_card("mace-mp-0-small")
    weights = {"origin": "url", "url": f"https://models.invalid/{file}", "file": file, **pin}
    card = model.model_validate(model.model_dump() | {"name": name, "weights": weights})
    (folder / f"{name}.toml").write_text(card_text(card), encoding="utf-8")


def get(server, **options):
    return fetch(NAME, mirror=server.url, **{"patience": CALM, **options})


def nothing_kept(store) -> bool:
    return {p.name for p in store.iterdir()} == {f"{NAME}.toml"}


def test_a_file_comes_once(store, server, payload):
    heard = []
    found = get(server, progress=lambda done, total: heard.append((done, total)))
    assert found.path.read_bytes() == payload
    assert found.path.parent == store
    assert (found.new, found.card, found.sha256) == (True, None, hashlib.sha256(payload).hexdigest())
    assert heard[-1] == (len(payload), len(payload))
    assert load_card(NAME).state == "verified"
    assert get(server).new is False
    assert len(server.ranges) == 1
    assert {p.name for p in store.iterdir()} == {f"{NAME}.toml", FILE}


@pytest.mark.parametrize("fault", [truncating, busy])
def test_a_broken_connection_is_taken_up_where_it_broke(store, server, payload, fault):
    server.faults = [fault, fault]
    assert get(server).path.read_bytes() == payload
    assert len(server.ranges) == 3
    starts = [int(r[6:-1]) if r else 0 for r in server.ranges]
    assert starts == sorted(starts)
    if fault is truncating:
        assert 0 < starts[1] < starts[2]


@pytest.mark.parametrize("fault", [stalling, silent])
def test_silence_is_not_waited_for_longer_than_told(store, server, payload, fault):
    server.faults = [fault] * 4
    assert get(server, patience=HASTY).path.read_bytes() == payload
    assert len(server.ranges) >= 5  # more, where this machine was silent itself
    starts = [int(r[6:-1]) if r else 0 for r in server.ranges]
    assert starts == sorted(starts)
    if fault is stalling:
        assert starts[4] > 0
    else:
        assert starts[:5] == [0] * 5


def test_the_next_run_goes_on_too(store, server, payload):
    server.faults = [truncating, *[busy] * 3]
    with pytest.raises(AtomsimError, match="run the same command again to continue") as error:
        get(server)
    assert "\n" not in str(error.value)
    assert load_card(NAME).state == "missing"
    left = (store / f"{FILE}.part").stat().st_size
    assert 0 < left < len(payload)
    assert get(server).path.read_bytes() == payload
    assert server.ranges[-1] == f"bytes={left}-"


@pytest.mark.parametrize("start", [b"of another file" * 5000, b"x" * 10_000_000])
def test_a_beginning_that_belongs_to_another_file_does_no_harm(store, server, payload, start):
    (store / f"{FILE}.part").write_bytes(start)
    assert get(server).path.read_bytes() == payload


def test_a_beginning_longer_than_the_file(store, server):
    write_card(store, None)
    (store / f"{FILE}.part").write_bytes(bytes(2 * len(server.body)))
    (store / f"{FILE}.part.etag").write_text(server.tag)
    assert get(server, pin=True).path.read_bytes() == server.body
    assert server.ranges[0]  # it was tried, answered with 416, and begun anew


def test_a_run_killed_before_the_last_rename_downloads_nothing_again(store, server, payload):
    (store / f"{FILE}.part").write_bytes(payload)
    assert get(server).path.read_bytes() == payload
    assert server.ranges == []


def test_nothing_is_said_on_the_way(store, server, capfd):
    get(server)
    assert capfd.readouterr().err == ""


def ignoring_conditions(server, handler, tag=None, extra=0):
    """A partial answer of whatever lies there now, with or without saying that it is another file."""
    start, size = int(re.match(r"bytes=(\d+)-", handler.headers["Range"])[1]), len(server.body) + extra
    server.tag, kept = tag, server.tag
    headers = [("Content-Range", f"bytes {start}-{size - 1}/{size}")]
    answer(server, handler, server.body[start:] + bytes(extra), status=206, headers=headers)
    server.tag = kept


def changed_tag(server, handler):
    ignoring_conditions(server, handler, tag='"second"')


def without_tag(server, handler):
    ignoring_conditions(server, handler, tag=None)


def other_size(server, handler):
    ignoring_conditions(server, handler, tag='"first"', extra=100)


@pytest.mark.parametrize("fault", [changed_tag, without_tag, other_size])
def test_two_files_of_one_address_are_never_joined(store, server, payload, tmp_path, fault):
    write_card(store, None)
    torch.save({"weights": torch.ones(100_000)}, tmp_path / "payload")
    new = (tmp_path / "payload").read_bytes()
    assert len(new) == len(payload)

    def replaced(server, handler):
        server.body = new
        fault(server, handler)

    server.faults = [truncating, replaced]
    found = get(server, pin=True)
    assert found.path.read_bytes() == new
    assert load_card(NAME).weights.sha256 == hashlib.sha256(new).hexdigest()


@pytest.mark.parametrize(
    ("fault", "message"), [(absent, "404"), (page, "web page"), (disguised_page, "web page"), (understating, "bytes")]
)
def test_a_refusal_on_the_way_keeps_what_is_here(store, server, payload, fault, message):
    server.faults = [truncating, fault]
    with pytest.raises(AtomsimError, match=message):
        get(server)
    left = (store / f"{FILE}.part").stat().st_size
    assert 0 < left < len(payload)
    assert get(server).path.read_bytes() == payload
    assert server.ranges[-1] == f"bytes={left}-"


def test_attempts_that_get_on_do_not_count(store, server, payload):
    def a_tenth(server, handler):
        sound(server, handler, sent=0.1)

    server.faults = [a_tenth] * 12
    assert get(server, patience=replace(CALM, attempts=2, least_bytes=100)).path.read_bytes() == payload
    assert len(server.ranges) == 13


def test_a_server_that_drips_is_left_and_what_it_sent_is_kept(store, server, payload):
    def dripping(server, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(payload)))
        handler.send_header("ETag", server.tag)
        handler.end_headers()
        for n in range(len(payload)):
            if server.released.wait(0.002):
                return
            handler.wfile.write(payload[n : n + 1])

    server.faults = [dripping]
    with pytest.raises(AtomsimError, match=r"only [\d,]+ bytes came in .* run the same command again to continue"):
        get(server, patience=replace(CALM, attempts=1, window_s=0.5))
    left = (store / f"{FILE}.part").read_bytes()
    assert 0 < len(left) < len(payload)
    assert payload.startswith(left)


@pytest.mark.parametrize("fault", [ignoring_ranges, another_range])
def test_a_server_that_does_not_send_the_range(store, server, payload, fault):
    server.faults = [truncating, fault]
    assert get(server).path.read_bytes() == payload


def test_a_file_that_changed_between_two_attempts_is_not_mixed(store, server, payload):
    write_card(store, None)
    server.faults = [truncating, *[busy] * 3]
    with pytest.raises(AtomsimError):
        get(server, pin=True)
    torch.save({"weights": torch.ones(90_000)}, store / "new")
    server.body, server.tag = (store / "new").read_bytes(), '"second"'
    assert get(server, pin=True).path.read_bytes() == server.body


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (understating, "found .* bytes, wanted"),
        (endless, "sends more than"),
        (page, "a web page"),
        (disguised_page, "a web page"),
        (absent, "answers 404"),
    ],
)
def test_what_is_not_the_file_is_refused_and_not_kept(store, server, fault, message):
    server.faults = [fault]
    with pytest.raises(AtomsimError, match=message) as error:
        get(server)
    assert "\n" not in str(error.value)
    assert load_card(NAME).state == "missing"
    left = store / f"{FILE}.part"
    assert not left.exists() or left.stat().st_size == 0
    assert get(server).new


def redirecting(where: str):
    def fault(server, handler):
        server.faults.insert(0, fault)  # for ever
        answer(server, handler, b"", status=302, headers=[("Location", where.format(server.url))])

    return fault


def packed(server, handler):
    answer(server, handler, gzip.compress(server.body), headers=[("Content-Encoding", "gzip")])


def empty(server, handler):
    answer(server, handler, b"")


def without_content(server, handler):
    answer(server, handler, b"", status=204)


def garbage(server, handler):
    handler.wfile.write(b"SSH-2.0-x\r\n")


def wrong_length(server, handler):
    answer(server, handler, server.body, length="many")


def wait_a_year(server, handler):
    answer(server, handler, b"", status=429, headers=[("Retry-After", "31536000")])


def negative_range(server, handler):
    answer(server, handler, server.body, status=206, headers=[("Content-Range", "bytes -5-3/x")])


ODD = {
    "redirect to itself": redirecting("/x"),
    "redirect to a file": redirecting("file:///etc/hostname"),
    "redirect to nowhere": redirecting("http://"),
    "redirect without address": redirecting(""),
    "packed": packed,
    "empty": empty,
    "no content": without_content,
    "no HTTP": garbage,
    "a length that is no number": wrong_length,
    "a wait of a year": wait_a_year,
    "a range that is none": negative_range,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("pinned", [True, False])
def test_odd_answers_end_in_the_file_or_in_one_line(store, server, payload, kind, pinned):
    if not pinned:
        write_card(store, None)
    server.faults = [ODD[kind]]
    try:
        found, refusal = get(server, pin=not pinned).path.read_bytes(), None
    except AtomsimError as error:
        found, refusal = None, str(error)
    if refusal is None:
        assert found == payload
        return
    assert "\n" not in refusal
    assert load_card(NAME).state == "missing"
    assert bool(load_card(NAME).weights.sha256) is pinned
    assert all(p.stat().st_size == 0 for p in store.glob("*.part"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (understating, "no whole file"),
        (unmeasured, "no whole file"),
        (page, "a web page"),
        (disguised_page, "a web page"),
    ],
)
def test_a_first_download_is_pinned_only_if_it_is_whole(store, server, fault, message):
    write_card(store, None)
    server.faults = [fault]
    with pytest.raises(AtomsimError, match=message):
        get(server, pin=True)
    assert load_card(NAME).weights.sha256 == ""
    assert load_card(NAME).state == "missing"


def test_a_body_without_length_is_taken_up_too(store, server, payload):
    server.faults = [unmeasured]
    assert get(server).path.read_bytes() == payload
    assert len(server.ranges) == 2


def test_other_bytes_of_the_same_size_are_refused_before_they_run(store, server, payload, tmp_path):
    marker = tmp_path / "ran"
    hostile = pickle.dumps(Hostile(marker))
    server.body = hostile + bytes(len(payload) - len(hostile))
    with pytest.raises(AtomsimError, match=r"not the file that the card pins: found sha256 .*wanted"):
        get(server)
    assert nothing_kept(store)
    (store / FILE).write_bytes(hostile)  # as if it had been put there by someone else
    assert load_card(NAME).state == "changed"
    with pytest.raises(InputError, match=f"not the published ones.*potentials fetch {NAME}'"):
        load_potential(NAME, "cpu")
    write_card(store, None)
    assert load_card(NAME).state == "unpinned"
    with pytest.raises(InputError, match=f"is not opened.*potentials fetch {NAME} --pin'"):
        load_potential(NAME, "cpu")
    assert not marker.exists()


def test_a_spoiled_copy_is_replaced(store, server, payload):
    get(server).path.write_bytes(b"spoiled")
    assert load_card(NAME).state == "changed"
    assert get(server).path.read_bytes() == payload
    assert load_card(NAME).state == "verified"


def test_a_first_download_needs_consent_and_is_then_pinned(store, server, payload):
    write_card(store, None)
    with pytest.raises(InputError, match=f"fetch {NAME} --mirror {server.url} --pin") as error:
        get(server)
    assert "\n" not in str(error.value)
    assert server.ranges == []
    found = get(server, pin=True)
    assert read_card(found.card).weights.sha256 == hashlib.sha256(payload).hexdigest()
    assert load_card(NAME).state == "verified"
    found.path.unlink()
    server.body = payload[:-1] + b"?"
    with pytest.raises(AtomsimError, match="not the file that the card pins"):
        get(server, pin=True)


def test_a_file_of_unknown_origin_is_not_what_gets_pinned(store, server, payload):
    write_card(store, None)
    (store / FILE).write_bytes(b"left here by someone")
    assert load_card(NAME).state == "unpinned"
    assert get(server, pin=True).path.read_bytes() == payload
    assert load_card(NAME).weights.sha256 == hashlib.sha256(payload).hexdigest()


def test_a_server_that_is_not_there(store, server):
    with pytest.raises(AtomsimError, match=r"stopped at 0 bytes: .*'atomsim potentials import'"):
        fetch(NAME, mirror="http://127.0.0.1:9", patience=CALM)


def test_a_first_download_is_not_trusted_over_plain_http(store):
    write_card(store, None)
    with pytest.raises(InputError, match="plain http"):
        fetch(NAME, mirror="http://models.invalid", pin=True, patience=CALM)
    with pytest.raises(InputError, match="cannot use the mirror"):
        fetch(NAME, mirror="ftp://models.invalid", pin=True, patience=CALM)


def test_nor_where_a_redirect_passes_through_plain_http(store, server):
    def to(target):
        return lambda server, handler: answer(server, handler, b"", status=302, headers=[("Location", target)])

    write_card(store, None)
    # 127.1 is this machine too, but not one of the names that are known to be it
    server.faults = [to(f"http://127.1:{server.http.server_port}/{FILE}"), to(f"{server.url}/{FILE}")]
    with pytest.raises(InputError, match=r"plain http: found http://127\.1"):
        get(server, pin=True)
    assert not (store / FILE).exists()


def test_a_folder_as_mirror(store, tmp_path, payload):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with pytest.raises(AtomsimError, match=f"no {FILE} in"):
        fetch(NAME, mirror=str(mirror))
    (mirror / FILE).write_bytes(payload[:-1])
    with pytest.raises(AtomsimError, match="bytes, wanted"):
        fetch(NAME, mirror=str(mirror))
    (mirror / FILE).write_bytes(payload)
    assert fetch(NAME, mirror=str(mirror)).path == store / FILE
    assert load_card(NAME).state == "verified"


def test_who_comes_second_waits_and_finds_the_file_of_the_first(store, server, payload):
    write_card(store, None)
    slow = threading.Event()

    def later(server, handler):
        slow.wait(60)
        sound(server, handler)

    server.faults = [later]
    with ThreadPoolExecutor(4) as pool:
        several = [pool.submit(get, server, pin=True) for _ in range(4)]
        while not server.ranges:
            time.sleep(0.01)
        slow.set()
        found = [one.result() for one in several]
    assert {one.path.read_bytes() for one in found} == {payload}
    assert [one.new for one in found].count(True) == 1
    assert len(server.ranges) == 1


@pytest.mark.parametrize("pinned", [True, False])
def test_who_looks_before_another_is_done_and_locks_after_it_finds_its_file(
    store, server, payload, monkeypatch, pinned
):
    write_card(store, payload if pinned else None)
    looked = fetching.writable_store

    def another_in_between() -> Path:
        monkeypatch.setattr(fetching, "writable_store", looked)
        assert get(server, pin=True).new
        return looked()

    monkeypatch.setattr(fetching, "writable_store", another_in_between)
    found = get(server, pin=True)
    assert found.path.read_bytes() == payload
    assert not found.new
    assert len(server.ranges) == 1
    assert {path.name for path in store.iterdir()} == {f"{NAME}.toml", FILE}


def test_who_waits_for_one_that_does_not_get_on_is_told_so(store, server):
    with (store / f"{FILE}.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AtomsimError, match=r"another process holds .* not got on"):
            get(server, patience=replace(CALM, other_s=0.2))


@pytest.mark.parametrize("mirror", ["empty", "absent", "unreachable", "server without it", "page"])
def test_a_file_put_by_hand_outlives_a_download_that_fails(store, server, tmp_path, mirror):
    write_card(store, None)
    (store / FILE).write_bytes(b"the only copy")
    (tmp_path / "empty").mkdir()
    where = {"empty": tmp_path / "empty", "absent": tmp_path / "absent", "unreachable": "http://127.0.0.1:9"}
    server.faults = {"server without it": [absent], "page": [page]}.get(mirror, [])
    with pytest.raises(AtomsimError):
        fetch(NAME, mirror=str(where.get(mirror, server.url)), pin=True, patience=CALM)
    assert (store / FILE).read_bytes() == b"the only copy"
    assert {path.name for path in store.iterdir()} == {f"{NAME}.toml", FILE}


def test_a_file_put_by_hand_is_kept_beside_another_that_is_pinned(store, server, payload):
    write_card(store, None)
    (store / FILE).write_bytes(b"the only copy")
    found = get(server, pin=True)
    assert found.path.read_bytes() == payload
    assert found.set_aside.read_bytes() == b"the only copy"


def test_a_store_can_be_its_own_mirror(store, payload):
    write_card(store, None)
    (store / FILE).write_bytes(payload)
    assert fetch(NAME, mirror=str(store), pin=True).set_aside is None
    assert load_card(NAME).state == "verified"
    assert load_card(NAME).weights_path.read_bytes() == payload


def test_a_shared_store_is_read_and_a_shipped_pin_is_not_overruled(store, tmp_path, monkeypatch, server, payload):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(shared))
    assert get(server).path.parent == shared  # it can be written to
    (store / f"{NAME}.toml").rename(shared / f"{NAME}.toml")
    assert load_card(NAME).state == "verified"
    # a shipped card without a hash takes one from a store, and nothing else
    write_card(shared, payload, "mace-mp-0-small", "elsewhere.model")
    card = load_card("mace-mp-0-small")
    assert card.weights.sha256 == hashlib.sha256(payload).hexdigest()
    assert card.weights.file != "elsewhere.model"
    write_card(shared, payload, "chgnet-0.3.0")
    assert load_card("chgnet-0.3.0").weights.origin == "package"
    assert load_card("chgnet-0.3.0").state == "verified"


def test_a_store_that_cannot_be_written_to(store, server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    text = (store / f"{NAME}.toml").read_text()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / f"{NAME}.toml").write_text(text)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("ATOMSIM_POTENTIALS", f"{tmp_path / 'gone'}:{shared}")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(AtomsimError, match=r"cannot write to .*; set ATOMSIM_POTENTIALS"):
        get(server)


def test_a_fetched_potential_is_what_its_card_says(store, server, monkeypatch):
    model = load_card("chgnet-0.3.0")
    server.body = model.weights_path.read_bytes()
    weights = {"origin": "url", "url": "https://models.invalid/a", "file": FILE, "sha256": model.weights.sha256}
    card = model.model_validate(model.model_dump() | {"name": NAME, "weights": weights})
    (store / f"{NAME}.toml").write_text(card_text(card), encoding="utf-8")
    with pytest.raises(InputError, match=f"not on this machine: no {FILE}; run 'atomsim potentials fetch {NAME}'"):
        load_potential(NAME, "cpu")
    get(server)
    potential = load_potential(NAME, "cpu")
    assert (potential.name, potential.sha256) == (NAME, model.weights.sha256)


@pytest.mark.parametrize("form", ["folder", "bundle.zip"])
def test_a_bundle_travels(store, server, tmp_path, monkeypatch, payload, form):
    get(server)
    bundle = tmp_path / form
    assert export_bundle(bundle) == [NAME]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    assert NAME not in [card.name for card in list_cards()]
    with pytest.raises(InputError, match=r"no card here pins test-net .*add --pin"):
        import_bundle(bundle)
    assert import_bundle(bundle, pin=True) == [NAME]
    assert load_card(NAME).state == "verified"
    assert load_card(NAME).weights_path.read_bytes() == payload
    assert import_bundle(bundle) == [NAME]  # known now
    write_card(own_store(), b"other")
    with pytest.raises(InputError, match="contradicts"):
        import_bundle(bundle, pin=True)


def test_a_file_put_by_hand_outlives_an_import(store, server, tmp_path, monkeypatch, payload):
    get(server)
    export_bundle(tmp_path / "out", [NAME])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    own_store().mkdir(parents=True)
    (own_store() / FILE).write_bytes(b"the only copy")
    assert import_bundle(tmp_path / "out", pin=True) == [NAME]
    assert load_card(NAME).weights_path.read_bytes() == payload
    (kept,) = own_store().glob(f"{FILE}.*")
    assert kept.read_bytes() == b"the only copy"


def test_an_exported_folder_is_a_store_and_a_mirror(store, server, tmp_path, monkeypatch):
    get(server)
    export_bundle(tmp_path / "out", [NAME])
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ATOMSIM_POTENTIALS", str(tmp_path / "out"))
    assert load_card(NAME).state == "verified"


def test_bad_bundles_leave_nothing(store, server, tmp_path, monkeypatch, payload):
    with pytest.raises(InputError, match="nothing to export"):
        export_bundle(tmp_path / "out")
    with pytest.raises(InputError, match="are missing, wanted verified"):
        export_bundle(tmp_path / "out", [NAME])
    with pytest.raises(InputError, match="comes with an installation"):
        export_bundle(tmp_path / "out", ["chgnet-0.3.0"])
    get(server)
    bundle = tmp_path / "bundle.zip"
    export_bundle(bundle, [NAME])
    with pytest.raises(InputError, match="exists already"):
        export_bundle(bundle)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    text = zipfile.ZipFile(bundle).read(f"{NAME}.toml").decode()
    for n, (members, message) in enumerate(
        [
            ({f"{NAME}.toml": text, FILE: payload[:-1]}, "is not what the card 'test-net' pins"),
            ({f"{NAME}.toml": text}, "lacks test-net.model"),
            ({f"{NAME}.toml": text, "../evil.toml": text}, "would write to"),
            ({"readme": "hello"}, "holds no cards"),
        ]
    ):
        bad = tmp_path / f"bad{n}.zip"
        with zipfile.ZipFile(bad, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(AtomsimError, match=message):
            import_bundle(bad, pin=True)
    unpinned = re.sub(r'sha256 = "[0-9a-f]+"', 'sha256 = ""', text)
    (tmp_path / "unpinned").mkdir()
    (tmp_path / "unpinned" / f"{NAME}.toml").write_text(unpinned)
    with pytest.raises(InputError, match=rf"pins no weights: .*sha256sum {FILE}.*fetch {NAME} --pin"):
        import_bundle(tmp_path / "unpinned")
    (tmp_path / "text").write_text("no bundle")
    with pytest.raises(InputError, match="is no bundle"):
        import_bundle(tmp_path / "text")
    assert [path for path in own_store().rglob("*") if path.is_file()] == []
    assert not (tmp_path / "evil.toml").exists()


def test_the_commands(store, server, tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["potentials", *map(str, words)])

    write_card(store, None)
    refused = run("fetch", NAME, "--mirror", server.url)
    assert refused.exit_code == 2
    fetched = run("fetch", NAME, "--mirror", server.url, "--pin")
    assert fetched.exit_code == 0, fetched.output
    assert hashlib.sha256(server.body).hexdigest() in fetched.output
    assert "licence MIT" in fetched.output
    listed = run("list", "--json")
    assert f'"name": "{NAME}"' in listed.output
    assert '"weights": "verified"' in listed.output.split(f'"{NAME}"')[1].split("}")[0]
    assert run("export", tmp_path / "out.zip").exit_code == 0
    assert run("import", tmp_path / "out.zip").exit_code == 0
    assert run("fetch", "morse").exit_code == 2
