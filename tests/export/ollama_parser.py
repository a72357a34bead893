"""What Ollama's parser makes of a Modelfile (ollama/ollama, parser/parser.go), rune by rune: names no escapes, ends a
quoted value at the first line whose end closes it, and drops what Go calls unprintable."""

import re
import unicodedata

NIL, NAME, VALUE, PARAMETER, MESSAGE, COMMENT = range(6)


def commands(text: str) -> list[tuple[str, str]]:
    """(name, value) of each command; a message's value is "role: text"."""
    found: list[tuple[str, str]] = []
    state, buffer, name, role = NIL, "", "", ""
    for rune in text:
        then, rune = _next(rune, state)
        if then != state:
            if state == NAME:
                name = buffer.lower()
                assert name in ("from", "template", "parameter", "message"), name
                then = {"parameter": PARAMETER, "message": MESSAGE}.get(name, then)
            elif state == PARAMETER:
                name = buffer
            elif state == MESSAGE:
                role = buffer
                assert role in ("system", "user", "assistant"), role
            elif state == VALUE:
                value = _unquoted(buffer.strip())
                if value is None or rune in " \t":
                    buffer += rune
                    continue
                found.append((name, f"{role}: {value}" if role else value))
                role = ""
            buffer, state = "", then
        if rune == " " or (rune and unicodedata.category(rune)[0] in "LMNPS"):
            buffer += rune
    assert state in (NIL, COMMENT), "the file ends within a command"
    return found


def _next(rune: str, state: int) -> tuple[int, str]:
    newline, space = rune in "\r\n", rune in " \t"
    if state == NIL:
        return (COMMENT, "") if rune == "#" else (NIL, "") if newline or space else (NAME, rune)
    if state == COMMENT:
        return (NIL if newline else COMMENT), ""
    if state == VALUE:
        return (NIL if newline or space else VALUE), rune
    if space:
        return VALUE, ""
    assert re.fullmatch("[A-Za-z0-9_]", rune), rune
    return state, rune


def _unquoted(text: str) -> str | None:
    for quotes in ('"""', '"'):
        if text.startswith(quotes):
            closed = len(text) >= 2 * len(quotes) and text.endswith(quotes)
            return text[len(quotes) : -len(quotes)] if closed else None
    return text
