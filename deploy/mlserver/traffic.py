"""Asks the example's model through driftline, and tells driftline the truth a little later.

For a while the hours asked for are drawn from 2011, which the model knows; then from the summer of 2012, and so on in
turns. Only Python's standard library.

    traffic.py DATA.csv --proxy http://sidecar:8080 --admin http://sidecar:9464
"""

import argparse
import collections
import csv
import http.client
import itertools
import json
import random
import sys
import time
import urllib.parse
import uuid

from train import FEATURES, MODEL, TARGET, UNTIL

# How long the truth takes to be known, in seconds.
DELAY = 5


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--proxy", default="http://127.0.0.1:8080")
    parser.add_argument("--admin", default="http://127.0.0.1:9464")
    parser.add_argument("--token-file", help="a token that may send labels, where the admin port asks for one")
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second")
    parser.add_argument("--rows", type=int, default=8, help="rows per request")
    parser.add_argument("--calm", type=float, default=600.0, help="seconds of hours that the model knows")
    parser.add_argument("--shifted", type=float, default=600.0, help="seconds of hours that it does not know")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Connection:
    """A connection that is kept, and made anew after an error."""

    def __init__(self, url, token=None):
        self.address = urllib.parse.urlsplit(url)
        self.headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self.open = None

    def post(self, path, body, **headers):
        """The status, or 0 where there was no answer."""
        try:
            if self.open is None:
                self.open = http.client.HTTPConnection(self.address.hostname, self.address.port or 80, timeout=10)
            self.open.request("POST", path, json.dumps(body), self.headers | headers)
            answer = self.open.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            if self.open is not None:
                self.open.close()
            self.open = None
            return 0


def predict(rows):
    """A request of Open Inference V2 for some hours."""
    values = [float(row[name]) for row in rows for name in FEATURES]
    tensor = {"name": "predict", "shape": [len(rows), len(FEATURES)], "datatype": "FP64", "data": values}
    return {"inputs": [tensor]}


def main():
    given = options()
    draw = random.Random(given.seed)
    with open(given.data, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = [row for row in rows if row["timestamp"] < UNTIL]
    summer = [row for row in rows if "2012-06-01" <= row["timestamp"] < "2012-09-01"]
    token = None
    if given.token_file:
        with open(given.token_file, encoding="utf-8") as file:
            token = file.read().strip()
    proxy, admin = Connection(given.proxy), Connection(given.admin, token)
    path = f"/v2/models/{MODEL}/infer"

    began, told, statuses = time.monotonic(), time.monotonic(), collections.Counter()
    later, phase = collections.deque(), None
    for number in itertools.count():
        pause = began + number / given.rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        now = time.monotonic()
        is_calm = (now - began) % (given.calm + given.shifted) < given.calm
        if is_calm != phase:
            phase = is_calm
            print("hours of 2011" if is_calm else "hours of the summer of 2012", flush=True)
        asked = draw.choices(known if is_calm else summer, k=given.rows)
        name = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        status = proxy.post(path, predict(asked), **{"X-Request-Id": name})
        statuses[status] += 1
        if status == 200:
            ids = [name] if len(asked) == 1 else [f"{name}_{at}" for at in range(len(asked))]
            labels = [{"model": MODEL, "id": id_, "label": float(row[TARGET])} for id_, row in zip(ids, asked)]
            later.append((now + DELAY, labels))
        # Now and then a client is wrong, and another model is asked for, as in life.
        if number % 97 == 50:
            statuses[proxy.post(path, {"inputs": []})] += 1
        if number % 89 == 50:
            proxy.post("/v2/models/another/infer", predict(asked))
        # A service that does not pass the proxy tells what it answered itself.
        if number % 61 == 30:
            features = {name: float(asked[0][name]) for name in FEATURES}
            pushed = {"model": MODEL, "id": f"pushed-{name}", "features": features, "outputs": {"predict": float(asked[0][TARGET])}}
            admin.post("/v1/predictions", [pushed])
        due = []
        while later and later[0][0] <= now and len(due) < 200:
            due.extend(later.popleft()[1])
        if due and (sent := admin.post("/v1/labels", due)) != 200:
            print(f"labels were answered with {sent}", file=sys.stderr, flush=True)
        if now - told > 30:
            told = now
            print("answers: " + ", ".join(f"{count} x {code}" for code, count in sorted(statuses.items())), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
