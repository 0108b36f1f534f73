"""A table that never breaks a name, however narrow the terminal is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from scoring.escaping import one_line

_PROSE = 20  # characters that a column of prose needs


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: The heading.
        right: Whether it contains numbers, aligned to the right.
        spare: Columns with the largest number are left out first if the terminal is narrow; those
            with 0 are always shown.
        prose: Whether its text may be wrapped between words.
    """

    name: str
    right: bool = False
    spare: int = 0
    prose: bool = False


@dataclass(slots=True)
class FittedTable:
    """A table that never cuts or breaks a name; the first column names the rows.

    If the table is too wide for the terminal, prose is wrapped, then the least important columns
    are left out, and a line names them. If it is still too wide, it is transposed where that fits,
    or else split into several tables, one below the other.

    Attributes:
        columns: The columns from left to right.
        rows: The rows, with one cell per column.
        title: The line above the table.
        caption: The line below it.
        turnable: Whether the table may be transposed.
    """

    columns: list[Column]
    rows: list[list[Text]] = field(default_factory=list)
    title: str = ""
    caption: str = ""
    turnable: bool = False

    def add_row(self, *cells: str | Text, style: str = "") -> None:
        """Adds a row of plain or styled text; escape sequences in it are escaped."""
        texts = [cell if isinstance(cell, Text) else Text(one_line(cell)) for cell in cells]
        for text in texts:
            text.stylize(style)
        self.rows.append(texts)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Draws the table in the console's width."""
        yield from self._drawn(console, options.max_width)

    def _drawn(self, console: Console, width: int) -> Iterator[RenderableType]:
        if self.title:
            yield Text(one_line(self.title), style="bold")
        shown = list(range(len(self.columns)))
        while self._width(console, shown) > width:
            spare = max(shown, key=lambda place: self.columns[place].spare)
            if not self.columns[spare].spare:
                break
            shown.remove(spare)
        if self._width(console, shown) <= width:
            yield self._table(shown)
        elif self.turnable and (turned := self._turned())._width(console) <= width:
            yield turned._table()
        else:
            yield from self._split(console, shown, width)
        missing = [column.name for place, column in enumerate(self.columns) if place not in shown]
        if missing:
            note = f"left out because the terminal is narrow: {', '.join(missing)}"
            yield Text(one_line(note), style="dim")
        if self.caption:
            yield Text(one_line(self.caption), style="dim")

    def _width(self, console: Console, shown: Sequence[int] | None = None) -> int:
        """The width that some columns need, in characters."""
        unbounded = console.options.update(max_width=10**6)
        return Measurement.get(console, unbounded, self._table(shown)).minimum

    def _table(self, shown: Sequence[int] | None = None) -> Table:
        """A table of some or all columns."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        shown = range(len(self.columns)) if shown is None else shown
        for place in shown:
            column = self.columns[place]
            texts = [Text(one_line(column.name)), *(row[place] for row in self.rows)]
            longest = max(text.cell_len for text in texts)
            word = max((cell_len(w) for text in texts for w in text.plain.split()), default=0)
            table.add_column(
                texts[0],
                justify="right" if column.right else "left",
                no_wrap=not column.prose,
                min_width=min(max(_PROSE, word), longest) if column.prose else longest,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(row[place] for place in shown))
        return table

    def _turned(self) -> FittedTable:
        """The transposed table."""
        head, *others = self.columns
        names = [Column(row[0].plain, right=True) for row in self.rows]
        rows = [
            [Text(one_line(column.name)), *(row[place] for row in self.rows)]
            for place, column in enumerate(others, 1)
        ]
        return FittedTable([Column(head.name), *names], rows)

    def _split(self, console: Console, shown: list[int], width: int) -> Iterator[RenderableType]:
        """Several tables, each with the first column and as many others as fit."""
        first, *others = shown
        if any(self._width(console, [first, place]) > width for place in others or [first]):
            yield from self._listed(shown)
            return
        part: list[int] = []
        for place in others:
            if self._width(console, [first, *part, place]) > width:
                yield self._with_rows_of(part)._table([first, *part])
                part = []
            part.append(place)
        yield self._with_rows_of(part)._table([first, *part])

    def _with_rows_of(self, places: Sequence[int]) -> FittedTable:
        """The table without the rows that are empty in all of these columns."""
        return replace(self, rows=[row for row in self.rows if any(row[p].plain for p in places)])

    def _listed(self, shown: Sequence[int]) -> Iterator[RenderableType]:
        """A paragraph for each row, without its empty cells."""
        for row in self.rows:
            yield row[shown[0]]
            for place in (place for place in shown[1:] if row[place].plain):
                yield Text.assemble(
                    "  ", (one_line(self.columns[place].name), "dim"), " ", row[place]
                )
