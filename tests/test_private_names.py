"""What other libraries do not promise is used in a few files that say so, and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import vitsearch
from vitsearch.lightning.resuming.lightning_internals import RELIED_ON

PACKAGE = Path(vitsearch.__file__).parent
INTERNALS = "lightning/resuming/lightning_internals.py"

# Private names of other libraries, by the file that uses them.
USED = {
    "elastic/layers/attention.py": {"_scaled_dot_product_flash_attention_for_cpu"},
    "elastic/layers/norm.py": {"_base"},  # of a tensor: what it is a view of
    "elastic/layers/summing_attention.py": {
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    },
    "exporting/onnx_format.py": {"onnxscript.version_converter._version_converter"},
    "supernet/measuring/compiling.py": {"torch._dynamo.exc"},
    "supernet/network.py": {"_modules"},
    "supernet/timm/timm_internals.py": {"timm.models._input"},
    INTERNALS: {
        "_average_model",
        "_checkpoint_connector",
        "_combined_loader",
        "_combined_loader_states_to_load",
        "_data_fetcher",
        "_data_source",
        "_ddp_kwargs",
        "_load_combined_loader_states",
        "_results",
        "_should_accumulate",
        "_state_dicts",
        "_timeout",
    },
}
DOCUMENTED = {"_asdict", "_exit", "_replace", "_target_"}  # private by their looks alone
ACCESSORS = {"getattr", "hasattr", "setattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def is_own(node: ast.expr) -> bool:
    """Whether an expression is `self`, `cls` or `super()`."""
    if isinstance(node, ast.Call):
        node = node.func
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "super")


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Functions, classes, fields and attributes of `self` that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and type(node.ctx) is ast.Store and is_own(node.value):
            yield node.attr


def used_names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Attributes, also of `getattr` and its like, and modules; whether they are of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, is_own(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ACCESSORS:
            owner, name = node.args[:2]
            if isinstance(name, ast.Constant):
                yield name.value, is_own(owner)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            if isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, False
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if any(map(is_private, node.module.split("."))):
                yield node.module, False
            yield from ((alias.name, False) for alias in node.names)


def test_private_names_of_other_libraries_are_used_where_it_is_said():
    trees = {
        file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text(encoding="utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
    }
    defined = {name for tree in trees.values() for name in defined_names(tree)}
    foreign = set().union(*USED.values())
    for file, tree in trees.items():
        found = {
            name
            for name, own in used_names(tree)
            if any(map(is_private, name.split(".")))
            and (name not in defined or (name in foreign and not own))
        }
        beyond = found - USED.get(file, set())
        assert not beyond, (
            f"{file} uses private names of another library: {', '.join(sorted(beyond))}; those of "
            f"Lightning belong into {INTERNALS}, with a test of each"
        )
        assert not USED.get(file, set()) - found, f"{file} does not use them any more"


def test_lightning_internals_lists_what_it_uses():
    assert USED[INTERNALS] <= RELIED_ON
