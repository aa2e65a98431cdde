"""Heads of ARC records, the format of web archives before WARC (Burner and Kahle 1996)."""

from tongwen.formats.readers.stream import RecordStream

_MAXIMUM_LINE_BYTES = 1 << 12


def read_arc_head(stream: RecordStream) -> dict[str, str] | None:
    """The fields of the current record by their WARC names; None when the line makes no sense.

    A head is one line: address (it can hold spaces), IP, date, content type, length; files of
    version 2 have five values more between content type and length.
    """
    data = stream.peek(_MAXIMUM_LINE_BYTES)
    line, end, _ = data.partition(b"\n")
    if not end:
        return None
    words = line.decode("utf-8", "replace").strip().rsplit(" ", 4)
    if len(words) < (3 if line.startswith(b"filedesc:") else 5):
        return None
    url, date, length = words[0], words[-3], words[-1]
    is_description = url.startswith("filedesc:")
    if not length.isdecimal() and is_description:
        length = "0"  # some writers did not know it; what follows is skipped as malformed
    if not (length.isdecimal() and (is_description or date.isdecimal())):
        return None
    stream.take(len(line) + 1)
    return {
        "warc-type": "filedesc" if is_description else "response",
        "warc-target-uri": url,
        "warc-date": _iso(date),
        "content-type": "application/http",
        "content-length": length,
    }


def _iso(date: str) -> str:
    """YYYYMMDDhhmmss as ISO 8601; empty when it is something else."""
    if len(date) != 14:
        return ""
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}"
    return f"{day}T{date[8:10]}:{date[10:12]}:{date[12:]}Z"
