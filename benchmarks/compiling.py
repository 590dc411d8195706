"""Compile a function that takes gradients inside, such as a whole meta-step.

torch.compile does not look into torch.autograd.grad. So one run of the function writes down every tensor operation,
those of all differentiations included; the list is rewritten by the rules of matrix algebra and compiled ahead of time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch._inductor
from torch import Tensor
from torch._inductor.codecache import cache_dir
from torch.fx import GraphModule, Node
from torch.fx.passes.dialect.common.cse_pass import CSEPass
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
PRODUCT, SUM, DIFFERENCE, TRANSPOSE = aten.bmm.default, aten.add.Tensor, aten.sub.Tensor, aten.transpose.int
MULTIPLES = aten.mul.Scalar, aten.mul.Tensor, aten.neg.default
EXPAND = aten.expand.default
VIEWS = aten.detach.default, aten.view.default, aten._unsafe_view.default, EXPAND


def compiled(function: Callable, *example) -> Callable:
    """Compile a function that takes gradients inside.

    What comes back holds for tensors of the same shapes, types and devices alone, with the same numbers of steps and
    other plain values; its results carry no gradient.

    Args:
        function: takes and returns nested tuples and dicts of tensors and plain values.
        example: arguments like those it will be called with.

    Raises:
        ValueError: if there is no C++ compiler, or when called with other shapes, types or plain values.
    """
    if not any(map(shutil.which, (os.environ.get("CXX") or "g++", "clang++"))):
        raise ValueError("compiling needs a C++ compiler: install g++, or name one in the variable CXX")

    def kind(args):
        leaves, structure = tree_flatten(args)
        return structure, [(v.shape, v.dtype, v.device) if isinstance(v, Tensor) else v for v in leaves]

    def tensors(args):
        return tuple(v.detach().contiguous() for v in tree_flatten(args)[0] if isinstance(v, Tensor))

    expected = kind(example)
    listing, structure = recorded(function, example)
    run = built(simplified(listing), tensors(example))

    def call(*args):
        if kind(args) != expected:
            raise ValueError("compiled for other shapes, types or plain values: call compiled() again for these")
        return tree_unflatten(run(*tensors(args)), structure)

    return call


def built(listing: GraphModule, inputs: tuple[Tensor, ...]) -> Callable:
    """Compile a list of operations, or load it from the compiler's cache on disk."""
    kinds = [(value.shape, value.dtype, value.device) for value in inputs]
    made_of = listing.code, kinds, torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    file = Path(cache_dir()) / f"listing-{hashlib.sha256(repr(made_of).encode()).hexdigest()}.pt2"
    if not file.exists():
        with torch.no_grad(), warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=file.parent) as folder:
            warnings.simplefilter("ignore", FutureWarning)  # of PyTorch to itself
            program = torch.export.export(listing, inputs)
            fresh = torch._inductor.aoti_compile_and_package(program, package_path=f"{folder}/{file.name}")
            os.replace(fresh, file)  # whole or not at all
    return torch._inductor.aoti_load_package(str(file))


