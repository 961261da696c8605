"""A small S3: ListObjectsV2 in pages, objects with ETag and Range, and faults on demand."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.parse
from contextlib import contextmanager
from xml.sax.saxutils import escape

PAGE = 7  # keys per page of a listing


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        owner, url = self.server, urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        owner.asked.append((path, self.headers.get("Range")))
        if path.count("/") == 2 and path.endswith("/"):
            self._list(path.strip("/"), dict(urllib.parse.parse_qsl(url.query)))
        else:
            self._object(path.lstrip("/"))

    def _list(self, bucket, query):
        assert query["list-type"] == "2"
        keys = sorted(k for k in self.server.objects if k.startswith(f"{bucket}/{query['prefix']}"))
        start = int(query.get("continuation-token", 0))
        shown = keys[start : start + PAGE]
        more = start + PAGE < len(keys)
        rows = "".join(
            f"<Contents><Key>{escape(k.partition('/')[2])}</Key><Size>{len(self.server.objects[k])}</Size>"
            f"<ETag>&quot;{self.server.etag(k)}&quot;</ETag></Contents>"
            for k in shown
        )
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        self._send(
            f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>".encode(),
            "application/xml",
        )

    def _object(self, key):
        owner = self.server
        if key in owner.dead:  # the connection ends without an answer
            return
        if key in owner.refused or key not in owner.objects:
            self.send_error(403 if key in owner.refused else 404)
            return
        body = owner.sent.get(key, owner.objects[key])
        start, wanted = 0, self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == f'"{owner.etag(key)}"':
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Type", "application/dicom")
        self.send_header("ETag", f'"{owner.etag(key)}"')
        self.end_headers()
        cut = owner.breaks.pop(key, None)
        self.wfile.write(body[start:][:cut])

    def _send(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """`objects`: bucket/key -> bytes; `sent`: what is sent in place of them; `breaks`: key -> bytes until it breaks."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects, self.sent, self.breaks, self.refused, self.dead, self.in_pieces = {}, {}, {}, set(), set(), set()
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def etag(self, key):
        md5 = hashlib.md5(self.objects[key]).hexdigest()
        return f"{md5}-3" if key in self.in_pieces else md5

    def fetched(self):
        """Objects asked for since the last call, with their ranges; listings left out."""
        found = [(path.rpartition("/")[2], span) for path, span in self.asked if not path.endswith("/")]
        self.asked.clear()
        return found


@contextmanager
def s3_server():
    """A server in a thread."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
