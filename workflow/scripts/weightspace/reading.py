"""YAML that reads the same to everybody: no key twice, no dates, plain numbers, and no more of it than a scenario can be."""

import re
from pathlib import Path

import yaml

from weightspace.errors import InputError
from weightspace.settings import shown

MOST_BYTES = 1_000_000
MOST_NODES = 1_000_000  # keys and values, each anchor counted wherever it stands
PLAIN = {  # what a number must look like: YAML 1.1 takes 017 for 15, 1_000 for 1000 and 1:30 for 90
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][0-9]*)"),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
}
NEGATIVE_ZERO = re.compile(r"-0*\.?0*([eE].*)?")


def read_yaml(path: Path) -> object:
    """Content of a YAML file; raises InputError naming the file if it does not read, says a key twice, or is far too large."""
    try:
        text = path.read_bytes()
        if len(text) > MOST_BYTES:
            raise yaml.YAMLError(f"it has {len(text):,} bytes, more than {MOST_BYTES:,}")
        return yaml.load(text, Loader=_PlainLoader)
    except RecursionError as error:
        raise InputError(f"{shown(path)}: not YAML that can be read: lists and keys lie too deep in each other") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InputError(f"{shown(path)}: not YAML: {' '.join(str(error).split())}") from error


class _PlainLoader(yaml.SafeLoader):
    """YAML's safe loader, to which a key written twice, a number that is not plain and endless anchors are errors."""

    yaml_implicit_resolvers = {  # a date is text
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        _count(node, {})
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        written = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key must be one word, line {key.start_mark.line + 1}")
            if written.count(key.value) > 1:
                raise yaml.YAMLError(f"key {key.value!r} is there twice, line {node.start_mark.line + 1}")
        return node

    def compose_scalar_node(self, anchor: str | None) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag in PLAIN and (not PLAIN[node.tag].fullmatch(node.value) or NEGATIVE_ZERO.fullmatch(node.value)):
            raise yaml.YAMLError(f"{node.value[:40]!r} is no plain number, line {node.start_mark.line + 1}: quote what is text")
        return node


def _count(node: yaml.Node | None, known: dict[int, int | None]) -> int:
    """Nodes of a tree in which anchors are written out, at most MOST_NODES; raises YAMLError if there is no end to them."""
    if id(node) not in known:
        known[id(node)] = None
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for entry in below for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    if (number := known[id(node)]) is None or number > MOST_NODES:
        raise yaml.YAMLError("an anchor lies in itself" if number is None else f"anchors make more than {MOST_NODES:,} values")
    return number
