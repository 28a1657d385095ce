"""Texts of strangers as a page shows them: names without anything to see, and output that was meant for a terminal."""

import re
import unicodedata

MOST_SHOWN = 64 * 1024  # characters of output in a page, which may be one line and is sent again when it grows
CUT = "[earlier output is not shown]\n"

# Sequences of ECMA-48 that colour, move and name things: CSI, OSC with its end, and those of two characters. An OSC
# without an end must not hide the rest of the output.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,1024}(?:\x07|\x1b\\)|[ -/]{0,8}[0-~])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab, newline and carriage return
_SEEN = frozenset("LNPS")  # letters, numbers, punctuation, symbols


def clean_output(text: str) -> str:
    """
    The end of an output, without what only a terminal understands.

    >>> clean_output("\x1b[1;31mred\x1b[0m \x1b]0;title\x07done\x00")
    'red done\ufffd'
    """
    if len(text) > MOST_SHOWN:
        text = CUT + text[-MOST_SHOWN:]
    return _CONTROL.sub("\ufffd", _SEQUENCE.sub("", text))


def choose_visible(text: str | None, otherwise: str) -> str:
    """
    `text`, unless nothing of it can be seen: a link with that name could not be found.

    >>> choose_visible("\u200b \u202e", "hello"), choose_visible("a\u200b", "hello")
    ('hello', 'a\u200b')
    """
    return text if text and any(unicodedata.category(each)[0] in _SEEN for each in text) else otherwise
