"""What the reference numbers: everything the suite must show, and what has no counterpart here, with the reason.

``DO-n`` are the behaviours of the original, by its documentation and source. ``S``, ``C`` and ``J`` are the rows of the
table of its own tests, and those of the libraries on top of it: of its storage on SQLite, of the rest of its core, and
in JavaScript and Python.
"""

from __future__ import annotations

#: Title of each section, with the numbers it has.
SECTIONS: dict[str, list[str]] = {
    "Setting an alarm": [f"DO-{n}" for n in range(1, 11)],
    "One slot: replace, read, delete": [f"DO-{n}" for n in range(11, 24)],
    "Deleting everything, and the slot": [f"DO-{n}" for n in range(24, 29)],
    "Delivery": [f"DO-{n}" for n in range(29, 43)],
    "Retries": [f"DO-{n}" for n in range(43, 54)],
    "Atomicity, and the row against its wake-up": [f"DO-{n}" for n in range(54, 61)],
    "Storage": [f"DO-{n}" for n in range(61, 83)],
    "Names, identity, life cycle": [f"DO-{n}" for n in range(83, 95)],
    "The original's tests of its SQLite storage": [f"S{n}" for n in range(1, 64)],
    "The original's other tests of its core": [f"C{n}" for n in range(1, 31)],
    "Tests in JavaScript and Python, and of libraries": [f"J{n}" for n in range(1, 20)],
    "Seen in use, in nobody's tests": ["R1"],
}

_GATE = "an asynchronous hand-over inside its storage engine; here the turn's transaction is the only one there is"
_UNCONFIRMED = "writes that nobody waits for; here each call returns when it is committed (S50, S51, S57)"

#: What the original has and this engine has nothing to compare with.
NO_COUNTERPART: dict[str, str] = {
    "DO-9": "facets (objects inside an object) do not exist here",
    "DO-10": "options that loosen its gates; here nothing is loose: a call returns when it is committed",
    "DO-74": "`sync()` waits for writes that are under way; here none are once a call has returned",
    "DO-82": "a second, synchronous interface; here there is one, and it is synchronous",
    "DO-84": "ids in hex; here an object is known by class and name",
    "DO-85": "ids again; handles are equal when class and name are",
    "DO-89": "a stub that breaks; a handle holds no connection, and the next call on it is a fresh turn",
    "DO-91": "an instance kept in memory and evicted; here nothing is kept between turns",
    "S23": _GATE,
    "S24": _GATE,
    "S34": _GATE,
    "S36": _GATE,
    "S52": _UNCONFIRMED,
    "S53": _UNCONFIRMED,
    "S54": _UNCONFIRMED,
    "S55": _UNCONFIRMED,
    "S56": _UNCONFIRMED,
    "S58": _UNCONFIRMED,
    "C24": "facets, as DO-9",
    "C30": "a flag of its deployments that is always on",
}

#: Every number that a test must show.
EXPECTED: list[str] = [number for numbers in SECTIONS.values() for number in numbers if number not in NO_COUNTERPART]
