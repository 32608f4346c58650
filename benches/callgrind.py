"""What callgrind counted, by function: read from its output file.

Only what a function spent itself, without what it called: so the sum is the total, and a function that
grew is named once. Hashes are taken off the names, so that two builds can be compared.
"""

import collections
import re

_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
_HASH = re.compile(r"::h[0-9a-f]{16}|\[[0-9a-f]{16}\]")
_RECURSION = re.compile(r"'\d+$")


def by_function(lines):
    """Instructions by function name, of the lines of one callgrind file."""
    names, spent = {}, collections.Counter()
    current, skip = None, False
    for line in lines:
        if line.startswith(("fn=", "cfn=")):
            key, name = _NAME.match(line.partition("=")[2]).groups()
            if name is not None:
                names[key] = plain(name)
            if line.startswith("fn="):
                current = names[key]
        elif line.startswith("calls="):
            # The next line has what the called function spent.
            skip = True
        elif line[:1] in "0123456789+-*" and line[:1]:
            if skip:
                skip = False
            else:
                spent[current] += int(line.split()[1])
    return spent


def plain(name):
    """`name` without what differs between two builds of the same source."""
    return _RECURSION.sub("", _HASH.sub("", name))


def each(few, many, requests):
    """Instructions by function for one request, where `many` had so many requests more than `few`."""
    difference = collections.Counter(many)
    difference.subtract(few)
    return {name: count / requests for name, count in difference.items() if count}


def growth(before, after):
    """By how much each function of two such tables grew, the largest first."""
    grown = {
        name: after.get(name, 0) - before.get(name, 0) for name in before.keys() | after.keys()
    }
    return sorted(grown.items(), key=lambda pair: -pair[1])
