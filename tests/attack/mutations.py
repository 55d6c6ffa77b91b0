"""Seeded mutations of files: of their bytes, of the values in JSON and YAML, of the columns in Parquet.

Each takes a random number generator and the file's bytes and returns other bytes.
"""

import copy
import io
import json
import random

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

VALUES = [
    None,
    True,
    0,
    -1,
    2**70,
    -(2**63),
    1.5,
    float("inf"),
    float("nan"),
    "",
    "x",
    "a\nb",
    "\x1b[2J\u202e",
    "../../etc/passwd",
    "2017",
    "\ud800",
    [],
    {},
    [[]],
    [None],
    [1],
    ["x"],
    {"a": 1},
    {"": None},
    [{"a": []}],
    {"_type": "Value"},
]
BYTES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x80",
    b"\n",
    b"{",
    b"]",
    b'"',
    b"---\n",
    b"9" * 5000,
    b"[" * 20_000,
    b"{'a':" * 5000,
    b"\x1b[2J",
    b"&a *a",
    b"\xed\xa0\x80",
    b"<!-- end of config eda_100pct -->",
]


def flip(rng: random.Random, data: bytes) -> bytes:
    """Change some bits."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(rng: random.Random, data: bytes) -> bytes:
    """Leave the end out, as a full disk does."""
    return data[: rng.choice([0, 1, len(data) // 2, rng.randrange(len(data) + 1), len(data) - 1])]


def splice(rng: random.Random, data: bytes) -> bytes:
    """Put foreign bytes in, or take a slice out, or double it."""
    i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    j = min(j, i + rng.choice([0, 1, 10, 200]))
    return rng.choice([data[:i] + rng.choice(BYTES) + data[j:], data[:i] + data[j:], data[:j] + data[i:j] + data[j:]])


def lines(rng: random.Random, data: bytes) -> bytes:
    """Take a line out, double one, put it elsewhere, or cut its end off."""
    rows = data.splitlines(keepends=True) or [b""]
    i = rng.randrange(len(rows))
    row = rows.pop(i)
    kind = rng.randrange(5)
    if kind == 1:
        rows[i:i] = [row, row]
    elif kind == 2:
        rows.insert(rng.randrange(len(rows) + 1), row)
    elif kind == 3:
        rows.insert(i, row[: len(row) // 2])
    elif kind == 4:
        rows.insert(i, row.replace(b"\t", b" ").replace(b":", b"").replace(b" ", b"", 1))
    return b"".join(rows)


def _places(value, found):
    if isinstance(value, dict):
        for key, item in value.items():
            found.append((value, key))
            _places(item, found)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            found.append((value, i))
            _places(item, found)
    return found


def change(rng: random.Random, value):
    """Return JSON-like data with one or two values replaced, taken out, renamed, wrapped or added."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.choice([1, 1, 1, 2])):
        shallow = [place for place in _places(root[0], []) if place[0] is root[0]]
        place, key = rng.choice(
            [(root, 0), *_places(root[0], []), *shallow * 2]
            if rng.random() < 0.1
            else (_places(root[0], []) or [(root, 0)]) + shallow
        )
        kind = rng.randrange(8)
        if kind < 4:
            place[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 4 and place is not root:
            del place[key]
        elif kind == 5:
            place[key] = [place[key]]
        elif kind == 6 and isinstance(place, dict):
            place[rng.choice(["unknown", "", "method", "0", "a/b", "../x"])] = (
                place.pop(key) if rng.random() < 0.5 else place[key]
            )
        else:
            old = place[key]
            place[key] = str(old) if not isinstance(old, str) else {old: 1} if rng.random() < 0.5 else len(old)
    return root[0]


def change_json(rng: random.Random, data: bytes) -> bytes:
    """Change values of a JSON file."""
    return json.dumps(change(rng, json.loads(data))).encode()


def change_line(rng: random.Random, data: bytes) -> bytes:
    """Change values of one line of JSON lines."""
    rows = data.splitlines()
    i = rng.randrange(len(rows))
    rows[i] = change_json(rng, rows[i])
    return b"\n".join(rows) + b"\n"


def change_yaml(rng: random.Random, data: bytes) -> bytes:
    """Change values of a YAML file."""
    return yaml.safe_dump(change(rng, yaml.safe_load(data)), allow_unicode=False).encode("utf-8", "surrogatepass")


def change_card(rng: random.Random, data: bytes) -> bytes:
    """Change values of the YAML block of a card."""
    _, block, body = data.decode().split("---\n", 2)
    block = change_yaml(rng, block.encode()).decode("utf-8", "surrogatepass")
    return f"---\n{block}---\n{body}".encode("utf-8", "surrogatepass")


def _damaged_text(array: pa.Array) -> pa.Array:
    """Return strings; the first byte of the first long one is not UTF-8."""
    buffers = array.buffers()
    data = bytearray(buffers[2].to_pybytes())
    if data:
        data[len(data) // 2] = 0xFF
    return pa.StringArray.from_buffers(len(array), buffers[1], pa.py_buffer(bytes(data)), buffers[0])


def change_parquet(rng: random.Random, data: bytes) -> bytes:
    """Change columns, types, values or the features of a Parquet file."""
    table = pq.read_table(io.BytesIO(data))
    name = rng.choice(table.column_names)
    place = table.column_names.index(name)
    column = table.column(name).combine_chunks()
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    kind = rng.randrange(9)
    meta = dict(table.schema.metadata or {})
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.rename_columns(
            [rng.choice(["x", "", "id", "a/b"]) if n == name else n for n in table.column_names]
        )
    elif kind == 2:
        new = rng.choice(
            [
                pa.array(range(len(table)), pa.int64()),
                pa.array([f"v{i}" for i in range(len(table))]),
                pa.array([[i] for i in range(len(table))]),
                pa.array([{"bytes": b"x", "path": None}] * len(table)),
                pa.nulls(len(table)),
                pa.array([float("nan")] * len(table)),
                pa.array([b"\xff"] * len(table), pa.binary()),
            ]
        )
        table = table.set_column(place, name, new)
    elif kind == 3:
        values = storage.to_pylist()
        for _ in range(rng.choice([1, 3, len(values)])):
            values[rng.randrange(len(values))] = None
        table = table.set_column(place, name, pa.array(values, storage.type))
    elif kind == 4:
        values = storage.to_pylist()
        i = rng.randrange(len(values))
        values[i] = change(rng, values[i])
        try:
            new = pa.array(values, storage.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            new = pa.array([json.dumps(v, default=str) for v in values])
        table = table.set_column(place, name, new)
    elif kind == 5:
        strings = [n for n in table.column_names if table.schema.field(n).type == pa.string()]
        name = rng.choice(strings)
        place = table.column_names.index(name)
        text = _damaged_text(pc.fill_null(table.column(name).combine_chunks(), "none"))
        table = table.set_column(place, name, text)
    elif kind == 6:
        table = table.slice(0, rng.choice([0, 1, len(table) // 2]))
    elif kind == 7:
        table = pa.concat_tables([table, table])
    else:
        found = meta.get(b"huggingface", b"{}")
        meta[b"huggingface"] = rng.choice([change_json, flip, cut])(rng, found)
        table = table.replace_schema_metadata(meta)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
