"""Searches in the wait-for graph: who can be reached, who can never end, and the shortest way from one to another.

A graph is a dictionary: each node with its edges, the nodes for which it waits. Nothing here knows what a node is.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any

__all__ = ["nearest", "reachable", "stuck"]

Node = Any
Graph = dict[Node, list[Node]]


def reachable(start: Node, edges_of: Callable[[Node], Iterable[Node]]) -> Graph:
    """The graph of all nodes for which `start` waits, and they in turn. O(nodes waited for)."""
    graph: Graph = {}
    open_nodes = [start]
    while open_nodes:
        node = open_nodes.pop()
        if node not in graph:
            graph[node] = list(edges_of(node))
            open_nodes += graph[node]
    return graph


def stuck(graph: Graph, openers: Iterable[Node], needs_one: Callable[[Node], bool]) -> Graph:
    """The part of a graph that can never end: without `openers`, and from there on without all that waits for them.

    A node needs all of its edges to end, or one of them where `needs_one` says so.
    """
    waiters: Graph = {node: [] for node in graph}
    missing = {node: 1 if needs_one(node) else len(nodes) for node, nodes in graph.items()}
    for node, nodes in graph.items():
        for next_node in nodes:
            waiters[next_node].append(node)
    left = dict(graph)
    ending = [node for node, nodes in graph.items() if not nodes]
    ending += [node for node in openers if node in graph]
    while ending:
        node = ending.pop()
        if left.pop(node, None) is None:
            continue
        for waiter in waiters[node]:
            missing[waiter] -= 1
            if missing[waiter] == 0:
                ending.append(waiter)
    return left


def nearest(start: Node, targets: Collection[Node], graph: Graph) -> list[Node] | None:
    """The shortest path in a graph from `start` to one of the targets; None if there is none."""
    reached_from: dict[Node, Node] = {start: None}
    open_nodes = [start] if start in graph else []
    for node in open_nodes:
        if any(node is target or (isinstance(node, int) and node == target) for target in targets):
            path = [node]
            while reached_from[path[-1]] is not None:
                path.append(reached_from[path[-1]])
            return path[::-1]
        for next_node in graph[node]:
            if next_node not in reached_from and next_node in graph:
                reached_from[next_node] = node
                open_nodes.append(next_node)
    return None
