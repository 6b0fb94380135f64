"""Imports users' state from botbuilder-azure: `python -m scripts.import_users SOURCE --bot URL`.

SOURCE is a folder of BlobStorage's blobs, or a file of CosmosDbPartitionedStorage's documents; see
docs/migrate.md. The import writes by the REST interface of state data, with the function key in
KEY, and only users that are not there yet. jsonpickle's objects become `$type` objects by their
class's name; nothing is unpickled, because that runs code. Uses the standard library only.
"""

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 60  # a cold start may take a while


class ImportFailed(Exception):  # noqa: N818 - of one user; the others go on
    """A user's state cannot be imported; the message says why, and holds none of it."""


def main() -> None:
    """Reads the command line and imports; prints a line for each user that fails.

    Raises:
        SystemExit: the source cannot be read, or (at the end) a user could not be imported.
    """
    parser = argparse.ArgumentParser(prog="python -m scripts.import_users", description=__doc__)
    parser.add_argument("source", type=Path, help="a folder of blobs, or a file of documents")
    parser.add_argument("--bot", required=True, help="https://<name>.azurewebsites.net")
    arguments = parser.parse_args()
    if not re.match("https?://", arguments.bot):
        parser.error("--bot must begin with https:// (or http:// on your own machine)")
    counts: Counter[str] = Counter()
    for key, bag in stored(arguments.source):
        channel, separator, user = key.partition("/users/")
        if not separator or "/" in channel:
            counts["left out (no user data)"] += 1
            continue
        try:
            counts[save(arguments.bot, channel, user, plain(bag))] += 1
        except ImportFailed as error:
            counts["failed"] += 1
            print(f"{key}: {error}", file=sys.stderr)
    print(", ".join(f"{what} {count}" for what, count in sorted(counts.items())) or "nothing found")
    if counts["failed"]:
        sys.exit(1)


def stored(source: Path) -> Iterator[tuple[str, Any]]:
    """Each key, and the bag that is stored under it.

    Raises:
        SystemExit: a file is missing, or not in the storage's format; the message names it.
    """
    file = source
    try:
        if source.is_dir():
            for file in sorted(path for path in source.rglob("*") if path.is_file()):
                yield file.relative_to(source).as_posix(), json.loads(file.read_text("utf-8"))
            return
        text = source.read_text("utf-8").strip()
        lines = ",".join(filter(None, text.splitlines()))
        documents = json.loads(text if text.startswith("[") else f"[{lines}]")
        for document in documents:
            yield document["realId"], document["document"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{file}: {type(error).__name__}: {error}")


def plain(data: Any) -> Any:
    """The data of jsonpickle, with `$type` in place of `py/object`.

    Raises:
        ImportFailed: it holds more of jsonpickle than objects with fields.
    """
    if isinstance(data, list):
        return [plain(item) for item in data]
    if not isinstance(data, dict):
        return data
    fields = {name: plain(value) for name, value in data.items() if name != "py/object"}
    fields.pop("e_tag", None)  # of the old store
    special = sorted(name for name in fields if name.startswith("py/"))
    if special:
        raise ImportFailed(f"holds {special[0]}, which only unpickling could read")
    if "py/object" in data:
        return {"$type": data["py/object"].rpartition(".")[2], **fields}
    return fields


def save(bot: str, channel: str, user: str, bag: Any) -> str:
    """Writes a user's state if there is none yet; returns what it did, in a word or two.

    Raises:
        ImportFailed: the bot refuses it, or cannot be reached.
    """
    # In the query, because not every id works in a path.
    ids = urllib.parse.urlencode({"channelId": channel, "userId": user})
    request = urllib.request.Request(  # noqa: S310 - main has checked it
        f"{bot.rstrip('/')}/api/v3/botstate/-/users/-?{ids}",
        json.dumps({"data": bag, "eTag": "*"}).encode(),
        {"Content-Type": "application/json", "x-functions-key": os.environ.get("KEY", "")},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):  # noqa: S310 - the same
            return "imported"
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.PRECONDITION_FAILED:
            return "there already"
        said = error.read(1000).decode(errors="replace")
        raise ImportFailed(f"{error.code} {said}".strip()) from None
    except OSError as error:
        raise ImportFailed(f"{type(error).__name__}: {error}") from None


if __name__ == "__main__":
    main()
