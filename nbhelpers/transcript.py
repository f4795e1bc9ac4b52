"""What a notebook printed, as HTML: log lines quiet and folded, errors with a folded trace."""

import html
import re

LOG_LINE = re.compile(r"\d\d:\d\d:\d\d ")
SHORT_LOG = 4  # lines; a longer log is folded
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shorten(content: object, places: dict[str, str]) -> object:
    """A copy of a notebook or of other JSON in which folders are called as `places` says.

    `places` are tried in their order, so a folder stands before those that it lies in.
    """
    if isinstance(content, str):
        for place, name in places.items():
            content = content.replace(place, name)
        return content
    if isinstance(content, list):
        return [shorten(item, places) for item in content]
    if isinstance(content, dict):
        kept = {
            key: item if key.startswith("image/") else shorten(item, places)
            for key, item in content.items()
        }
        return type(content)(kept)
    return content


def joined(outputs: list) -> list:
    """Neighbouring pieces of the same stream as one output."""
    whole = []
    for output in outputs:
        same = whole and output.output_type == "stream" == whole[-1].output_type
        if same and output.name == whole[-1].name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def stream_html(output: dict) -> list[str]:
    """A stream's text: prints as they are, runs of log lines quiet and folded when long."""
    text = plain(output.text)
    if not text.strip():
        return []
    if output.name == "stderr":
        return [folded("Messages", text)]
    pieces: list[tuple[bool, list[str]]] = []
    for line in text.strip("\n").split("\n"):
        is_log = bool(LOG_LINE.match(line))
        if not pieces or pieces[-1][0] != is_log:
            pieces.append((is_log, []))
        pieces[-1][1].append(line)
    return [
        folded("Log", "\n".join(lines))
        if is_log
        else f"<pre>{html.escape(chr(10).join(lines))}</pre>"
        for is_log, lines in pieces
    ]


def folded(label: str, text: str) -> str:
    lines = text.strip("\n").split("\n")
    body = f'<pre class="quiet">{html.escape(chr(10).join(lines))}</pre>'
    if label == "Log" and len(lines) <= SHORT_LOG:
        return body
    last = html.escape(lines[-1][:160])
    count = f"{len(lines)} line{'s' if len(lines) > 1 else ''}"
    return (
        f'<details class="log"><summary>{label}, {count}<span class="last">{last}</span></summary>'
        f"{body}</details>"
    )


def error_html(output: dict) -> str:
    trace = plain("\n".join(output.get("traceback", [])))
    return (
        f'<div class="error"><p><strong>{html.escape(output.ename)}</strong> '
        f"{html.escape(plain(output.evalue))}</p>"
        f"<details><summary>Stack trace</summary><pre>{html.escape(trace)}</pre></details></div>"
    )


def plain(text: str) -> str:
    """Text without colour codes, and of a line that was overwritten only its last state."""
    lines = ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
