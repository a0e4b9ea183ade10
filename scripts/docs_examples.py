"""Show the doctests of a docstring as code: mkdocstrings knows only those under a heading
`Examples:`.
"""

import re
from typing import Any

import griffe

# a prompt, and what follows it up to an empty line
EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


class FencedExamples(griffe.Extension):
    """Puts each example in a fence."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
