"""A program on the Python client etcd3: smoke_etcd3.py HOST PORT."""

import sys
import threading

import etcd3


def kv(client: etcd3.Etcd3Client) -> None:
    client.put("py3/a", "1")
    client.put("py3/b", "2")
    value, meta = client.get("py3/a")
    assert value == b"1" and meta.version == 1, (value, meta)
    found = [(meta.key, value) for value, meta in client.get_prefix("py3/", sort_order="descend")]
    assert found == [(b"py3/b", b"2"), (b"py3/a", b"1")], found
    assert client.replace("py3/a", "1", "3")
    assert not client.replace("py3/a", "1", "4")
    assert client.put_if_not_exists("py3/c", "5")
    assert not client.put_if_not_exists("py3/c", "6")
    assert client.delete("py3/a", prev_kv=True)
    assert client.get("py3/a") == (None, None)
    client.delete_prefix("py3/")


def txn(client: etcd3.Etcd3Client) -> None:
    for succeeds in (True, False):
        done, _ = client.transaction(
            compare=[client.transactions.version("py3-txn") == 0],
            success=[client.transactions.put("py3-txn", "made")],
            failure=[client.transactions.get("py3-txn")],
        )
        assert done is succeeds


def watch(client: etcd3.Etcd3Client) -> None:
    first = client.put("py3/watch", "0")
    for n in range(1, 5):
        client.put("py3/watch", str(n))
    events, cancel = client.watch("py3/watch", start_revision=first.header.revision)
    values = [next(events).value for _ in range(5)]
    assert values == [b"%d" % n for n in range(5)], values
    client.delete("py3/watch")
    assert isinstance(next(events), etcd3.events.DeleteEvent)
    cancel()


def lease(client: etcd3.Etcd3Client) -> None:
    granted = client.lease(1000)
    client.put("py3/lease", "x", lease=granted)
    assert [answer.TTL for answer in granted.refresh()] == [1000]
    assert granted.granted_ttl == 1000 and list(granted.keys) == [b"py3/lease"]
    granted.revoke()
    assert client.get("py3/lease") == (None, None)


def lock(client: etcd3.Etcd3Client) -> None:
    with client.lock("py3/lock", ttl=20) as held:
        assert held.is_acquired()
        other = client.lock("py3/lock", ttl=20)
        assert not other.acquire(timeout=0)


def status(client: etcd3.Etcd3Client) -> None:
    told = client.status()
    assert told.version.startswith("3.") and told.db_size > 0
    assert len(list(client.members)) == 1


def main() -> None:
    # A client that hangs is a failure too.
    timer = threading.Timer(60, lambda: sys.exit("etcd3: it hangs"))
    timer.daemon = True
    timer.start()
    parts = (kv, txn, watch, lease, lock, status)
    with etcd3.client(host=sys.argv[1], port=int(sys.argv[2]), timeout=10) as client:
        for part in parts:
            part(client)
    sys.stdout.write(f"etcd3 for Python: {len(parts)} passed, 0 failed\n")


main()
