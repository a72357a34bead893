"""A Hub in memory, for tests: what huggingface_hub, datasets, evaluate, peft and transformers ask of the real one.

    with Hub({"token-of-ruth": "ruth"}) as hub:
        ...  # processes with HF_ENDPOINT=hub.endpoint, HF_HUB_DISABLE_XET=1 and HF_TOKEN=token-of-ruth

Repositories have one branch, files are kept whole. Reading a private repository without its owner's token is answered
as by the real Hub: 401 without a token, 404 with another user's, both with X-Error-Code RepoNotFound.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

_KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}  # in the API, in a file's address
_LFS = (".parquet", ".safetensors", ".bin")  # of any size, so that small test files take that way too
Files = dict[str, bytes]


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "", **details: str) -> None:
        self.status, self.message, self.code, self.details = status, message, code, details


@dataclass
class Repository:
    kind: str
    name: str  # user/name
    private: bool
    commits: dict[str, Files] = field(default_factory=dict)  # oldest first
    titles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commit({}, "initial commit")

    @property
    def head(self) -> str:
        return next(reversed(self.commits))

    @property
    def files(self) -> Files:
        return self.commits[self.head]

    def commit(self, files: Files, title: str) -> None:
        self.titles.append(title)
        self.commits[hashlib.sha1(f"{self.kind}/{self.name}, {len(self.titles)}".encode()).hexdigest()] = files

    def revision(self, name: str) -> str:
        commit = self.head if name == "main" else name
        if commit not in self.commits:
            raise RefusedError(404, f"Invalid rev id: {name}", "RevisionNotFound")
        return commit


class Hub:
    """The server; `repositories` holds what was pushed, by kind and id, such as "datasets/ruth/rows"."""

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users  # token -> name
        self.repositories: dict[str, Repository] = {}
        self.uploads: dict[str, bytes] = {}  # by sha256
        self.unknown: list[str] = []  # requests that this Hub does not understand
        self.commits_to_refuse: list[str] = []  # titles; each of these commits fails once
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Hub":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, token: str) -> tuple[Any, dict]:
        """(what to send, headers). Raises RefusedError."""
        if token and token not in self.users:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        user = self.users.get(token, "")
        for pattern, action in _ROUTES:
            found = re.fullmatch(pattern, f"{method} {path}")
            if found:
                with self._lock:
                    return action(self, user=user, query=query, body=body, **found.groupdict())
        self.unknown.append(f"{method} {path}")
        raise RefusedError(404, f"This Hub for tests does not know {method} {path}.")

    def whoami(self, user: str, **_: Any) -> tuple[Any, dict]:
        if not user:
            raise RefusedError(401, "Invalid username or password.")
        return {"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}}, {}

    def create(self, user: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        wanted = json.loads(body)
        kind = f"{wanted.get('type', 'model')}s"
        name = f"{wanted.get('organization') or user}/{wanted['name']}"
        _only_the_owner(user, name)
        address = {"url": f"{self.endpoint}/{_KINDS[kind]}{name}"}
        if f"{kind}/{name}" in self.repositories:
            raise RefusedError(409, "You already created this repo", **address)
        private = wanted.get("visibility") == "private" or wanted.get("private") is True
        self.repositories[f"{kind}/{name}"] = Repository(kind, name, private)
        return address, {}

    def validate_yaml(self, body: bytes, **_: Any) -> tuple[Any, dict]:
        content = json.loads(body)["content"]
        header = yaml.safe_load(content.split("---")[1]) if content.startswith("---") else {}
        for field_name, valid in {"base_model": r"[\w.-]+(/[\w.-]+)?", "license": r"[a-z0-9.-]+"}.items():
            value = str((header or {}).get(field_name, "mit"))
            if not re.fullmatch(valid, value):
                raise RefusedError(400, f'"{field_name}" with value "{value}" is not valid.')
        return {"errors": [], "warnings": []}, {}

    def info(self, user: str, kind: str, name: str, revision: str | None = None, **_: Any) -> tuple[Any, dict]:
        repository = self._readable(user, kind, name)
        commit = repository.revision(unquote(revision or "main"))
        siblings = [{"rfilename": path} for path in sorted(repository.commits[commit])]
        described = {"id": name, "_id": name, "sha": commit, "private": repository.private, "siblings": siblings}
        return {**described, "tags": [], "downloads": 0, "likes": 0}, {}

    def tree(
        self, user: str, kind: str, name: str, revision: str, query: dict[str, str], path: str | None = None, **_: Any
    ) -> tuple[Any, dict]:
        repository = self._readable(user, kind, name)
        entries = _entries(repository.commits[repository.revision(unquote(revision))])
        folder = unquote(path or "")
        if folder and folder not in entries:
            raise RefusedError(404, f"{folder} does not exist", "EntryNotFound")
        deep = query.get("recursive", "").lower() in ("1", "true")
        inside = [entry for entry in entries.values() if not folder or entry["path"].startswith(f"{folder}/")]
        depth = folder.count("/") + 1 if folder else 0
        return [entry for entry in inside if deep or entry["path"].count("/") == depth], {}

    def paths_info(self, user: str, kind: str, name: str, revision: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        repository = self._readable(user, kind, name)
        entries = _entries(repository.commits[repository.revision(unquote(revision))])
        asked = parse_qs(body.decode()).get("paths", [])  # a form
        return [entries[path] for path in asked if path in entries], {}

    def preupload(self, user: str, kind: str, name: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        present = _entries(self._writable(user, kind, name).files)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LFS) else "regular",
                "shouldIgnore": False,
                "oid": present.get(file["path"], {}).get("lfs", present.get(file["path"], {})).get("oid"),
            }
            for file in json.loads(body)["files"]
        ]
        return {"files": files}, {}

    def lfs_batch(self, user: str, kind: str, name: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        self._writable(user, kind or "models", name)
        objects = [{"oid": wanted["oid"], "size": wanted["size"]} for wanted in json.loads(body)["objects"]]
        for wanted in objects:
            if wanted["oid"] not in self.uploads:
                wanted["actions"] = {"upload": {"href": f"{self.endpoint}/uploads/{wanted['oid']}", "header": {}}}
        return {"transfer": "basic", "objects": objects}, {}

    def upload(self, oid: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        if hashlib.sha256(body).hexdigest() != oid:
            raise RefusedError(400, "The content does not match its sha256.")
        self.uploads[oid] = body
        return b"", {}

    def commit(self, user: str, kind: str, name: str, body: bytes, **_: Any) -> tuple[Any, dict]:
        repository = self._writable(user, kind, name)
        header, *operations = [json.loads(line) for line in body.splitlines()]
        title = header["value"]["summary"]
        if title in self.commits_to_refuse:
            self.commits_to_refuse.remove(title)
            raise RefusedError(500, "Internal Error")
        if header["value"].get("parentCommit", repository.head) != repository.head:
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.files)
        for operation in operations:
            value, key = operation["value"], operation["key"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.uploads[value["oid"]]
            else:  # deletedFile
                del files[value["path"]]
        repository.commit(files, title)
        return {"commitUrl": f"{self.endpoint}/{name}/commit/{repository.head}", "commitOid": repository.head}, {}

    def resolve(self, user: str, kind: str | None, name: str, revision: str, path: str, **_: Any) -> tuple[Any, dict]:
        repository = self._readable(user, kind or "models", name)
        commit = repository.revision(unquote(revision))
        content = repository.commits[commit].get(unquote(path))
        if content is None:
            raise RefusedError(404, f"{unquote(path)} does not exist", "EntryNotFound")
        return content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}

    def _readable(self, user: str, kind: str, name: str) -> Repository:
        repository = self.repositories.get(f"{kind}/{name}")
        if repository is None or (repository.private and user != name.partition("/")[0]):
            raise RefusedError(404 if user else 401, "Repository not found", "RepoNotFound")
        return repository

    def _writable(self, user: str, kind: str, name: str) -> Repository:
        repository = self._readable(user, kind, name)
        _only_the_owner(user, name)
        return repository


def _only_the_owner(user: str, name: str) -> None:
    if not user:
        raise RefusedError(401, "Invalid username or password.")
    if name.partition("/")[0] != user:
        raise RefusedError(403, f'You don\'t have the rights to create or change a repository under "{name}"')


def _entries(files: Files) -> dict[str, dict[str, Any]]:
    """Files and folders as the tree lists them."""
    entries: dict[str, dict[str, Any]] = {}
    for path, content in sorted(files.items()):
        parts = path.split("/")
        for folder in ("/".join(parts[:end]) for end in range(1, len(parts))):
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        entries[path] = {"type": "file", "path": path, "oid": blob, "size": len(content)}
        if path.endswith(_LFS):
            sha256 = hashlib.sha256(content).hexdigest()
            entries[path]["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entries


_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_ROUTES = [
    (r"GET /api/whoami-v2", Hub.whoami),
    (r"POST /api/repos/create", Hub.create),
    (r"POST /api/validate-yaml", Hub.validate_yaml),
    (rf"GET {_API}(/revision/(?P<revision>[^/]+))?", Hub.info),
    (rf"GET {_API}/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", Hub.tree),
    (rf"POST {_API}/paths-info/(?P<revision>[^/]+)", Hub.paths_info),  # which versions before 2 of the client ask
    (rf"POST {_API}/preupload/[^/]+", Hub.preupload),
    (rf"POST {_PAGE}\.git/info/lfs/objects/batch", Hub.lfs_batch),
    (r"PUT /uploads/(?P<oid>\w+)", Hub.upload),
    (rf"POST {_API}/commit/[^/]+", Hub.commit),
    (rf"(GET|HEAD) {_PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Hub.resolve),
]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            content, headers = self.hub.answer(self.command, address.path, query, body, token)
            status = 200
        except RefusedError as refusal:
            status, content = refusal.status, {"error": refusal.message, **refusal.details}
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
        if isinstance(content, bytes):
            status, content, headers = self._part(content, headers)
        else:
            content, headers = json.dumps(content).encode(), {**headers, "Content-Type": "application/json"}
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _part(self, content: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """What the Range header asks for, which streaming and resumed downloads use."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return 200, content, {**headers, "Accept-Ranges": "bytes"}
        start, end = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        return 206, content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(content)}"}

    def log_message(self, *_: Any) -> None:
        """Silent."""