def recorded(function: Callable, example: tuple):
    """The operations of one run, from the tensors in `example` to those in the result, and the result's structure."""
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, given = tree_flatten(example)
    leaves = [leaf.contiguous() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    structure = None

    def flat(*values):
        nonlocal structure
        for i, value in zip(places, values, strict=True):
            leaves[i] = value
        results, structure = tree_flatten(function(*tree_unflatten(leaves, given)))
        return tuple(results)

    def product_and_sum(bias, a, b, *, beta=1, alpha=1):  # apart, so that sums join other element-wise work
        return bias + torch.bmm(a, b) if beta == alpha == 1 else NotImplemented

    record = make_fx(flat, decomposition_table={aten.baddbmm.default: product_and_sum}, tracing_mode="fake")
    return record(*(leaves[i] for i in places)), structure


# --- Rules of matrix algebra: each takes a list of operations and returns one with the same results up to rounding ----


def simplified(listing: GraphModule) -> GraphModule:
    for rule in (tidied, turned, distributed, collected):
        listing = rule(listing)
    return listing


def tidied(listing: GraphModule) -> GraphModule:
    """Without views that change no shape; (A^T)^T is A, (c A)^T is c A^T; nothing is computed twice."""
    for node in listing.graph.nodes:
        if node.target in VIEWS and shape(node) == shape(node.args[0]):
            node.replace_all_uses_with(node.args[0])
        elif swaps(node) and swaps(node.args[0]):
            node.replace_all_uses_with(node.args[0].args[0])
        elif swaps(node) and multiple(node.args[0]):
            c, a = multiple(node.args[0])
            node.replace_all_uses_with(total(node, [(c, written(node, TRANSPOSE, a, 1, 2))]))
    listing.graph.eliminate_dead_code()
    listing.recompile()
    return CSEPass()(listing).graph_module


def turned(listing: GraphModule) -> GraphModule:
    """(A B)^T is B^T A^T, where nothing else reads A B.

    So gradients of transposed weights come in the weights' own memory layout, as those of `torch.mm` do; sums of
    tensors in two layouts are slow.
    """
    for node in listing.graph.find_nodes(op="call_function", target=TRANSPOSE):
        product = node.args[0]
        if swaps(node) and product.target is PRODUCT and len(product.users) == 1:
            a, b = (written(node, TRANSPOSE, factor, 1, 2) for factor in product.args)
            node.replace_all_uses_with(written(node, PRODUCT, b, a))
    return tidied(listing)


def distributed(listing: GraphModule) -> GraphModule:
    """A (c B) is c (A B), where A B is smaller than B; X (B + X^T C) is X B + (X X^T) C, where X is given.

    In the inner loop B is a layer's start, X its points and X^T C the sum of its gradient steps: all steps share X B
    and the points' inner products, and no matrix is formed that nothing else reads.
    """
    for node in listing.graph.find_nodes(op="call_function", target=PRODUCT):
        a, b = node.args
        parts = terms(b)
        thin = [part for part in parts if is_thin(part[1])]
        rest = [part for part in parts if part not in thin]
        if is_given(a) and thin and len(rest) <= 1:
            each = [(c, part if shape(part) == shape(b) else written(node, EXPAND, part, shape(b))) for c, part in rest]
            results = [(c, written(node, PRODUCT, a, part)) for c, part in each]
            for left, rights in by_left_factor(thin).items():
                inner = written(node, PRODUCT, a, left)
                results.append((1, written(node, PRODUCT, inner, total(node, rights))))
            node.replace_all_uses_with(total(node, results))
        elif len(parts) == 1 and parts[0][1] is not b and numel(node) < numel(b):
            c, part = parts[0]
            node.replace_all_uses_with(total(node, [(c, written(node, PRODUCT, a, part))]))
    return tidied(listing)


def collected(listing: GraphModule) -> GraphModule:
    """A B + A C is A (B + C)."""
    for node in listing.graph.nodes:
        if node.target not in (SUM, DIFFERENCE) or {user.target for user in node.users} & {SUM, DIFFERENCE, *MULTIPLES}:
            continue  # no sum, or part of a longer one
        parts = terms(node)
        groups = by_left_factor([part for part in parts if part[1].target is PRODUCT])
        if any(len(rights) > 1 for rights in groups.values()):
            results = [part for part in parts if part[1].target is not PRODUCT]
            results += [(1, written(node, PRODUCT, left, total(node, rights))) for left, rights in groups.items()]
            node.replace_all_uses_with(total(node, results))
    return tidied(listing)


Terms = list[tuple[float, Node]]


def terms(node: Node, factor: float = 1) -> Terms:
    """A node as a sum of multiples, of tensors of one shape."""
    if multiple(node):
        c, inner = multiple(node)
        return terms(inner, factor * c)
    if node.target in (SUM, DIFFERENCE) and all(isinstance(a, Node) and fits(a, node) for a in node.args):
        second = node.kwargs.get("alpha", 1) * (1 if node.target is SUM else -1)
        return terms(node.args[0], factor) + terms(node.args[1], factor * second)
    return [(factor, node)]


def multiple(node: Node) -> tuple[float, Node] | None:
    """(c, A) where the node is c A with a plain number c."""
    a, c = (*node.args, -1)[:2] if node.target in MULTIPLES else (None, None)
    return (c, a) if isinstance(c, int | float) else None


def total(before: Node, parts: Terms) -> Node:
    """Write a sum of multiples."""
    result = None
    for c, node in parts:
        node = node if c == 1 else written(before, MULTIPLES[0], node, c)
        result = node if result is None else written(before, SUM, result, node)
    return result


def by_left_factor(products: Terms) -> dict[Node, Terms]:
    groups = {}
    for c, product in products:
        left, right = product.args
        groups.setdefault(left, []).append((c, right))
    return groups


def written(before: Node, operation: Callable, *args) -> Node:
    """One more operation, with its outcome's shape."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(operation, args)
    node.meta["val"] = operation(*(arg.meta["val"] if isinstance(arg, Node) else arg for arg in args))
    return node


def shape(node: Node) -> torch.Size:
    return node.meta["val"].shape


def numel(node: Node) -> int:
    return node.meta["val"].numel()


def fits(a: Node, node: Node) -> bool:
    """Whether `a` has the node's shape, or that of one matrix of it, shared by all tasks."""
    return shape(a) in (shape(node), shape(node)[1:])


def swaps(node: Node) -> bool:
    """Whether this transposes the matrices of a batch."""
    return node.target is TRANSPOSE and len(shape(node)) == 3 and {axis % 3 for axis in node.args[1:]} == {1, 2}


def is_given(node: Node) -> bool:
    return (node.args[0] if swaps(node) else node).op == "placeholder"


def is_thin(node: Node) -> bool:
    """Whether this is a given matrix with no more columns than rows times another, as X^T C with few points."""
    return node.target is PRODUCT and is_given(node.args[0]) and shape(node.args[0])[2] <= shape(node.args[0])[1]
