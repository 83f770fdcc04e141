"""A second solver, which shares nothing with the maker of riddles: one SQL join over a table of facts.

A stranger can run the same statement by hand: `sql_of` gives it with its parameters.
"""

from __future__ import annotations

import sqlite3

from forge_envs.worlds.search.graph import FactGraph, shown_value
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.riddle import Riddle

SCHEMA = """
create table entity (number integer primary key, kind text, name text unique);
create table fact (subject integer, relation text, object integer, value text, since integer, until integer);
"""
INDEXES = """
create index fact_subject on fact (subject, relation);
create index fact_object on fact (object, relation);
create index fact_value on fact (relation, value);
analyze;
"""


class FactTable:
    """All facts of a graph as rows in memory."""

    def __init__(self, graph: FactGraph) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.executescript(SCHEMA)
        self._names = [entity.name for entity in graph.entities]
        rows = ((e.number, e.kind, e.name) for e in graph.entities)
        self._db.executemany("insert into entity values (?, ?, ?)", rows)
        facts = ((f.subject, f.relation, f.object, f.value, f.since, f.until) for f in graph.facts)
        self._db.executemany("insert into fact values (?, ?, ?, ?, ?, ?)", facts)
        self._db.executescript(INDEXES)

    def answers(self, riddle: Riddle, limit: int = 2) -> list[str]:
        """The first different answers to a riddle, as pages write them."""
        sql, parameters = sql_of(riddle, self._names)
        rows = self._db.execute(f"{sql} limit {int(limit)}", parameters).fetchall()
        if not riddle.asked:
            return [self._names[number] for (number,) in rows]
        return [shown_value(relations()[riddle.asked], value) for (value,) in rows]


def sql_of(riddle: Riddle, names: list[str]) -> tuple[str, list[str | int]]:
    """A riddle as one SELECT over the tables `fact` and `entity`, and its parameters; `names` by number."""
    where: list[str] = []
    parameters: list[str | int] = []
    column: dict[int, str] = {}
    tables = []
    for at, step in enumerate(riddle.steps):
        tables.append(f"fact f{at}")
        where.append(f"f{at}.relation = ?")
        parameters.append(step.relation)
        for node, name in ((step.subject, f"f{at}.subject"), (step.object, f"f{at}.object")):
            if node < 0:
                where.append(f"f{at}.object = -1 and f{at}.value between ? and ?")
                parameters += [step.low, step.high]
            elif node in column:
                where.append(f"{name} = {column[node]}")
            else:
                column[node] = name
                if riddle.nodes[node].named >= 0:
                    where.append(f"{name} = (select number from entity where name = ?)")
                    parameters.append(names[riddle.nodes[node].named])
        if step.year:
            where.append(f"f{at}.since < ? and (f{at}.until = 0 or f{at}.until > ?)")
            parameters += [step.year, step.year]
        else:
            where.append(f"f{at}.until = 0")
    wanted = f"f{len(riddle.clues)}.value" if riddle.asked else column[riddle.target]
    return f"select distinct {wanted} from {', '.join(tables)} where {' and '.join(where)}", parameters
