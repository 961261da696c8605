"""Fetching with resume, against a server of our own; files are held to their hash."""

from __future__ import annotations

import hashlib
import http.server
import threading

import pytest

from scan2gene.core import download
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.models.fetch import card_of, fetch, held_to, locate, located
from scan2gene.models.weights import WEIGHTS

BODY = bytes(range(256)) * 4000  # 1 MB
NAME = "kinetics-resnet18"  # no page states its hash
FILE = WEIGHTS[NAME].file


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves BODY; breaks off after `breaks` bytes of each answer, ignores ranges when told."""

    def do_GET(self):
        owner = self.server
        owner.asked.append(self.headers.get("Range"))
        if owner.status != 200:
            self.send_error(owner.status)
            return
        start = 0
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, owner.tag)
        if wanted and owner.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(owner.body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(owner.body) - 1}/{len(owner.body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(owner.body) - start))
        self.send_header("Content-Type", owner.kind)
        self.send_header("ETag", owner.tag)
        self.end_headers()
        self.wfile.write(owner.body[start : start + (owner.breaks or len(owner.body))])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as made:
        made.body, made.tag, made.kind = BODY, '"one"', "application/octet-stream"
        made.breaks, made.ranges, made.status, made.asked = 0, True, 200, []
        made.url = f"http://127.0.0.1:{made.server_port}/w.pth"
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


def test_a_whole_file_is_fetched_and_its_hash_is_kept(server, tmp_path):
    path = fetch(NAME, tmp_path / "new", server.url)
    assert path.read_bytes() == BODY
    assert hashlib.sha256(BODY).hexdigest() in (path.parent / "files.json").read_text()
    assert sorted(p.name for p in path.parent.iterdir()) == ["files.json", FILE]
    fetch(NAME, path.parent, "http://127.0.0.1:1/")  # it is there: nothing is asked for
    assert server.asked == [None]


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.breaks = 300_000
    assert fetch(NAME, tmp_path, server.url).read_bytes() == BODY
    assert server.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_download_that_was_stopped_goes_on_with_the_same_command(server, tmp_path):
    server.breaks = 100_000
    with pytest.raises(WeightsError, match=r"stopped at 0\.4 MB .*The same command goes on"):
        fetch(NAME, tmp_path, server.url)
    assert not (tmp_path / FILE).exists()
    server.breaks = 0
    assert fetch(NAME, tmp_path, server.url).read_bytes() == BODY
    assert server.asked[-1] == "bytes=400000-"


@pytest.mark.parametrize("change", ["ranges", "tag"])
def test_a_server_without_ranges_or_with_another_file_begins_anew(change, server, tmp_path):
    server.breaks = 100_000
    with pytest.raises(WeightsError):
        fetch(NAME, tmp_path, server.url)
    server.breaks = 0
    if change == "ranges":
        server.ranges = False
    else:
        server.tag, server.body = '"two"', BODY[::-1]
    assert fetch(NAME, tmp_path, server.url).read_bytes() == server.body


def test_a_page_in_place_of_a_file_is_refused(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match="is a web page"):
        fetch(NAME, tmp_path, server.url)
    assert not list(tmp_path.glob("*.pth"))


def test_a_missing_page_says_how_to_get_it_by_hand(server, tmp_path):
    server.status = 404
    with pytest.raises(WeightsError, match=r"answers 404 .*in a browser.*put it in"):
        fetch(NAME, tmp_path, server.url)


def test_no_network_says_what_to_do(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=rf"cannot be reached.*download {FILE}, put it in") as stop:
        fetch(NAME, tmp_path, server.url)
    assert "\n" not in str(stop.value)
    with pytest.raises(WeightsError, match=r"It has no direct link: open https://github\.com/kenshohara"):
        fetch(NAME, tmp_path)


def test_another_hash_than_the_stated_one_is_refused(server, tmp_path):
    with pytest.raises(
        WeightsError, match=r"gave is not resnet_10_23dataset.pth.*afa8055f3e47f4a1\.\.\.\. It was deleted"
    ):
        fetch("medicalnet-resnet10", tmp_path, server.url)
    assert not list(tmp_path.glob("*.pth*"))
    (tmp_path / "resnet_10_23dataset.pth").write_bytes(BODY)
    with pytest.raises(WeightsError, match=r"is not the released .*MedicalNet-Resnet10/commit/2a0c8cd"):
        held_to("medicalnet-resnet10", tmp_path / "resnet_10_23dataset.pth")


def test_a_file_is_held_to_the_hash_that_it_had_first(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(BODY)
    first = held_to(NAME, path)
    assert held_to(NAME, path) == first == hashlib.sha256(BODY).hexdigest()
    path.write_bytes(BODY + b"!")
    with pytest.raises(WeightsError, match="changed: its sha256 was"):
        held_to(NAME, path)


def test_files_are_found_under_either_name_and_in_a_folder_of_their_own(tmp_path):
    assert locate("m3d-clip", tmp_path) is None
    with pytest.raises(WeightsError, match=r"is not in .*scan2gene weights fetch m3d-clip --weights-dir"):
        located("m3d-clip", tmp_path)
    (tmp_path / "m3d-clip").mkdir()
    (tmp_path / "m3d-clip" / "model.safetensors").write_bytes(b"x")
    assert locate("m3d-clip", tmp_path) == tmp_path / "m3d-clip" / "model.safetensors"
    with pytest.raises(StudyError, match="Did you mean 'medicalnet-resnet1"):
        card_of("medicalnet-resnet1")


def test_every_card_is_complete():
    hashes = [c.sha256 for c in WEIGHTS.values() if c.sha256]
    assert len(set(hashes)) == len(hashes)
    for name, card in WEIGHTS.items():
        assert card.licence and card.data and card.intensities and card.page.startswith("https://"), name
        assert bool(card.sha256) == bool(card.sha256_source), name
        assert not card.sha256 or len(bytes.fromhex(card.sha256)) == 32
