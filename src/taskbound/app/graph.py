"""The graph without a world: what was seen in files, joined, and the script that its picture is drawn with."""

import gc
from collections.abc import Iterable
from datetime import date
from importlib import resources

from taskbound.app.discover import Discovery, gather
from taskbound.posture.graph import Graph, build
from taskbound.posture.picture import as_html
from taskbound.posture.sighting import Sighting

CYTOSCAPE = "vendor/cytoscape-3.33.1.min.js"  # its licence lies beside it, and its SHA-256; it is never fetched


def graph_of(asked: Discovery) -> Graph:
    """Look at everything that was named, and return its graph. Raises InvalidRequest, OSError."""
    return drawn(gather(asked).sightings, asked.as_of)


def drawn(sightings: Iterable[Sighting], as_of: date) -> Graph:
    """Make the graph with the collector of cycles at rest: millions of values are made, and none is waste."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        return build(sightings, as_of)
    finally:
        if was_on:
            gc.enable()


def picture(graph: Graph, title: str, around: int | None = None) -> str:
    """Return the graph as one HTML file, or what one thing reaches and what leads to it."""
    script = resources.files("taskbound.app").joinpath(CYTOSCAPE).read_text(encoding="utf-8")
    return as_html(graph, script, title, around)
