"""Which tools belong together: likeness of their parameters, and communities of what is alike (Louvain).

As in AgentScaler: an edge where the cosine of two tools' parameters is large enough; communities of the graph
are domains. Words stand in for embeddings, so that no model is needed: those of names, types and descriptions
of all parameters, rare words counting more.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from forge_envs.errors import NotInstalled
from forge_envs.worlds.toolfolder.naming import LITTLE, singular, words
from forge_envs.worlds.toolfolder.schema import ToolSchema

LIKE = 0.25
"""Cosine at which two tools have an edge."""
NEIGHBOURS = 12
"""Edges of one tool, the strongest."""
MOST_WORDS = 4096
LARGEST = 40
"""Tools of a community; a larger one is divided again."""
_RESOLUTIONS = (1.0, 2.0, 4.0, 8.0, 16.0)


def communities(
    tools: Sequence[ToolSchema], bound: Mapping[tuple[int, int], float] | None = None
) -> list[list[ToolSchema]]:
    """Groups of tools, each in the order given; the same for the same tools.

    `bound` makes edges stronger between tools that are known to belong together. Raises NotInstalled without
    networkx.
    """
    edges = likeness(tools)
    for pair, weight in (bound or {}).items():
        edges[pair] = edges.get(pair, 0.0) + weight
    groups = [list(range(len(tools)))]
    for resolution in _RESOLUTIONS:
        todo, groups = groups, []
        for group in todo:
            whole = resolution > 1 and len(group) <= LARGEST
            groups += [group] if whole else _divided(group, edges, resolution)
    return [[tools[i] for i in group] for group in sorted(groups)]


def likeness(tools: Sequence[ToolSchema]) -> dict[tuple[int, int], float]:
    """Pairs of tools that are alike, each with its cosine."""
    vectors = _vectors([weights(tool) for tool in tools])
    edges: dict[tuple[int, int], float] = {}
    for start in range(0, len(tools), 512):
        cosines = vectors[start : start + 512] @ vectors.T
        for i, row in enumerate(cosines, start):
            row[i] = 0.0
            near = np.argsort(-row, kind="stable")[:NEIGHBOURS]
            edges |= {(min(i, int(j)), max(i, int(j))): float(row[j]) for j in near if row[j] >= LIKE}
    return edges


def weights(tool: ToolSchema) -> dict[str, float]:
    """The words of a tool's parameters, name and path, each with its weight."""
    found: dict[str, float] = defaultdict(float)
    for name, schema in tool.arguments.items():
        for word in _said(name):
            found[word] += 2.0
        for word in _said(schema.get("description", ""))[:20]:
            found[word] += 0.3
        found[f"type:{schema.get('type')}:{schema.get('format', '')}"] += 0.2
    for word in _said(tool.name) + _said(tool.path):
        found[word] += 1.5
    if tool.api:
        found[f"api:{tool.api}"] += 2.0
    return dict(found)


def _said(text: str) -> list[str]:
    return [singular(word) for word in words(text) if word not in LITTLE and not word.isdecimal()]


def _vectors(counted: list[dict[str, float]]) -> np.ndarray:
    """Rows of length 1: the root of each weight, times how rare its word is."""
    shared = Counter(word for one in counted for word in one)
    known = [word for word, n in sorted(shared.items(), key=lambda item: (-item[1], item[0])) if n > 1]
    places = {word: i for i, word in enumerate(known[:MOST_WORDS])}
    rows = np.zeros((len(counted), max(len(places), 1)), dtype=np.float32)
    for row, one in zip(rows, counted, strict=True):
        for word, weight in one.items():
            if word in places:
                row[places[word]] = math.sqrt(weight) * math.log(1 + len(counted) / shared[word])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows


def _divided(group: list[int], edges: dict[tuple[int, int], float], resolution: float) -> list[list[int]]:
    try:
        import networkx
    except ModuleNotFoundError:
        raise NotInstalled("communities of tools need networkx: pip install 'forge-envs[tooluse]'") from None
    inside = set(group)
    graph = networkx.Graph()
    graph.add_nodes_from(group)
    graph.add_weighted_edges_from((i, j, w) for (i, j), w in edges.items() if i in inside and j in inside)
    found = networkx.community.louvain_communities(graph, resolution=resolution, seed=0)
    return sorted(sorted(one) for one in found)
