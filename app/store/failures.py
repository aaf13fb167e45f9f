"""What a database says when it cannot be used, and what to do about it: one line for both engines.

A driver tells by a code what is wrong. PostgreSQL's client has none for a connection that never came about: there the
server's own words are looked at.
"""

from __future__ import annotations

UPGRADE = "the schema is of another version: `veriregime db upgrade`"
_RESTORE = "stop what uses it and restore a backup into a new file: `veriregime db restore`"

_OF_SQLITE = {
    "SQLITE_NOTADB": f"see VERIREGIME_DATABASE_URL, or {_RESTORE}",
    "SQLITE_CORRUPT": _RESTORE,
    "SQLITE_FULL": "make room on the disk, then it goes on by itself",
    "SQLITE_IOERR": "see what the system's log says about the disk",
    "SQLITE_READONLY": "see who owns the file and its folder, and whether the disk is mounted for reading only",
    "SQLITE_CANTOPEN": "see whether the folder is there, who owns it, and how many files may be open",
    "SQLITE_BUSY": "another process keeps it: end that, or see why it takes so long",
}
_OF_POSTGRESQL = {
    "08": "see whether the server runs and can be reached",
    "25006": "this server only reads, as a standby does: name the primary in VERIREGIME_DATABASE_URL",
    "28": "see the user and the password in VERIREGIME_DATABASE_URL",
    "3D000": "make it with createdb, or see VERIREGIME_DATABASE_URL",
    "42501": "give this user the right: it has to own the tables",
    "42703": UPGRADE,
    "42P01": UPGRADE,
    "53100": "make room on the server's disk, then it goes on by itself",
    "53200": "the server has too little memory",
    "53300": "raise max_connections of the server, or run fewer processes: each takes up to 50",
    "55P03": "another process keeps a lock: end that, or see why it takes so long",
    "57014": "it took too long: see what else the server does",
    "57P": "the server is being stopped or started, then it goes on by itself",
}
_IN_WORDS = {
    "password authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "does not exist": "3D000",
    "too many clients": "53300",
    "remaining connection slots": "53300",
    "too many connections": "53300",
    "the database system is": "57P",
    "terminating connection": "57P",
    "connection": "08",
}
"""Tried in this order on what the client says where there is no code."""


def told(error: BaseException) -> str:
    """The first line of what the driver says, and what to do where that is known."""
    words = (str(error).splitlines() or [type(error).__name__])[0].strip()
    what_to_do = _advice(error, words)
    return f"{words}; {what_to_do}" if what_to_do else words


def _advice(error: BaseException, words: str) -> str | None:
    if name := getattr(error, "sqlite_errorname", None):
        return UPGRADE if words.startswith("no such ") else _by_prefix(_OF_SQLITE, name)
    if not hasattr(error, "sqlstate"):
        return None
    code = error.sqlstate or next((code for part, code in _IN_WORDS.items() if part in words), "")
    return _by_prefix(_OF_POSTGRESQL, code)


def _by_prefix(table: dict[str, str], code: str) -> str | None:
    return next((advice for prefix, advice in table.items() if code.startswith(prefix)), None)
