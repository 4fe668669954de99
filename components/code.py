"""A digest of code that changes when behaviour can change, and not when a comment does."""

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent


def code_digest(*modules: str) -> str:
    """sha256 over the import closure of ``modules`` inside `components`, without docstrings and comments.

    A package name stands for its `__init__`; imports inside functions count.
    """
    digest = hashlib.sha256()
    for module in sorted(import_closure(*modules)):
        digest.update(f"{module}\n{_normalised(_source(module))}\n".encode())
    return digest.hexdigest()


def import_closure(*modules: str) -> set[str]:
    """The modules of `components` that ``modules`` reach, themselves included."""
    found: set[str] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module in found:
            continue
        found.add(module)
        queue.extend(_imports(_source(module)))
    return found


def module_file(module: str) -> Path:
    path = PACKAGE_ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _source(module: str) -> Path:
    path = module_file(module)
    assert path.is_file(), f"no module {module}"
    return path


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return frozenset(name for name in names if name.startswith("components.") and module_file(name).is_file())


@functools.cache
def _normalised(path: Path) -> str:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
