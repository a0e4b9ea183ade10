"""What may be changed in a module: one small fault at a time; its key stays when code moves.

Left out, since no answer depends on them: annotations, docstrings, what `raise` and `assert` say,
f-strings, warnings, decorators, the options of a class, `__repr__`, imports, and blocks of
TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
NEGATION = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
NEGATION |= {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In}
NEGATION |= {ast.Is: ast.IsNot, ast.IsNot: ast.Is}
ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult}
ARITHMETIC |= {ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult}
ARITHMETIC |= {ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr}
ARITHMETIC |= {ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr}
EMPTY = {ast.List: "[]", ast.ListComp: "[]", ast.Dict: "{}", ast.DictComp: "{}", ast.Tuple: "()"}
MESSAGES = {"warn", "warnings.warn", "warnings.warn_explicit"}
LOGGERS = {"logger", "logging"}


@dataclass(frozen=True)
class Site:
    """A place, and its replacement."""

    operator: str
    function: str  # the qualified name, as Python gives it to a code object
    line: int
    start: int  # in bytes of the source
    end: int
    before: str
    after: str
    number: int = 0  # among those of one module that are alike in all but their place
    module: str = ""  # the name of the file, without its folder: files of src have unique names

    @property
    def key(self) -> str:
        """The same wherever the file, the function and the line have moved to."""
        parts = (self.module, self.function, self.operator, self.before, self.after, self.number)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:10]

    def applied(self, source: bytes) -> bytes:
        """The source with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def sites(source: bytes, module: str) -> list[Site]:
    """Every place of a module's source where an operator changes something, in order."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Site] = []
    seen: Counter[tuple[str, ...]] = Counter()
    for node, function in _changeable(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = source[start:end].decode()
        for operator, change in _changes(node):
            after = _placed(change, node)
            alike = (function, operator, before, after)
            number, line = seen[alike], node.lineno
            seen[alike] += 1
            found.append(Site(operator, function, line, start, end, before, after, number, module))
    return found


def _placed(change: str, node: ast.AST) -> str:
    """A change as it stands in the source: an expression in parentheses, a block indented."""
    if isinstance(node, ast.expr) and not isinstance(node, ast.Slice):
        return f"({change})"
    return change.replace("\n", "\n" + " " * node.col_offset)


def parses(source: bytes) -> bool:
    """Whether a changed source is Python still; a pattern of `match`, for one, allows less."""
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


# ---------------------------------------------------------------- where


def _changeable(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """The nodes that may be changed, with the qualified name of their function."""

    def below(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[ast.AST, str]]:
        for child in _children(node):
            inner = names
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name, "<locals>")
            elif isinstance(child, ast.ClassDef):
                inner = (*names, child.name)
            elif isinstance(child, ast.expr | ast.stmt | ast.ExceptHandler):
                yield child, ".".join(names).removesuffix(".<locals>") or "<module>"
            yield from below(child, inner)

    return below(tree, ())


def _children(node: ast.AST) -> list[ast.AST]:
    """The nodes below a node, without what no answer depends on."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            defaults = [value for value in (*node.args.defaults, *node.args.kw_defaults) if value]
            found = [*defaults, *node.body] if node.name != "__repr__" else []
        case ast.ClassDef():
            found = node.body
        case ast.AnnAssign():
            found = [node.value] if node.value is not None else []
        case _:
            found = list(ast.iter_child_nodes(node))
    return [child for child in found if not _left_out(child)]


def _left_out(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    return _says(node.value if isinstance(node, ast.Expr) else node, node)


def _says(value: ast.AST, node: ast.AST) -> bool:
    """A docstring, or a call that only reports something."""
    if isinstance(value, ast.Call):
        called = ast.unparse(value.func)
        return called in MESSAGES or called.split(".")[0].strip("_").lower() in LOGGERS
    return isinstance(value, ast.Constant) and isinstance(node, ast.Expr)


# ---------------------------------------------------------------- what


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The operators that fit a node, and the source each makes of it."""
    if isinstance(node, ast.stmt | ast.ExceptHandler):
        yield from _of_a_statement(node)
    elif isinstance(node, ast.Slice):
        yield from _of_a_slice(node)
    else:
        yield from _of_an_operator(node)
        yield from _of_a_value(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, _CHANGED):
        yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), node.test))


def _of_an_operator(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[operator]):
            for name, table in (("boundary", BOUNDARY), ("negation", NEGATION)):
                if type(operator) in table:
                    yield name, _with(node, ops=[table[type(operator)]()])
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC and not _is_text(node):
            yield "arithmetic", _with(node, op=ARITHMETIC[type(operator)]())
        case ast.BoolOp(op=ast.And()):
            yield "and/or", _with(node, op=ast.Or())
        case ast.BoolOp():
            yield "and/or", _with(node, op=ast.And())
        case ast.UnaryOp(op=ast.Not()):
            yield "not", ast.unparse(node.operand)


def _of_a_value(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Constant(value=bool()):
            yield "boolean", repr(not node.value)
        case ast.Constant(value=int() | float()):
            yield "number", repr(node.value + 1)
            yield "number", repr(node.value - 1)
        case ast.Call(args=[first, second, *rest]):
            starred = any(isinstance(value, ast.Starred) for value in (first, second))
            if not starred and ast.unparse(first) != ast.unparse(second):
                yield "swapped arguments", _with(node, args=[second, first, *rest])


def _of_a_statement(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.AugAssign(op=operator, value=value) if type(operator) in ARITHMETIC:
            if not _is_text(value):
                yield "arithmetic", _with(node, op=ARITHMETIC[type(operator)]())
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "dropped call", "pass"
        case ast.Return(value=ast.expr() as value):
            empty = EMPTY.get(type(value), "None")
            if ast.unparse(value) not in {empty, "None"}:
                yield "returned value", f"return {empty}"
        case ast.Break() | ast.Continue():
            yield "dropped jump", "pass"
        case ast.ExceptHandler(body=[*_, ast.Raise()]):
            yield "exception handler", _with(node, body=[ast.Pass()])
        case ast.ExceptHandler():
            yield "exception handler", _with(node, body=[ast.Raise()])


def _of_a_slice(node: ast.Slice) -> Iterator[tuple[str, str]]:
    for bound in ("lower", "upper"):
        value = getattr(node, bound)
        if value is not None and not isinstance(value, ast.Constant):
            yield "slice", _with(node, **{bound: ast.BinOp(value, ast.Add(), _ONE)})
    if node.lower is None and node.step is None:
        yield "slice", _with(node, lower=_ONE)
    if node.upper is None and node.step is None:
        yield "slice", _with(node, upper=ast.Constant(-1))


_CHANGED = (ast.Compare, ast.Constant, ast.UnaryOp)  # a condition that another operator changes
_ONE = ast.Constant(1)


def _with(node: ast.AST, **changed: object) -> str:
    """The source of a node with other fields."""
    fields = dict(ast.iter_fields(node)) | changed
    return ast.unparse(ast.fix_missing_locations(type(node)(**fields)))


def _is_text(node: ast.expr) -> bool:
    """Whether `+` plainly joins strings, or `|` types."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Constant | ast.JoinedStr)]
    return any(isinstance(p, ast.JoinedStr) or isinstance(p.value, str | None) for p in parts)
