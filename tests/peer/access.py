"""Who may call: fixed bearer tokens, and those that a token endpoint gives.

The endpoint is found by discovery, knows each client by its id and secret in the form, and
gives a token for one resource alone (RFC 8707), which is compared byte for byte.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import grpc

SCOPE = "chat.read"
SECONDS = 3600


class Access:
    def __init__(self, tokens: dict[str, str], scope: str, refuse: int) -> None:
        """`tokens` tells the source of each; the first `refuse` calls with a token of the
        endpoint are refused."""
        self._lock = threading.Lock()
        self._sources = dict(tokens)
        self._given: set[str] = set()
        self._clients: dict[str, str] = {}
        self._scope = scope
        self._refuse = refuse
        self._resource = ""
        self._server: ThreadingHTTPServer | None = None
        # What became of calls, and of what was asked of the token endpoint.
        self.refused = 0
        self.asked: Counter[str] = Counter()

    def serve(self, clients: dict[str, str], resource: str) -> str:
        """Gives tokens to these clients, and says where. A client's id is its source."""
        self._clients = clients
        self._resource = resource
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return "127.0.0.1:{}".format(self._server.server_port)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()

    def admit(self, context: grpc.ServicerContext) -> str:
        """The source that calls; any other call ends here."""
        shown = dict(context.invocation_metadata()).get("authorization", "")
        token = shown[len("Bearer ") :] if shown.startswith("Bearer ") else ""
        with self._lock:
            source = self._sources.get(token)
            is_given = token in self._given
            refused = source is None or (is_given and self._refuse > 0)
            if refused:
                self.refused += 1
            if refused and is_given:
                self._refuse -= 1
        if refused:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown token")
        if is_given and SCOPE not in self._scope.split():
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the token lacks {SCOPE}")
        return source

    def _give(self, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        def field(name: str) -> str:
            return form.get(name, [""])[0]

        if field("grant_type") != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        client = field("client_id")
        if self._clients.get(client) != field("client_secret"):
            return 401, {"error": "invalid_client"}
        if field("resource") != self._resource:
            return 400, {
                "error": "invalid_target",
                "error_description": "the resource is not one of this server",
            }
        with self._lock:
            token = f"given-{len(self._given)}"
            self._given.add(token)
            self._sources[token] = client
        return 200, {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": SECONDS,
            "scope": self._scope,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        access = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                issuer = "http://{}:{}".format(*self.server.server_address)
                if self.path != "/.well-known/openid-configuration":
                    return self._answer(404, {"error": "not_found"})
                access._count("discovery")
                self._answer(200, {"issuer": issuer, "token_endpoint": f"{issuer}/token"})

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length).decode()
                if self.path != "/token":
                    return self._answer(404, {"error": "not_found"})
                status, answer = access._give(parse_qs(body))
                access._count(str(answer.get("error", "given")))
                self._answer(status, answer)

            def _answer(self, status: int, answer: dict[str, object]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _count(self, what: str) -> None:
        with self._lock:
            self.asked[what] += 1
